"""Claims of hosts that are verified by ARP or ND before they take effect: that an address has moved, or is a source.

- **A move**: an address that is known at one place (a MAC behind a port) is claimed at another.  The old place
  is asked, twice.  If it answers, the claim was false; if it is silent for ``PATIENCE_S``, the claim takes effect.
  In that time no other claim of the address is examined, whether this one is true or false, so that no host can make
  the switch ask without end.
- **A source**: a first packet comes from an address that is not known at its port.  The address is asked for
  at that port alone.  If it answers, the packet is forwarded; if it is silent for ``SOURCE_S``, the packet is dropped.
  So an invented source costs a question, and no binding.

Both are limited per port: claims at one port do not displace those at others.

This file keeps the open claims and the packets that wait; ``Neighbours`` sends the questions, and reports the answers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from anycast_sdn.core.model import Address, Neighbour

PATIENCE_S = 0.5  # the old place has this long to answer
AGAIN_S = 0.25  # until the old place is asked a second time
MAX_MOVES = 64  # open at once, claimed at one port
SOURCE_S = 1.5  # a packet of an unknown source waits this long; a real host answers within milliseconds
SOURCE_AGAIN_S = 0.5  # between questions for an unknown source
MAX_SOURCES = 64  # unknown sources that are asked for at once, at one port
WAITING_PER_SOURCE = 4  # packets


@dataclass(slots=True)
class _Move:
    to: Neighbour
    until: float
    again: float | None  # when the old place is asked a second time; None: it was, or has answered
    false: bool = False


class Moves:
    """The open claims that addresses have moved."""

    def __init__(self) -> None:
        self._moves: dict[Address, _Move] = {}
        self._at_port: Counter[int] = Counter()
        self._looked = 0.0

    def claim(self, address: Address, to: Neighbour, now: float) -> bool:
        """A host claims that the address has moved → is the old place to be asked?

        It is not while another claim of this address, or ``MAX_MOVES`` of this port, are open.
        """
        if address in self._moves or self._at_port[to.port] >= MAX_MOVES:
            return False
        self._moves[address] = _Move(to, now + PATIENCE_S, now + AGAIN_S)
        self._at_port[to.port] += 1
        return True

    def is_open(self, address: Address) -> bool:
        return address in self._moves

    def refute(self, address: Address) -> bool:
        """The host has been heard at its old place → was a claim refuted by that, for the first time?"""
        move = self._moves.get(address)
        if move is None or move.false:
            return False
        move.false, move.again = True, None
        return True

    def pop_claimed(self, address: Address) -> Neighbour | None:
        """No host is at the old place any more → the place that a claim names, if one is open; it is closed."""
        move = self._moves.get(address)
        if move is None or move.false:
            return None
        self._close(address)
        return move.to

    def port_down(self, port: int) -> None:
        """No host can have moved to a port without a carrier."""
        for address in [address for address, move in self._moves.items() if move.to.port == port]:
            self._close(address)

    def tick(self, now: float) -> tuple[list[Address], list[tuple[Address, Neighbour]]]:
        """→ the addresses whose old places are to be asked again, and those that have moved, with the new places."""
        if now - self._looked > PATIENCE_S:  # the controller was late: answers may wait to be processed
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
    """The unknown sources that are being asked for, each with the packets that wait for its answer."""

    def __init__(self) -> None:
        self._sources: dict[tuple[int, Address], _Source] = {}
        self._at_port: Counter[int] = Counter()

    def wait(self, address: Address, port: int, frame: bytes, now: float) -> tuple[bool, bool]:
        """Keep a packet of an unknown source → (is it kept?, is the source to be asked for now?)."""
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

    def pop_answered(self, address: Address, port: int) -> list[bytes]:
        """The source has answered at this port → the packets that waited for that."""
        return self._close(port, address).frames if (port, address) in self._sources else []

    def port_down(self, port: int) -> int:
        """Drop the packets that wait for an answer at this port → how many."""
        return sum(len(self._close(*key).frames) for key in list(self._sources) if key[0] == port)

    def tick(self, now: float, moving: Moves) -> tuple[list[tuple[int, Address]], int]:
        """→ (port, address) to ask for again, and how many packets are dropped because no answer has come.

        A host that has answered, and whose move to this port is still open in ``moving``, has more time.
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
