"""Acceptor: the listening socket for switches.  It bounds how many connections may wait for admission.

- If ``accept`` fails, that is reported, and ``accept`` is called again a little later.
- A connection awaits admission until the switch has sent its datapath id.  Such connections are bounded: in all, so
  that file descriptors for all switches, REST, the database and routers stay free whatever the limit of the process
  is; and from one address, loopback excepted, because switches of a testbed connect from there.  Beyond a bound the
  oldest is closed: a switch sends its datapath id within milliseconds.
- How each of them ended is reported; one kind of report is that of one address and reason.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import resource
import socket as sockets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from os_ken.lib import hub

from anycast_sdn.core import words
from anycast_sdn.core.controller_events import AcceptFailed
from anycast_sdn.core.events import Event
from anycast_sdn.core.switch_events import ConnectionRefused
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.listener import Listener
from anycast_sdn.openflow.wire import PlainWire, Wire

LOG = logging.getLogger(__name__)

TICK_S = 0.25
MOST_OF_ONE_ADDRESS = 16
MIN_WAITING, MAX_WAITING = 4, 512  # connections that await admission
ENDING = 8  # closed connections may still hold their files; if there are more, they are aborted
OTHER_FILES = 16 + ENDING  # of the process: the database, the log, the hub, sockets that listen
WANTED_FILES = 1 << 14  # the limit is raised to this, if the hard limit allows that
BACK_OFF_S = 0.05, 1.0  # after a failed ``accept``: from, doubled up to
_AT_ONCE = frozenset((errno.ECONNABORTED, errno.EPROTO, errno.EINTR))  # only one connection is lost: no pause


def raise_file_limit() -> None:
    """Raise the soft limit of open files to ``WANTED_FILES``, or to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def max_waiting(switches: int, files: int) -> int:
    """How many connections may await admission, if the process may open ``files``; a quarter of them is for REST."""
    return max(MIN_WAITING, min(MAX_WAITING, files * 3 // 4 - OTHER_FILES - switches))


def origin(host: str) -> str | None:
    """The unit that is bounded: an address, or an IPv6 /64 unless it is link-local; None, unbounded, for loopback."""
    address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return None
    if address.version == 6 and not address.is_link_local:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def shown(address: tuple[Any, ...]) -> str:
    return words.address(*address[:2])


class Acceptor:
    """Listens at ``address`` from its construction on; raises OSError if it cannot.

    ``wire``: makes the wire of a socket that was accepted.
    """

    def __init__(self, address: tuple[str, int], switches: int, wire: Callable[[Any], Wire] = PlainWire) -> None:
        import eventlet

        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = WANTED_FILES if files == resource.RLIM_INFINITY else files
        self._max_waiting = max_waiting(switches, files)
        if self._max_waiting == MIN_WAITING:
            LOG.warning("a limit of %d open files is too small for %d switches", files, switches)
        self._wire = wire
        self.connections: dict[Channel, str | None] = {}  # → ``origin`` of its peer; the oldest first
        self._is_active = True
        family = sockets.AF_INET6 if ":" in address[0] else sockets.AF_INET
        # Without reuse_port=False a second controller would silently share the port.
        self._socket = eventlet.listen(address, family=family, backlog=256, reuse_port=False)

    def stop(self) -> None:
        """Accept no more connections, and close those that are open."""
        self._is_active = False
        with suppress(OSError):
            self._socket.shutdown(sockets.SHUT_RDWR)  # ends a waiting ``accept``
        self._socket.close()
        for channel in list(self.connections):
            channel.close("the controller stops")

    def serve(self, listener: Listener, report: Callable[[Event], None]) -> None:
        """Accept connections until ``stop``.  ``report`` gets the events."""
        hub.spawn(self._tick_all)
        pause, longest = BACK_OFF_S
        while self._is_active:
            try:
                socket, address = self._socket.accept()
            except OSError as error:
                if not self._is_active:
                    return
                if error.errno not in _AT_ONCE:
                    report(AcceptFailed(error.strerror or str(error)))
                    hub.sleep(pause)
                    pause = min(2 * pause, longest)
                continue
            pause = BACK_OFF_S[0]
            self._make_room(origin(address[0]))
            try:
                channel = Channel(socket, shown(address), listener, self._wire(socket))
            except OSError:  # it is closed already
                socket.close()
                continue
            self.connections[channel] = origin(address[0])
            hub.spawn(self._serve, channel, report)
            hub.sleep(0)  # ``accept`` yields only when no connection waits in the kernel

    def _make_room(self, origin_of_next: str | None) -> None:
        """Close connections, so that one more may be accepted."""
        waiting = [channel for channel in self.connections if channel.awaits_admission]
        same = [channel for channel in waiting if origin_of_next and self.connections[channel] == origin_of_next]
        if len(waiting) >= self._max_waiting:
            self._end(waiting[0], f"more than {self._max_waiting} connections have not said who they are")
        elif len(same) >= MOST_OF_ONE_ADDRESS:
            text = f"more than {MOST_OF_ONE_ADDRESS} connections from {origin_of_next} have not said who they are"
            self._end(same[0], text)
        while len(ended := [channel for channel in self.connections if channel.is_closed]) > ENDING:
            for channel in ended:
                channel.abort()
            hub.sleep(0)  # their threads end meanwhile

    def _end(self, channel: Channel, reason: str) -> None:
        channel.close(reason, "room")
        channel.abort()

    def _serve(self, channel: Channel, report: Callable[[Event], None]) -> None:
        try:
            channel.serve()
        finally:
            come_from = self.connections.pop(channel)
            if not channel.label:  # the end of an admitted switch's connection is reported by ``Connections``
                report(ConnectionRefused(channel.peer, come_from or "loopback", channel.reason, channel.kind))

    def _tick_all(self) -> None:
        while self._is_active:
            hub.sleep(TICK_S)
            now = time.monotonic()
            for channel in list(self.connections):
                try:
                    channel.tick(now)
                except Exception:
                    LOG.exception("internal error in a tick of switch %s", channel.name)
