"""What lies between the members of a simulated cluster: lines from one to another, and what etcd and switches say."""

from __future__ import annotations

from collections.abc import Callable

from anycast_sdn.cluster.view import Master
from anycast_sdn.openflow.rules import Message

LINE_S = 0.0005  # from one member to another
TERM = 7
LEADER, MASTER = "leader", "master"


class Wire:
    """What members say to each other: lines in their order, to all others."""

    def __init__(self, now: Callable[[], float], at: Callable[..., None]) -> None:
        self._now, self._at = now, at
        self.ends: dict[str, WireEnd] = {}
        self.cut: set[tuple[str, str]] = set()  # (from, to): lines are lost
        self.said: list[tuple[str, str, str]] = []  # (member, topic, text)

    def say(self, member: str, topic: str, text: str) -> None:
        assert "\n" not in text
        self.said.append((member, topic, text))
        for other, end in self.ends.items():
            if other != member and (member, other) not in self.cut:
                self._at(self._now() + LINE_S, end.take, member, topic, text)

    def cut_off(self, one: str, other: str) -> None:
        self.cut |= {(one, other), (other, one)}

    def mend(self) -> None:
        for one, other in self.cut:
            self.ends[other].streams[one] += 1
        self.cut.clear()


class WireEnd:
    """``Lines`` of one member."""

    def __init__(self, wire: Wire, member: str) -> None:
        self._wire, self._member = wire, member
        self._listeners: dict[str, list[Callable[[str, str], None]]] = {}
        self.streams = dict.fromkeys((LEADER, MASTER), 1)
        self.taken: Callable[[], None] = lambda: None  # called after each line
        wire.ends[member] = self

    def publish(self, topic: str, text: str) -> None:
        self._wire.say(self._member, topic, text)

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None:
        self._listeners.setdefault(topic, []).append(listener)

    def begun(self, member: str) -> int:
        return self.streams[member]

    def take(self, member: str, topic: str, text: str) -> None:
        for listener in self._listeners.get(topic, ()):
            listener(member, text)
        self.taken()


class Etcd:
    """``Masters`` of one member."""

    def __init__(self, member: str, masters: dict[int, Master]) -> None:
        self.member = member
        self._masters = masters

    def leads(self) -> bool:
        return self.member == LEADER

    def term(self) -> int:
        return TERM

    def leader(self) -> str:
        return LEADER

    def master(self, dpid: int) -> Master | None:
        return self._masters.get(dpid)

    def is_master(self, dpid: int) -> bool:
        return self._masters[dpid].member == self.member


class Channel:
    """A connection of one member to one switch."""

    def __init__(self, is_master: bool, send: Callable[[list[Message]], None], carried: list[list[Message]]) -> None:
        self.is_master = is_master
        self._carried = carried  # what was passed on: bytes say which of these
        self._pass_on: Callable[[bytes], None] | None = None
        self._send = send

    @property
    def is_manager(self) -> bool:
        return self._pass_on is not None

    def become_manager(self, pass_on: Callable[[bytes], None] | None) -> None:
        self._pass_on = pass_on

    def send(self, messages: list[Message]) -> None:
        if self._pass_on:
            self._carried.append(messages)
            self._pass_on(len(self._carried).to_bytes(4, "big"))

    def send_for_another(self, data: bytes) -> None:
        self._send(self._carried[int.from_bytes(data, "big") - 1])
