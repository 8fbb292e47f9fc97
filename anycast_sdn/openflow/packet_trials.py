"""Packet trials: the packets of ``packet_probes`` are sent through a switch, and what comes back is judged.

All are sent at once: a switch that is able answers within one round trip.  Those that are late or lost, as a switch's
limit for its controller may lose them, are sent again, a few at a time, as long as that brings some back.  A packet
counts as lost only if one that was sent behind it, and is known to come back, did so again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from anycast_sdn.openflow.abilities import Lack
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.packet_probes import PacketProbe, clean_up, lacks_shown, number_in, packet_probes
from anycast_sdn.openflow.pending import ANSWER_S
from anycast_sdn.openflow.rules import Message

WAIT_S = 1.0  # for packets to come back, after the switch has confirmed that it has got them
FEW = 7  # packets that are sent again together
MOST = 12  # times that some are sent again; of those that have still not come back nothing is known then


class PacketTrials:
    """``done`` is called with what the switch was found to lack."""

    def __init__(self, switch: Connection, nonce: bytes, done: Callable[[tuple[Lack, ...]], None]) -> None:
        self._switch = switch
        self._nonce = nonce
        self._done = done
        self._probes = packet_probes(switch.layout, nonce)
        self._refused: set[PacketProbe] = set()
        self._there: list[Message] = []  # rules and groups that were accepted
        self._left = sum(len(probe.rules) for probe in self._probes)
        self._back: dict[int, bytes] = {}  # by the number of the probe
        self._wanted: frozenset[int] = frozenset()  # the numbers of those that are sent
        self._lost: set[int] = set()
        self._batch = 0  # the number of what was sent last
        self._expected: set[int] = set()  # of these, the numbers of those that may still come
        self._unconfirmed = 0  # so many of these
        self._over: Callable[[], None] = self._end
        self._again = 0  # times that some were sent again
        self.unshown = ""  # afterwards: why nothing, or not all, was shown

    def begin(self) -> None:
        rules = [(probe, rule) for probe in self._probes for rule in probe.rules]
        self._switch.try_all([(rule, partial(self._take, probe, rule)) for probe, rule in rules])

    def _take(self, probe: PacketProbe, rule: Message, taken: bool | None, why: str) -> None:
        if taken:
            self._there.append(rule)
        else:
            self._refused.add(probe)
        self._left -= 1
        if not self._left:
            self._wanted = frozenset(number for number, each in enumerate(self._probes) if each not in self._refused)
            self._send(self._wanted, self._send_again)

    def _send(self, numbers: Iterable[int], over: Callable[[], None]) -> None:
        """``over`` is called when all are back, or have had their time."""
        ordered = list(numbers)
        if not ordered:
            over()
            return
        self._batch += 1
        self._expected, self._unconfirmed, self._over = set(ordered), len(ordered), over
        self._switch.await_packets(self._take_packet, self._stop, 2 * ANSWER_S)
        self._switch.try_all(
            [(self._probes[number].message, partial(self._sent, self._batch, number)) for number in ordered]
        )

    def _sent(self, batch: int, number: int, taken: bool | None, why: str) -> None:
        """A switch that refuses the packet says nothing by not sending it back."""
        if taken is False:
            self._wanted -= {number}
        if batch != self._batch:
            return
        if taken is False:
            self._expected.discard(number)
        self._unconfirmed -= 1
        if not self._expected:
            self._stop()
        elif not self._unconfirmed:
            self._switch.await_packets(self._take_packet, self._stop, WAIT_S)

    def _take_packet(self, in_port: int, frame: bytes) -> bool:
        number = number_in(frame, self._nonce)
        if number is None:
            return False
        if number in self._wanted:
            self._back.setdefault(number, frame)
        self._expected.discard(number)
        if not self._expected:
            self._stop()
        return True

    def _stop(self) -> None:
        self._batch += 1  # what was sent before is not waited for any longer
        self._switch.await_no_packets()
        self._over()

    def _send_again(self) -> None:
        missing = sorted(self._wanted - self._back.keys() - self._lost)
        if not missing or not self._back or self._again == MOST:
            self._end()
            return
        few = missing[:FEW]
        known = sorted(self._back)
        behind = known[self._again % len(known)]  # another one each time: a late one is not taken for this one
        self._again += 1
        self._send([*few, behind], partial(self._look, few, behind))

    def _look(self, few: list[int], behind: int) -> None:
        if behind not in self._expected and not self._back.keys() & few:
            self._lost |= {*few}
        self._send_again()

    def _end(self) -> None:
        self._switch.send(clean_up(self._there))
        known = self._wanted & (self._back.keys() | self._lost)
        if not self._back:
            known = frozenset()
            self.unshown = "none came back" if self._wanted else "there could be no rules for them"
        elif known < self._wanted:
            self.unshown = f"only {len(self._back)} of {len(self._wanted)} came back, and not always"
        self._done(lacks_shown({self._probes[number]: self._back.get(number) for number in known}, self._switch.layout))
