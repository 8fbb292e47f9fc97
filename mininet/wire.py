"""The addresses of packets on every cable of their path, as tcpdump captured them there.

Nothing here is computed from the network file's routes.  The order of a packet's hops comes from its
own hop limit, which every switch lowers by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple, TypeAlias

from capture import Capture, Packet
from roles import Roles, all_links
from testbed import Testbed

from anycast_sdn.core.model import TCP, UDP

Cable: TypeAlias = tuple[str, str]  # the names at its ends


class Hop(NamedTuple):
    """One packet between two neighbours."""

    here: str
    there: str
    source: str
    destination: str


class Wire:
    """Captures of TCP or UDP on H's cable, the servers' and all links; a context manager.

    Paths can be read after the block has ended: then every packet of it is captured.
    """

    def __init__(self, testbed: Testbed, roles: Roles, expression: str) -> None:
        self._captures: list[tuple[Cable, Capture]] = [
            ((host, roles.edge_of(host)), testbed.capture(host, 0, expression))
            for host in (roles.client, *roles.servers)
        ]
        for link in all_links(roles.network):
            cable = (link.a.switch, link.b.switch)
            self._captures.append((cable, testbed.capture(*link.a, expression)))

    def __enter__(self) -> Wire:
        with ExitStack() as stack:
            for _, capture in self._captures:
                stack.enter_context(capture)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.__exit__(*error)  # type: ignore[arg-type]

    def path(self, start: str, is_wanted: Callable[[Packet], bool], number: int) -> list[Hop]:
        """The path of the wanted packet with this number (0 is the first), beginning at host ``start``."""
        found = sorted(self._sightings(start, is_wanted, number), key=lambda sighting: -sighting[1].hop_limit)
        path, here = [], start
        for (a, b), packet in found:
            there = b if here == a else a
            path.append(Hop(here, there, packet.source, packet.destination))
            here = there
        return path

    def _sightings(
        self, start: str, is_wanted: Callable[[Packet], bool], number: int
    ) -> Iterator[tuple[Cable, Packet]]:
        """Where one packet was seen: the one with this number on the cable of ``start``."""
        seen = [(cable, list(filter(is_wanted, capture.packets()))) for cable, capture in self._captures]
        begin = next(packets for cable, packets in seen if cable[0] == start)
        content = _content(begin[number]) if number < len(begin) else None
        for cable, packets in seen:
            if same := [packet for packet in packets if _content(packet) == content]:
                yield cable, same[0]


def _content(packet: Packet) -> bytes:
    """What rewritten addresses leave as it is: a TCP or UDP packet without its checksum."""
    checksum = {TCP: 16, UDP: 6}[packet.key.protocol]
    return packet.payload[:checksum] + packet.payload[checksum + 2 :]
