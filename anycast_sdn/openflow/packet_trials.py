"""Packet trials: the packets of ``packet_probes`` are sent through a switch, and what comes back is judged.

A packet that is late or lost, as a switch's limit for its controller may lose it, is sent once more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from anycast_sdn.openflow.abilities import Lack
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.packet_probes import PacketProbe, clean_up, lacks_shown, number_in, packet_probes
from anycast_sdn.openflow.rules import Message

WAIT_S = 1.0  # for packets to come back


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
            self._send(self._send_again)

    def _send(self, over: Callable[[], None]) -> None:
        missing = self._wanted - self._back.keys()
        if not missing:
            self._end()
            return
        self._switch.await_packets(self._take_packet, over, WAIT_S)
        self._switch.try_all(
            [(self._probes[number].message, partial(self._sent, number)) for number in sorted(missing)]
        )

    def _sent(self, number: int, taken: bool | None, why: str) -> None:
        """A switch that refuses the packet says nothing by not sending it back."""
        if taken is False:
            self._wanted -= {number}

    def _take_packet(self, in_port: int, frame: bytes) -> bool:
        number = number_in(frame, self._nonce)
        if number is None:
            return False
        if number in self._wanted:
            self._back.setdefault(number, frame)
        if self._wanted <= self._back.keys():
            self._switch.await_no_packets()
            self._end()
        return True

    def _send_again(self) -> None:
        if self._back:
            self._send(self._end)
        else:
            self._end()

    def _end(self) -> None:
        self._switch.send(clean_up(self._there))
        back = {self._probes[number]: self._back.get(number) for number in self._wanted}
        self._done(lacks_shown(back, self._switch.layout))
