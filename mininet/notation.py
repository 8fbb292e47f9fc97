"""What was captured, in the document's notation (WO 2004/014046, steps 4 and 5 of ARh, step 4 of ARs).

- first packet: H → ANY, PR1X → ANY, PR1X → ASg
- replies: ASg → PR1X, ANY → H
- later packets: H → ANY, PR1X → ASg
"""

from __future__ import annotations

from typing import NamedTuple

from capture import Packet
from roles import Family
from testbed import TestbedError
from wire import Stretch, Wire

Way = list[Stretch]


class Conversation(NamedTuple):
    """The ways of a flow's first two packets in each direction."""

    names: dict[str, str]  # address → what the document calls it
    translated: str  # PR1X
    first_packet: Way
    first_reply: Way
    later_packet: Way
    later_reply: Way

    @classmethod
    def seen(cls, wire: Wire, family: Family, port: int, client: str, answered: str) -> Conversation:
        """``port``: the service's; ``answered``: the host that replied.  TestbedError when packets are missing."""

        def request(packet: Packet) -> bool:
            return packet.key.destination_port == port

        def reply(packet: Packet) -> bool:
            return packet.key.source_port == port

        ways = [
            wire.way(start, direction, number)
            for number in (0, 1)
            for start, direction in ((client, request), (answered, reply))
        ]
        if any(len(way) < 2 for way in ways):
            raise TestbedError(f"packets were not seen on their whole way: {ways}")
        translated = ways[0][1].source
        return cls(family.notation(translated), translated, *ways)

    def summary(self, way: Way) -> str:
        """'H → ANY, PR1X → ASg': how the addresses change on a way."""
        return ", ".join(dict.fromkeys(map(" → ".join, self._ends(way))))

    def _ends(self, way: Way) -> list[tuple[str, str]]:
        return [(self._name(stretch.source), self._name(stretch.destination)) for stretch in way]

    def _name(self, address: str) -> str:
        return self.names.get(address, address)

    def first_packet_holds(self, asked: str) -> bool:
        """H → ANY before ARh, PR1X → ANY up to ARs, PR1X → ASg behind it, to the server ``asked``."""
        middle = [("PR1X", "ANY")] * (len(self.first_packet) - 2)
        return self._ends(self.first_packet) == [("H", "ANY"), *middle, ("PR1X", asked)]

    def replies_hold(self, answered: str) -> bool:
        """ASg → PR1X up to ARh, ANY → H behind it."""
        ways = map(self._ends, (self.first_reply, self.later_reply))
        return all(way == [*[(answered, "PR1X")] * (len(way) - 1), ("ANY", "H")] for way in ways)

    def later_packet_holds(self, answered: str) -> bool:
        """H → ANY before ARh, PR1X → ASg behind it, to the server that ``answered``."""
        ends = self._ends(self.later_packet)
        return ends == [("H", "ANY"), *[("PR1X", answered)] * (len(ends) - 1)]

    def __str__(self) -> str:
        """A table: a line for each stretch of the four ways."""
        ways = {
            "first packet": self.first_packet,
            "first reply": self.first_reply,
            "later packet": self.later_packet,
            "later reply": self.later_reply,
        }
        rows = [
            (name * (number == 0), f"{here} → {there}", " → ".join(ends), f"{source} → {destination}")
            for name, way in ways.items()
            for number, ((here, there, source, destination), ends) in enumerate(zip(way, self._ends(way), strict=True))
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("   ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)
