"""A DNS server for a test host: it answers each query with this response code, and without records.

python3 dns_server.py PORT CODE
"""

from __future__ import annotations

import socket
import sys

if __name__ == "__main__":
    both = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    both.bind(("::", int(sys.argv[1])))
    while True:
        query, client = both.recvfrom(2048)
        both.sendto(query[:2] + bytes((0x81, 0x80 | int(sys.argv[2]))) + query[4:], client)
