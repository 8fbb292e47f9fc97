"""What systemd is told: that the controller is ready, alive and stopping (sd_notify(3), ``Type=notify``).

systemd names a socket in NOTIFY_SOCKET, and asks in WATCHDOG_USEC for a sign of life within that time, at the latest.
Without these variables nothing is sent.  If it cannot be sent, the reason is logged once; the controller goes on.
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Mapping

LOG = logging.getLogger(__name__)

SEND_S = 1.0  # a message may wait so long for room in the socket


class ServiceManager:
    """Sends datagrams of lines NAME=VALUE."""

    def __init__(self, environment: Mapping[str, str], process_id: int) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte that begins an abstract address (unix(7)).
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        for_us = environment.get("WATCHDOG_PID", str(process_id)) == str(process_id)
        within = environment.get("WATCHDOG_USEC", "")
        self._pause_s = int(within) / 2_000_000 if for_us and within.isdecimal() and int(within) else math.inf
        self._sent_at = -math.inf  # the last sign of life
        self._failed = ""  # why the last message could not be sent

    def ready(self, status: str) -> None:
        """The controller serves; ``status`` is shown by systemctl."""
        self._send("READY=1", f"STATUS={status}")

    def alive(self, now: float) -> None:
        """To be called several times a second, for as long as all is well: sends twice as often as is asked for."""
        if self._pause_s < math.inf and now - self._sent_at >= self._pause_s:
            self._sent_at = now
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(SEND_S)
                channel.sendto("\n".join(lines).encode(), self._address)
            self._failed = ""
        except OSError as error:
            if (reason := error.strerror or str(error)) != self._failed:
                LOG.warning("the service manager was not told %s: %s (NOTIFY_SOCKET)", lines[0], reason)
            self._failed = reason
