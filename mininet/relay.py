"""Relays: TCP connections that pass through this process, so that it can part their ends as a broken network would.

A relay that *swallows* says nothing to either end, no FIN and no RST: what was sent waits, as in the buffers of TCP
behind a broken link, and arrives when the relay passes again.  Who connects meanwhile gets no answer.  One that
*refuses* ends its connections and takes no new ones.

``OpenFlowRelay`` knows the switch of each connection, can swallow that of one switch alone, and notes what roles are
asked for and what a switch refuses.  All of them work in one thread of their own (``Relays``).
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple

from programs import free_ports

_CHUNK = 1 << 16
# OpenFlow 1.3: message types, and what is in them.
_ERROR, _FEATURES_REPLY, _ROLE_REPLY = 1, 6, 25
_WRITES = (13, 14, 15, 29)  # packet-out, flow-mod, group-mod, meter-mod
_BAD_REQUEST, _IS_SLAVE = 1, 10
_MASTER = 2


class Relays:
    """The thread in which relays work; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Relays:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        async def end_all() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.call(end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Carries it out in the thread → its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


class _Connection:
    """``dpid``: of the switch, as soon as it has said so."""

    def __init__(self, ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.ends = ends
        self.passes = asyncio.Event()
        self.passes.set()
        self.dpid: int | None = None

    def cut(self) -> None:
        for end in self.ends:
            if (one := end.get_extra_info("socket")) is not None:  # RST, not FIN
                with suppress(OSError):  # it has ended already
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.transport.abort()


class Relay:
    """Listens at ``port``, and connects to ``target`` for whoever connects."""

    def __init__(self, relays: Relays, target: int) -> None:
        (self.port,) = free_ports(1)
        self._relays = relays
        self._target = target
        self._connections: set[_Connection] = set()
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        self._accepting: asyncio.Task[None] | None = None
        self._passes = True
        relays.call(self._listen())

    def swallow(self) -> None:
        self._relays.call(self._swallow())

    def refuse(self) -> None:
        self._relays.call(self._refuse())

    def cut(self) -> None:
        """Ends all connections by RST; new ones are taken."""
        self._relays.call(self._cut())

    def restore(self) -> None:
        self._relays.call(self._restore())

    # ---------------------------------------------------------------- in the thread

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
            self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept(self._listener))

    async def _end_accepting(self) -> None:
        if self._accepting:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)

    async def _swallow(self) -> None:
        self._passes = False
        await self._end_accepting()
        for connection in self._connections:
            connection.passes.clear()
        if self._listener and not self._fillers:  # with a full queue, Linux leaves SYNs unanswered
            self._listener.listen(0)
            for _ in range(2):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", self.port))
                self._fillers.append(filler)

    async def _refuse(self) -> None:
        await self._end_accepting()
        if self._listener:
            self._listener.close()
            self._listener = None
        await self._cut()

    async def _cut(self) -> None:
        for connection in list(self._connections):
            connection.cut()

    async def _restore(self) -> None:
        self._passes = True
        for filler in self._fillers:
            filler.close()
        self._fillers = []
        if self._listener:
            self._listener.listen(128)
        await self._end_accepting()
        await self._listen()
        for connection in self._connections:
            connection.passes.set()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            accepted, _ = await asyncio.get_running_loop().sock_accept(listener)
            task = asyncio.create_task(self._serve(accepted))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _serve(self, accepted: socket.socket) -> None:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        from_near, near = await asyncio.open_connection(sock=accepted)
        try:
            from_far, far = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            near.transport.abort()
            return
        far.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = _Connection((near, far))
        self._connections.add(connection)
        if not self._passes:
            connection.passes.clear()
        try:
            ways = (self._pump(connection, from_near, far, False), self._pump(connection, from_far, near, True))
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._connections.discard(connection)
            for end in connection.ends:
                end.close()

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_back: bool
    ) -> None:
        """``is_back``: towards whoever has connected."""
        try:
            while data := await reader.read(_CHUNK):
                await connection.passes.wait()
                writer.write(data)
                await writer.drain()
            await connection.passes.wait()
        finally:
            with suppress(OSError):
                writer.close()


class RoleReply(NamedTuple):
    """A switch has said so to the controller behind this relay."""

    at_s: float
    dpid: int
    is_master: bool
    generation: int


class OpenFlowRelay(Relay):
    """Between switches, which connect, and one controller.

    ``watch``: called in a thread of its own, before the controller gets it, for a reply that makes it a master.
    """

    watch: Callable[[RoleReply], None] | None = None

    def __init__(self, relays: Relays, target: int) -> None:
        super().__init__(relays, target)
        self.replies: list[RoleReply] = []
        self.refused: list[tuple[float, int]] = []  # when, by which switch: because another controller is its master
        self.writes: Counter[int] = Counter()  # by switch, those that it was sent
        self._swallowed: set[int] = set()

    def connected(self) -> set[int]:
        """Switches whose connections there are."""
        return {each.dpid for each in tuple(self._connections) if each.dpid is not None}

    def swallow_switch(self, dpid: int) -> None:
        """This switch alone."""

        async def swallow() -> None:
            self._swallowed.add(dpid)
            for connection in self._connections:
                if connection.dpid == dpid:
                    connection.passes.clear()

        self._relays.call(swallow())

    async def _restore(self) -> None:
        self._swallowed.clear()
        await super()._restore()

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_back: bool
    ) -> None:
        try:
            while True:
                head = await reader.readexactly(8)
                kind, length = struct.unpack_from("!xBH", head)
                message = head + await reader.readexactly(length - 8)
                if is_back:
                    if kind in _WRITES and connection.dpid is not None:
                        self.writes[connection.dpid] += 1
                else:
                    await self._look(connection, kind, message)
                await connection.passes.wait()
                writer.write(message)
                await writer.drain()
        except asyncio.IncompleteReadError:
            await connection.passes.wait()
        finally:
            with suppress(OSError):
                writer.close()

    async def _look(self, connection: _Connection, kind: int, message: bytes) -> None:
        """What a switch says."""
        if kind == _FEATURES_REPLY:
            (connection.dpid,) = struct.unpack_from("!Q", message, 8)
            if connection.dpid in self._swallowed:
                connection.passes.clear()
        elif kind == _ERROR and connection.dpid is not None:
            if struct.unpack_from("!HH", message, 8) == (_BAD_REQUEST, _IS_SLAVE):
                self.refused.append((time.monotonic(), connection.dpid))
        elif kind == _ROLE_REPLY and connection.dpid is not None:
            role, generation = struct.unpack_from("!I4xQ", message, 8)
            reply = RoleReply(time.monotonic(), connection.dpid, role == _MASTER, generation)
            self.replies.append(reply)
            if reply.is_master and self.watch:
                await asyncio.get_running_loop().run_in_executor(None, self.watch, reply)
