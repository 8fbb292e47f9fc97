"""Where the REST server listens: an address, with TLS or without, or a unix socket.

A unix socket is a file whose mode says who may connect.  It is made with that mode from the beginning, it takes the
place of one that nobody listens at any more and of nothing else, and is removed at the end if it is still ours.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from anycast_sdn.api.hosts import Hosts
from anycast_sdn.api.http1 import Head
from anycast_sdn.trust.tls import Tls

UNREAD = 256 * 1024  # bytes that the kernel buffers for a peer that does not read
BACKLOG = 128
PROBE_S = 2.0  # for the answer whether somebody listens at a unix socket


@dataclass(eq=False)
class Endpoint:
    """A socket that listens, and what holds for its connections."""

    listener: socket.socket
    hosts: Hosts
    tls: Tls | None = None
    path: str = ""  # of a unix socket
    _file: tuple[int, int] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._file = _identity(self.path) if self.path else None

    @property
    def scheme(self) -> str:
        return "https" if self.tls else "http"

    def check_host(self, head: Head, own: str) -> None:
        """``own``: the local address of the connection.  Raises Problem."""
        self.hosts.check(head, own, self.tls.names if self.tls else ())

    def close(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits in accept()
        self.listener.close()
        if self._file and self._file == _identity(self.path):
            with suppress(OSError):
                os.unlink(self.path)


def at_address(address: tuple[str, int], names: Iterable[str] = (), tls: Tls | None = None) -> Endpoint:
    """``names``: hosts that we listen as, too.  Raises OSError when it cannot listen there."""
    import eventlet

    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    # Otherwise eventlet sets SO_REUSEPORT, and a second controller would share the port.
    listener = eventlet.listen(address, family=family, backlog=BACKLOG, reuse_port=False)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNREAD)  # connections inherit it
    return Endpoint(listener, Hosts(address[0], names), tls)


def at_path(path: str, mode: int, names: Iterable[str] = ()) -> Endpoint:
    """A unix socket.  Raises OSError when it cannot listen there."""
    path = os.path.abspath(path)
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o777 & ~mode)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return Endpoint(listener, Hosts("localhost", names), path=path)


def _remove_stale(path: str) -> None:
    """Raises OSError when there is anything but a socket at which nobody listens."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(errno.EEXIST, "it is no socket: take another path, or remove it")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except TimeoutError:
            pass
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
