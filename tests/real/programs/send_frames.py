"""Sends Ethernet frames as they are: one frame in hexadecimal per line of standard input or of a file.

python3 send_frames.py INTERFACE FILE
"""

from __future__ import annotations

import socket
import sys
import time

BURST = 32  # frames between pauses: a veth has no queue that would hold a sender back

if __name__ == "__main__":
    interface, file = sys.argv[1:]
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind((interface, 0))
    with open(file) as lines:
        for number, line in enumerate(lines):
            link.send(bytes.fromhex(line))
            if number % BURST == BURST - 1:
                time.sleep(0.002)
