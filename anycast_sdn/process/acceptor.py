"""Where switches connect: who is let in, how many of them, and what is said of those who are not.

- Whatever ``accept`` fails with, it is said once, and tried again a little later.
- Connections that have not said who they are (strangers) are bounded: in all, so that files for all expected
  switches, REST, the database and routers stay free whatever the limit of the process is; and of one address,
  loopback excepted, where a testbed's switches come from.  Beyond that the one that has waited longest makes
  room: a switch says who it is within milliseconds.
- How each of them ended is said once per address and reason, and then counted.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import resource
import socket as sockets
import time
from contextlib import suppress
from typing import Any

from os_ken.lib import hub

from anycast_sdn.core import words
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.connection import Listener
from anycast_sdn.process.repeats import RepeatingLog

LOG = logging.getLogger(__name__)

TICK_S = 0.25
MOST_OF_ONE_ADDRESS = 16
LEAST_STRANGERS, MOST_STRANGERS = 4, 512
ENDING = 8  # connections that have ended may still hold their files, before they are hurried
OTHER_FILES = 16 + ENDING  # of the process: the database, the log, the hub, sockets that listen
WANTED_FILES = 1 << 14  # the limit is raised to this where it may be
BACK_OFF_S = 0.05, 1.0  # after a failed ``accept``: from, doubled up to
_AT_ONCE = frozenset((errno.ECONNABORTED, errno.EPROTO, errno.EINTR))  # one connection is gone, nothing else


def raise_file_limit() -> None:
    """As far as the process may, and needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_strangers(switches: int, files: int) -> int:
    """How many there may be at the same time, with ``files`` for the whole process; a quarter is for REST."""
    return max(LEAST_STRANGERS, min(MOST_STRANGERS, files * 3 // 4 - OTHER_FILES - switches))


def origin(host: str) -> str | None:
    """What counts as one address: a /64 of IPv6, but of link-local ones; None for loopback, which may be many."""
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
    """Listens at ``address`` from its making on; raises ConfigurationError when that cannot be had."""

    def __init__(self, address: tuple[str, int], switches: int) -> None:
        import eventlet

        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = WANTED_FILES if files == resource.RLIM_INFINITY else files
        self._most = most_strangers(switches, files)
        if self._most == LEAST_STRANGERS:
            LOG.warning("a limit of %d open files is too small for %d switches", files, switches)
        self.connections: dict[Channel, str | None] = {}  # → where it comes from; the oldest first
        self._log = RepeatingLog(LOG)
        self._is_active = True
        family = sockets.AF_INET6 if ":" in address[0] else sockets.AF_INET
        try:
            # Without reuse_port=False a second controller would silently share the port.
            self._socket = eventlet.listen(address, family=family, backlog=256, reuse_port=False)
        except OSError as error:
            raise ConfigurationError(words.cannot_listen("OpenFlow", "--openflow", *address, error)) from error

    def stop(self) -> None:
        """No more connections; those that are there end."""
        self._is_active = False
        with suppress(OSError):
            self._socket.shutdown(sockets.SHUT_RDWR)  # ends a waiting ``accept``
        self._socket.close()
        for channel in list(self.connections):
            channel.close("the controller stops")

    def serve(self, listener: Listener) -> None:
        """Let switches in until ``stop``."""
        hub.spawn(self._tick_all)
        pause, longest = BACK_OFF_S
        while self._is_active:
            try:
                socket, address = self._socket.accept()
            except OSError as error:
                if not self._is_active:
                    return
                if error.errno not in _AT_ONCE:
                    text = f"cannot take connections of switches: {error.strerror}; trying again"
                    self._log.say(logging.ERROR, ("accept", error.errno), text)
                    hub.sleep(pause)
                    pause = min(2 * pause, longest)
                continue
            pause = BACK_OFF_S[0]
            self._make_room(origin(address[0]))
            try:
                channel = Channel(socket, shown(address), listener)
            except OSError:  # it is gone already
                socket.close()
                continue
            self.connections[channel] = origin(address[0])
            hub.spawn(self._serve, channel)
            hub.sleep(0)  # ``accept`` yields only when nobody waits

    def _make_room(self, come_from: str | None) -> None:
        strangers = [channel for channel in self.connections if channel.awaits_admission]
        neighbours = [channel for channel in strangers if come_from and self.connections[channel] == come_from]
        if len(strangers) >= self._most:
            self._turn_out(strangers[0], f"more than {self._most} connections have not said who they are")
        elif len(neighbours) >= MOST_OF_ONE_ADDRESS:
            text = f"more than {MOST_OF_ONE_ADDRESS} connections from {come_from} have not said who they are"
            self._turn_out(neighbours[0], text)
        while len(ended := [channel for channel in self.connections if channel.is_closed]) > ENDING:
            for channel in ended:
                channel.abort()
            hub.sleep(0)  # for them to find that

    def _turn_out(self, channel: Channel, reason: str) -> None:
        channel.close(reason, "room")
        channel.abort()

    def _serve(self, channel: Channel) -> None:
        try:
            channel.serve()
        finally:
            come_from = self.connections.pop(channel)
            if not channel.label:  # the end of an admitted switch's is logged by ``connections``
                text = f"connection from {channel.peer} closed: {channel.reason}"
                self._log.say(logging.WARNING, (come_from, channel.kind), text)

    def _tick_all(self) -> None:
        while self._is_active:
            hub.sleep(TICK_S)
            now = time.monotonic()
            for channel in list(self.connections):
                try:
                    channel.tick(now)
                except Exception:
                    LOG.exception("our own error with the clock of switch %s", channel.name)
            self._log.print_counts()
