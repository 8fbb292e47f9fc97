"""The proxy on the wire between an Open vSwitch, which connects to it, and a controller: see ``played_switch``.

As a program:  python mininet/switch_proxy.py PROFILE CONTROLLER_PORT
prints the port where it listens, and serves until it is ended.  PROFILE is a name of docs/hardware.md or a file.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import struct
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import openflow_wire as wire
from played_switch import PlayedSwitch
from relay import Relay, Relays

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description import profile_sections
from anycast_sdn.description.model import Switch

_OURS = 0xFFFF_FFF0  # the transaction id of the question that the proxy asks itself
_TABLES = wire.HEADER.pack(wire.VERSION, wire.MULTIPART_REQUEST, 16, _OURS) + struct.pack("!HH4x", 3, 0)
_COUNT_S = 5.0
# Requests by the type of their reply.
_REPLIES = {3: "echo_request", 8: "get_config_request", 21: "barrier_request", 25: "role_request",
            27: "get_async_request", 23: "queue_get_config_request"}  # fmt: skip


class SwitchProxy(Relay):
    """For one switch and one controller, which listens at the port ``target`` of this machine."""

    def __init__(self, relays: Relays, target: int, played: PlayedSwitch) -> None:
        self._played = played
        self._counted: dict[object, asyncio.Event] = {}
        super().__init__(relays, target)

    async def _pump(
        self, connection: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, is_back: bool
    ) -> None:
        try:
            while True:
                head = await reader.readexactly(8)
                (length,) = struct.unpack_from("!H", head, 2)
                message = head + await reader.readexactly(length - 8)
                if is_back:
                    await self._from_controller(connection, message, writer)
                else:
                    self._from_switch(connection, message, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            return
        finally:
            with suppress(OSError):
                writer.close()

    async def _from_controller(self, connection, message: bytes, to_switch: asyncio.StreamWriter) -> None:  # type: ignore[no-untyped-def]
        to_controller = connection.ends[1]
        if self._played.adds_to(message) is not None:
            await self._count(connection, to_switch)
        answer = self._played.from_controller(message)
        if answer.closes:
            connection.cut()
            return
        to_switch.write(answer.passed)
        if answer.back:
            to_controller.write(answer.back)

    async def _count(self, connection: object, to_switch: asyncio.StreamWriter) -> None:
        """Ask Open vSwitch how many rules are in each table."""
        counted = self._counted[connection] = asyncio.Event()
        to_switch.write(_TABLES)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(counted.wait(), _COUNT_S)
        del self._counted[connection]

    def _from_switch(self, connection: object, message: bytes, to_controller: asyncio.StreamWriter) -> None:
        if message[1] == wire.MULTIPART_REPLY and wire.xid_of(message) == _OURS:
            self._played.note_held(message)
            if counted := self._counted.get(connection):
                counted.set()
            return
        late_s = self._played.profile.lateness_s(_request(message))
        changed = self._played.from_switch(message)
        if late_s:
            asyncio.get_running_loop().call_later(late_s, _write, to_controller, changed)
        else:
            to_controller.write(changed)


class Proxies:
    """Those of a testbed's switches that have a profile, for its controllers; a context manager."""

    def __init__(self, openflow_ports: Sequence[int]) -> None:
        self._openflow_ports = openflow_ports
        self._undo = ExitStack()
        self._relays: Relays | None = None
        self._made: dict[str, list[int]] = {}
        self._played: dict[str, PlayedSwitch] = {}

    def __enter__(self) -> Proxies:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def ports(self, switch: Switch) -> Sequence[int]:
        """Where the switch connects to its controllers."""
        if switch.profile is None:
            return self._openflow_ports
        if switch.name not in self._made:
            if self._relays is None:
                self._relays = self._undo.enter_context(Relays())
            played = self._played[switch.name] = PlayedSwitch(switch.profile)
            self._made[switch.name] = [SwitchProxy(self._relays, port, played).port for port in self._openflow_ports]
        return self._made[switch.name]

    def made_anew(self, name: str) -> None:
        """This switch has lost all that it held."""
        if played := self._played.get(name):
            played.forget()


def _request(reply: bytes) -> str:
    """The name of what a switch answers; "": it answers nothing."""
    return wire.multipart_of(reply) if reply[1] == wire.MULTIPART_REPLY else _REPLIES.get(reply[1], "")


def _write(writer: asyncio.StreamWriter, message: bytes) -> None:
    if not writer.is_closing():
        writer.write(message)


def main() -> int:
    parser = argparse.ArgumentParser(prog="switch_proxy", description="Makes an Open vSwitch play another switch.")
    parser.add_argument("profile", help="a profile's name (docs/hardware.md), or a file")
    parser.add_argument("controller", type=int, help="the port where the controller listens on this machine")
    arguments = parser.parse_args()
    try:
        profile = profile_sections.load(arguments.profile)
    except ConfigurationError as error:
        print(f"switch_proxy: {error}", file=sys.stderr)
        return 1
    with Relays() as relays:
        proxy = SwitchProxy(relays, arguments.controller, PlayedSwitch(profile))
        print(proxy.port, flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


if __name__ == "__main__":
    sys.exit(main())
