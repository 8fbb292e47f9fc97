"""Channel: a ``Connection`` on its socket.

Reads are large and handled some messages at a time, so that a busy switch does not keep the others waiting.
Sending never waits: ``send`` queues, so that no handler yields in the middle of a change.  What a turn of messages
leads to is sent at its end, as far as the socket takes it; each channel has a writer that sends the rest, and all
else.  A connection that has ended gives its file descriptor back at once, or two ticks later where the other
end has still to read the reason.
"""

from __future__ import annotations

import logging
import math
import socket as sockets
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from os_ken.lib import hub

from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.listener import Listener
from anycast_sdn.openflow.wire import READ_SIZE, PlainWire, Refused, Wire

LOG = logging.getLogger(__name__)

WRITE_SIZE = 1 << 18
JUST_S = 0.1  # a switch that has said so lately is not asked again who its master is
TURN = 64  # messages that are handled, for a few milliseconds, before other switches are served


class Channel(Connection):
    """A switch's connection.  ``wire``: how bytes get from and to the socket; None: as they are."""

    def __init__(self, socket: Any, peer: str, listener: Listener, wire: Wire | None = None) -> None:
        self._socket = socket
        self._wire = wire or PlainWire(socket)
        self._something_to_send = hub.Event()
        self._in_turn = False  # messages are handled: the writer is woken at the end
        self._is_sending = False  # the writer is, and the socket takes no more
        self._is_told = False  # why the connection ends: it may still have to read that
        self._was_master_at = -math.inf
        socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
        super().__init__(listener, peer, self._wake_writer)

    def serve(self) -> None:
        """From its first byte to its last."""
        writer = None
        try:
            self._begin()
            writer = hub.spawn(self._write_all)
            self._read_all()
        except Refused as refused:
            self._refuse(refused)
        except BadMessage as error:
            self._close_as_bad(error)
        except OSError as error:
            self.close(f"connection lost: {error.strerror or error}", "lost")
        except Exception:
            LOG.exception("internal error with the connection of switch %s", self.name)
            self.close("internal error")
        try:
            self._read_rest()
        finally:
            if writer:
                hub.kill(writer)
            self._wire.end()
            self._socket.close()

    def _begin(self) -> None:
        """What the wire does first, within ``HANDSHAKE_S`` (``tick``)."""
        self.owed = self._wire.begins_with or self.owed
        self._wire.begin()
        self.owed, self.certificate = Connection.owed, self._wire.certificate

    def _refuse(self, refused: Refused) -> None:
        """It has been told why, as far as that was possible."""
        self.drop_all()
        self.close(refused.reason, refused.kind)
        self._is_told = True

    def release(self) -> None:
        self._was_master_at = time.monotonic()
        super().release()

    def _was_just_master(self) -> bool:
        return time.monotonic() - self._was_master_at < JUST_S

    def later(self, act: Callable[[], None]) -> None:
        """Act after other green threads have run, if the connection, and its session, still exist then."""
        hub.spawn_after(0, self._unless_over, self.session, act)

    def _unless_over(self, session: int, act: Callable[[], None]) -> None:
        if not self.is_admitted or session != self.session:
            return
        try:
            act()
        except BadMessage as error:  # what the switch sent earlier is read only now
            self._close_as_bad(error)

    def _close_as_bad(self, error: BadMessage) -> None:
        self.close(f"bad message: {error}", "bad message")

    def tick(self, now: float) -> None:
        if self.is_closed:
            self.abort()
        super().tick(now)

    def abort(self) -> None:
        """End it at once: reader and writer find the socket closed."""
        self.close("aborted")
        try:
            self._socket.shutdown(sockets.SHUT_RDWR)
        except OSError:
            return  # the other end was faster

    # ---------------------------------------------------------------- reading and writing

    def _read_all(self) -> None:
        while not self.is_closed:
            data = self._wire.receive()
            if not data:
                self.close("it has closed the connection")
            self.receive(data)
            while self._take_turn():
                hub.sleep(0)

    def _take_turn(self) -> bool:
        """Handle some messages → are there more?"""
        self._in_turn = True
        try:
            more = self.handle(TURN)
            if self.is_admitted:
                self._listener.turn_ended(self.id)
            self._send_now()
        finally:
            self._in_turn = False
            if self.unsent or self._wire.owes or self.is_closed:
                self._something_to_send.set()
        return more

    def _send_now(self) -> None:
        """As much as the socket takes without waiting."""
        if self.unsent and not self._is_sending:
            try:
                self.sent(self._wire.send_now(self.next_to_send(WRITE_SIZE)))
            except BlockingIOError:
                self.sent(0)

    def _wake_writer(self) -> None:
        if not self._in_turn:
            self._something_to_send.set()

    def _read_rest(self) -> None:
        """Until the writer has sent the reason for the end; whatever the other end sends is ignored."""
        with suppress(OSError):
            while (self.unsent or self._is_told) and self._socket.recv(READ_SIZE):
                hub.sleep(0)

    def _write_all(self) -> None:
        try:
            while not self.is_closed:
                self._flush()
                self._something_to_send.wait()
                self._something_to_send.clear()
            to_be_read = bool(self.unsent)
            self._flush()
            self._wire.end()
            self._socket.shutdown(sockets.SHUT_WR if to_be_read else sockets.SHUT_RDWR)
        except OSError as error:
            self.unsent.clear()
            self.close(f"connection lost: {error.strerror or error}", "lost")

    def _flush(self) -> None:
        while self.unsent or self._wire.owes:
            self._is_sending = True
            sent = self._wire.send(self.next_to_send(WRITE_SIZE))
            self._is_sending = False
            self.sent(sent)
