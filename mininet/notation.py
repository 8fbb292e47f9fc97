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
from wire import Hop, Wire

Path = list[Hop]


class Conversation(NamedTuple):
    """The paths of a flow's first two packets in each direction."""

    names: dict[str, str]  # address → what the document calls it
    translated: str  # PR1X
    first_packet: Path
    first_reply: Path
    later_packet: Path
    later_reply: Path

    @classmethod
    def seen(cls, wire: Wire, family: Family, port: int, client: str, answered: str) -> Conversation:
        """``port``: the service's; ``answered``: the host that replied.  TestbedError when packets are missing."""

        def request(packet: Packet) -> bool:
            return packet.key.destination_port == port

        def reply(packet: Packet) -> bool:
            return packet.key.source_port == port

        paths = [
            wire.path(start, direction, number)
            for number in (0, 1)
            for start, direction in ((client, request), (answered, reply))
        ]
        if any(len(path) < 2 for path in paths):
            raise TestbedError(f"packets were not captured on their whole path: {paths}")
        translated = paths[0][1].source
        return cls(family.notation(translated), translated, *paths)

    def summary(self, path: Path) -> str:
        """'H → ANY, PR1X → ASg': how the addresses change on a path."""
        return ", ".join(dict.fromkeys(map(" → ".join, self._ends(path))))

    def _ends(self, path: Path) -> list[tuple[str, str]]:
        return [(self._name(hop.source), self._name(hop.destination)) for hop in path]

    def _name(self, address: str) -> str:
        return self.names.get(address, address)

    def first_packet_holds(self, asked: str) -> bool:
        """H → ANY before ARh, PR1X → ANY up to ARs, PR1X → ASg behind it, to the server ``asked``."""
        middle = [("PR1X", "ANY")] * (len(self.first_packet) - 2)
        return self._ends(self.first_packet) == [("H", "ANY"), *middle, ("PR1X", asked)]

    def replies_hold(self, answered: str) -> bool:
        """ASg → PR1X up to ARh, ANY → H behind it."""
        paths = map(self._ends, (self.first_reply, self.later_reply))
        return all(path == [*[(answered, "PR1X")] * (len(path) - 1), ("ANY", "H")] for path in paths)

    def later_packet_holds(self, answered: str) -> bool:
        """H → ANY before ARh, PR1X → ASg behind it, to the server that ``answered``."""
        ends = self._ends(self.later_packet)
        return ends == [("H", "ANY"), *[("PR1X", answered)] * (len(ends) - 1)]

    def __str__(self) -> str:
        """A table: a line for each hop of the four paths."""
        paths = {
            "first packet": self.first_packet,
            "first reply": self.first_reply,
            "later packet": self.later_packet,
            "later reply": self.later_reply,
        }
        rows = [
            (name * (number == 0), f"{hop.here} → {hop.there}", " → ".join(ends), f"{hop.source} → {hop.destination}")
            for name, path in paths.items()
            for number, (hop, ends) in enumerate(zip(path, self._ends(path), strict=True))
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("   ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)
