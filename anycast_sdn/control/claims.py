"""What a host asserts and the edge does not believe unasked: that an address has moved, and that a source is there.

- **A move**: an address that is known at one place, a MAC behind a port, is claimed at another.  The old place
  is asked, twice.  If it answers, the claim was false; if it is silent for ``PATIENCE_S``, the claim is taken.
  Of one address only one claim is looked at in that time, whatever becomes of it, so that nobody can make the edge
  ask without end.
- **A source**: a first packet comes from an address that is not known at its port.  The address is asked for
  at that port alone.  If it answers, the packet goes on; if it is silent for ``SOURCE_S``, the packet is dropped.  So
  an invented source costs a question, and no binding.

Both are bounded per port: what one port asserts leaves the others' alone.

Only who is asked and what waits is kept here; ``Neighbours`` asks, and says who has answered.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from anycast_sdn.core.model import Address, Neighbour

PATIENCE_S = 0.5  # of a move: so long the old place may take to answer
AGAIN_S = 0.25  # until the old place is asked a second time
MAX_MOVES = 64  # looked at at once, claimed at one port
SOURCE_S = 1.5  # so long a packet of an unknown source waits: a true host's is with us after milliseconds
SOURCE_AGAIN_S = 0.5  # between questions for it
MAX_SOURCES = 64  # unknown ones that are asked for at once, at one port
WAITING_PER_SOURCE = 4  # packets


@dataclass(slots=True)
class _Move:
    to: Neighbour
    until: float
    again: float | None  # when the old place is asked a second time; None: it was, or has answered
    false: bool = False


class Moves:
    """The claims that are looked at now."""

    def __init__(self) -> None:
        self._moves: dict[Address, _Move] = {}
        self._at_port: Counter[int] = Counter()
        self._looked = 0.0

    def claim(self, address: Address, to: Neighbour, now: float) -> bool:
        """Somebody says that the address has moved.  True: the old place is to be asked.

        False while another claim of this address, or too many of this port, are looked at.
        """
        if address in self._moves or self._at_port[to.port] >= MAX_MOVES:
            return False
        self._moves[address] = _Move(to, now + PATIENCE_S, now + AGAIN_S)
        self._at_port[to.port] += 1
        return True

    def is_open(self, address: Address) -> bool:
        return address in self._moves

    def stays(self, address: Address) -> bool:
        """The host has been heard at its old place.  True: a claim has become false by that, just now."""
        move = self._moves.get(address)
        if move is None or move.false:
            return False
        move.false, move.again = True, None
        return True

    def gone(self, address: Address) -> Neighbour | None:
        """Nobody is at the old place any more → who takes the address, if anyone has claimed it."""
        move = self._moves.get(address)
        if move is None or move.false:
            return None
        self._close(address)
        return move.to

    def port_down(self, port: int) -> None:
        """Nobody can have moved to a port without a carrier."""
        for address in [address for address, move in self._moves.items() if move.to.port == port]:
            self._close(address)

    def tick(self, now: float) -> tuple[list[Address], list[tuple[Address, Neighbour]]]:
        """→ the addresses whose old places are to be asked again, and those that have moved, as it turned out."""
        if now - self._looked > PATIENCE_S:  # we were kept from looking: answers may be waiting to be heard
            for move in self._moves.values():
                move.until = max(move.until, now + AGAIN_S)
        self._looked = now
        again = []
        taken = []
        for address, move in list(self._moves.items()):
            if now >= move.until:
                self._close(address)
                if not move.false:
                    taken.append((address, move.to))
            elif move.again is not None and now >= move.again:
                move.again = None
                again.append(address)
        return again, taken

    def _close(self, address: Address) -> None:
        self._at_port[self._moves.pop(address).to.port] -= 1


@dataclass(slots=True)
class _Source:
    until: float
    again: float
    frames: list[bytes] = field(default_factory=list)


class Sources:
    """The unknown sources that are asked for now, each with the packets that wait for its answer."""

    def __init__(self) -> None:
        self._sources: dict[tuple[int, Address], _Source] = {}
        self._at_port: Counter[int] = Counter()

    def wait(self, address: Address, port: int, frame: bytes, now: float) -> tuple[bool, bool]:
        """A packet of an unknown source → (does it wait?, is the source to be asked for now?)."""
        source = self._sources.get((port, address))
        if source is None:
            if self._at_port[port] >= MAX_SOURCES:
                return False, False
            self._sources[port, address] = _Source(now + SOURCE_S, now + SOURCE_AGAIN_S, [frame])
            self._at_port[port] += 1
            return True, True
        if len(source.frames) >= WAITING_PER_SOURCE:
            return False, False
        source.frames.append(frame)
        return True, False

    def answered(self, address: Address, port: int) -> list[bytes]:
        """The source is known at this port now → the packets that go on."""
        return self._close(port, address).frames if (port, address) in self._sources else []

    def port_down(self, port: int) -> int:
        """→ how many packets are lost."""
        return sum(len(self._close(*key).frames) for key in list(self._sources) if key[0] == port)

    def tick(self, now: float, moving: Moves) -> tuple[list[tuple[int, Address]], int]:
        """→ (port, address) to ask for again, and how many packets have waited in vain.

        Who has answered, and is ``moving`` here from another place, is waited for.
        """
        again = []
        lost = 0
        for (port, address), source in list(self._sources.items()):
            if now >= source.until and not moving.is_open(address):
                lost += len(self._close(port, address).frames)
            elif now >= source.again:
                source.again = now + SOURCE_AGAIN_S
                again.append((port, address))
        return again, lost

    def __len__(self) -> int:
        """How many packets wait."""
        return sum(len(source.frames) for source in self._sources.values())

    def _close(self, port: int, address: Address) -> _Source:
        self._at_port[port] -= 1
        return self._sources.pop((port, address))
