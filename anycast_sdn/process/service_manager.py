"""ServiceManager: notifies systemd that the controller is ready, alive and stopping (sd_notify(3), ``Type=notify``).

systemd names its socket in NOTIFY_SOCKET, and in WATCHDOG_USEC the longest time between two keep-alive messages.
Without these variables no message is sent.  If one cannot be sent, the reason is logged once; the controller goes on.
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Mapping

LOG = logging.getLogger(__name__)

SEND_S = 1.0  # a message may wait so long for room in the socket


class ServiceManager:
    """Sends datagrams, which consist of lines NAME=VALUE."""

    def __init__(self, environment: Mapping[str, str], process_id: int) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte that begins an abstract address (unix(7)).
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        for_us = environment.get("WATCHDOG_PID", str(process_id)) == str(process_id)
        within = environment.get("WATCHDOG_USEC", "")
        self._pause_s = int(within) / 2_000_000 if for_us and within.isdecimal() and int(within) else math.inf
        self._sent_at = -math.inf  # the last keep-alive message
        self._failed = ""  # why the last message could not be sent

    def ready(self, status: str) -> None:
        """The controller serves from now on; ``status`` is shown by systemctl."""
        self._send("READY=1", f"STATUS={status}")

    def alive(self, now: float) -> None:
        """Send a keep-alive message, twice in WATCHDOG_USEC.  To be called several times a second."""
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
                LOG.warning("cannot send %s to the service manager (NOTIFY_SOCKET): %s", lines[0], reason)
            self._failed = reason
