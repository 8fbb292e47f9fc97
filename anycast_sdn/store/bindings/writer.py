"""The process that writes the binding log, and searches it: python -m anycast_sdn.store.bindings.writer FILE DAYS SIZE

It is a process of its own, so that neither disks nor the formatting of lines delay first packets.  When it has nothing
to write it makes the indexes of closed files.  Its standard input
is a socket by which the controller tells it what has happened (``messages``).  When that is closed, it writes what it
has got and ends: the death of the controller loses nothing that was sent.

What is written is in the hands of the operating system at once, and on disk within ``SYNC_S``.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from anycast_sdn.store.bindings import messages, records
from anycast_sdn.store.bindings.files import MODE, Files
from anycast_sdn.store.bindings.index import Maker
from anycast_sdn.store.bindings.log import BindingLog
from anycast_sdn.store.bindings.messages import Frames, Message
from anycast_sdn.store.bindings.records import Record
from anycast_sdn.store.bindings.search import search

SYNC_S = 1.0
LOCK_S = 8.0  # an earlier writer may still end
NICE = 10  # first packets come first; what waits is queued
_PIECE = 1 << 18
_OF_FLOWS = frozenset(records.OF_FLOWS)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Writer:
    def __init__(self, path: Path, log: BindingLog, controller: socket.socket) -> None:
        self._path = path
        self._log = log
        self._controller = controller
        self._frames = Frames()
        self._indexes = Maker(path)
        self._indexing = True
        self._synced = time.monotonic()
        self._told = ("", -1)
        self._goes_on = True

    def run(self) -> None:
        """Returns when the controller has said that it ends, or is gone."""
        self._write()
        while self._goes_on:
            ready, _, _ = select.select([self._controller], [], [], 0 if self._indexing else SYNC_S)
            if not ready and self._indexing:
                self._indexing = self._indexes.step()
            piece = self._received() if ready else None
            if piece == b"":
                self._log.stop(now_ms(), "the controller ended without notice")
                return
            if piece:
                for message in self._frames.take(piece):
                    self._take(message)
            if not piece or len(piece) < _PIECE or self._log.should_be_written:
                self._write()

    def _received(self) -> bytes:
        """Empty: the controller is gone."""
        try:
            return self._controller.recv(_PIECE)
        except ConnectionError:  # it had not read all that it was told
            return b""

    def _write(self) -> None:
        """What waits; while there is a problem, once in ``SYNC_S``."""
        now, due = now_ms(), time.monotonic() - self._synced >= SYNC_S
        if not self._goes_on:
            return
        if not self._log.problem or due:
            self._log.write(now)
        if due:
            self._synced = time.monotonic()
            self._log.sync()
        if self._log.pop_closed_file():
            self._indexes.look()
            self._indexing = True
        state = self._log.problem, self._log.missing
        if state != self._told:
            self._told = state
            self._say((messages.STATE, *state))

    def _take(self, message: Message) -> None:
        name, rest = message[0], message[1:]
        if name in _OF_FLOWS:
            self._log.flow(Record._make(message))
        elif name == messages.TELL:
            self._log.tell(*rest)
        elif name == messages.LOST:
            self._log.lost(*rest)
        elif name == messages.DOUBT:
            self._log.doubt(*rest)
        elif name == messages.SETTLED:
            self._log.settled(*rest)
        elif name == messages.HANDED:
            self._log.handed_over(*rest)
        elif name == messages.ASK:
            self._answer(*rest)
        elif name == messages.END:
            self._log.stop(*rest)
            self._goes_on = False

    def _answer(self, number: int, translated: bytes, at: int, port: int | None) -> None:
        self._log.write(now_ms())
        try:
            found = search(self._path, translated, at, port)
            if gap := self._log.unwritten(at, now_ms()):
                found.gaps.append(gap)
            answer = found.shown(), ""
        except OSError as error:
            answer = {}, error.strerror or str(error)
        self._say((messages.ANSWER, number, *answer))

    def _say(self, message: Message) -> None:
        with contextlib.suppress(OSError):  # it is gone: the next look at what it has sent ends this
            self._controller.sendall(messages.framed([message]))


def opened(path: Path, days: float, size: int) -> Files:
    """Raises OSError."""
    until = time.monotonic() + LOCK_S
    while True:
        try:
            return Files(path, days, size)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
            time.sleep(0.05)


def main(path: str, days: str, size: str) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when the controller does
    with contextlib.suppress(OSError):  # where it may not
        os.nice(NICE)
    os.umask(os.umask(0o077) | (0o777 & ~MODE))  # also for indexes
    controller = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    file = Path(path)
    try:
        log = BindingLog(opened(file, float(days), int(size)), now_ms())
    except OSError as error:
        why = "another process writes it" if isinstance(error, BlockingIOError) else error.strerror or str(error)
        controller.sendall(messages.framed([(messages.STATE, why, 0)]))
        return 1
    Writer(file, log, controller).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
