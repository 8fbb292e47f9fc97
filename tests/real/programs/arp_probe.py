"""IPv4's duplicate-address detection (RFC 5227): three probes; prints "taken by MAC" or "free".

python3 arp_probe.py INTERFACE ADDRESS
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time

ETH_ARP = 0x0806
PROBES, INTERVAL_S = 3, 0.7

if __name__ == "__main__":
    interface, address = sys.argv[1], socket.inet_aton(sys.argv[2])
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ARP))
    link.bind((interface, ETH_ARP))
    mac = link.getsockname()[4]
    probe = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 1, mac, bytes(4), bytes(6), address)
    for _ in range(PROBES):
        link.send(b"\xff" * 6 + mac + struct.pack("!H", ETH_ARP) + probe)
        until = time.monotonic() + INTERVAL_S
        while (left := until - time.monotonic()) > 0 and select.select([link], [], [], left)[0]:
            sender_mac, sender_ip = struct.unpack_from("!6s4s", link.recv(128), 22)
            if sender_ip == address and sender_mac != mac:
                print("taken by", sender_mac.hex(":"))
                sys.exit()
    print("free")
