"""Sharing: a switch whose master decides on the flows of its clients, and the leader on all else.

The leader is connected to the switch as well, and asks it what it holds; what it writes, the master sends.  Members say
to each other, by topic:

    holds    a master, of which switches it has the flows in its memory
    heard    a master, what such a switch has sent that is not about flows
    told     the leader, what the masters have to know of the network (``control.share.Told``)
    hosts    the leader, where hosts at a switch are
    writes   the leader, messages for a switch

The rules this file keeps:

- ``holds`` is said again and again, so that whoever becomes the leader, or has lost a line, knows it soon.
- The leader decides on a switch as long as it hears from the master that etcd names, with the generation by which that
  has become the master.  When that ends it is as if the switch had disconnected.
- Where a stream between the two was broken, lines may be lost: then it is as if the switch had disconnected, and had
  connected anew.
- Lines of the leader have its term.  A master takes them from the latest leader that it has heard of.
- Where hosts are is said before what is written: a first packet that is sent again meets it.
"""

from __future__ import annotations

import base64
import json
import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

from anycast_sdn.cluster.cluster import Cluster
from anycast_sdn.cluster.view import Master
from anycast_sdn.control import noted
from anycast_sdn.control.controller import Controller
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.share import Share, Told
from anycast_sdn.core.model import Neighbour, Prefix
from anycast_sdn.openflow.decoding import BadMessage, PacketInMessage
from anycast_sdn.openflow.features import Tried
from anycast_sdn.process.connections import Connections
from anycast_sdn.process.faults import isolated

LOG = logging.getLogger(__name__)

HOLDS, HEARD, TOLD, HOSTS, WRITES = "holds", "heard", "told", "hosts", "writes"
AGAIN_S = 0.5  # what a master holds is said so often
SILENT_S = 3.0  # a master that has not said for so long what it holds counts as gone


class Lines(Protocol):
    """What members of a cluster say to each other."""

    def publish(self, topic: str, text: str) -> None: ...

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None: ...

    def begun(self, member: str) -> int:
        """How often this one has begun to listen to that member."""


class Masters(Cluster, Protocol):
    @property
    def member(self) -> str:
        """The id of this one."""

    def master(self, dpid: int) -> Master | None:
        """The one that etcd names."""

    def leader(self) -> str:
        """The id of the one that etcd names."""


class _Held(NamedTuple):
    """What a master has said of a switch."""

    generation: int
    begun: int  # how often it has begun to listen to the leader
    tried: Tried | None


class By(NamedTuple):
    """How the leader manages a switch."""

    member: str
    generation: int
    begun: tuple[int, int]  # how often the two have begun to listen to each other


class Sharing:
    def __init__(
        self,
        controller: Controller,
        cluster: Masters,
        connections: Connections,
        lines: Lines,
        react: Callable[[Outcome], None],
        listener: Any,
        tried: Callable[[int], Tried | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``listener``: is told what switches have sent, as by their connections; ``tried``: see ``Succession``."""
        self._controller = controller
        self._cluster = cluster
        self._connections = connections
        self._lines = lines
        self._react = react
        self._listener = listener
        self._tried = tried
        self._clock = clock
        self._held: dict[str, tuple[float, dict[int, _Held]]] = {}  # member → when it has said so, and what it holds
        self._managed: dict[int, By] = {}  # switches on which this controller decides, as the leader
        self._said_at, self._said = 0.0, ""
        self._told: Told | None = None  # to others; None: they have to be told everything
        self._heard: Told | None = None  # from the leader
        self._term = 0  # of the latest leader that was heard
        for topic, take in ((HOLDS, self._hear_holds), (HEARD, self._hear_heard), (TOLD, self._hear_told),
                            (HOSTS, self._hear_hosts), (WRITES, self._hear_writes)):  # fmt: skip
            lines.listen(topic, take)

    # ---------------------------------------------------------------- a master

    def beat(self) -> None:
        """To be called several times a second."""
        self._say_what_is_held()
        self._look()
        self._tell()

    def _say_what_is_held(self) -> None:
        held: dict[str, Any] = {}
        for dpid, switch in self._controller.switches.items():
            if switch.share is Share.FLOWS and switch.serves_flows and self._cluster.is_master(dpid):
                tried = self._tried(dpid)
                begun = self._lines.begun(self._cluster.leader())
                note = noted.tried_note(tried) if tried else ""
                held[format(dpid, "x")] = [self._connections.generation(dpid), begun, note]
        said, now = json.dumps(held), self._clock()
        if said != self._said or (held and now - self._said_at >= AGAIN_S):
            self._said, self._said_at = said, now
            self._lines.publish(HOLDS, said)

    def pass_on(self, dpid: int, event: str, *arguments: Any) -> None:
        """To the leader: what the switch has sent.  ``event``: the name of the listener's method."""
        generation = self._connections.generation(dpid)
        self._lines.publish(HEARD, json.dumps([format(dpid, "x"), generation, event, *arguments]))

    def is_latest(self, member: str, term: int) -> bool:
        """Is a line of this term by the leader of now?"""
        if term < max(self._term, self._cluster.term()) or self._cluster.leads():
            return False
        self._term = term
        return True

    def _hear_told(self, member: str, text: str) -> None:
        term, told = json.loads(text)
        if self.is_latest(member, term):
            self._heard = _told_of(told)
            self._controller.be_told(self._heard)

    def begin_anew(self) -> None:
        """The controller has forgotten what it was told."""
        if self._heard and not self._cluster.leads():
            self._controller.be_told(self._heard)

    def _hear_hosts(self, member: str, text: str) -> None:
        term, dpid, hosts = json.loads(text)
        switch = self._controller.switches.get(int(dpid, 16))
        if switch and switch.share is Share.FLOWS and self.is_latest(member, term):
            switch.set_hosts({
                bytes.fromhex(address): Neighbour(bytes.fromhex(there[0]), there[1]) if there else None
                for address, there in hosts.items()
            })  # fmt: skip

    def _hear_writes(self, member: str, text: str) -> None:
        term, dpid, generation, data = text.split(" ")
        number = int(dpid, 16)
        switch, channel = self._controller.switches.get(number), self._connections.channels.get(number)
        if not (switch and channel and switch.share is Share.FLOWS):
            return
        if self._connections.generation(number) != int(generation):
            return
        if self.is_latest(member, int(term)) and self._cluster.is_master(number):
            try:
                channel.send_for_another(base64.b64decode(data))
            except BadMessage as error:
                LOG.warning("member %s: %s", member, error)

    # ---------------------------------------------------------------- the leader

    def _hear_holds(self, member: str, text: str) -> None:
        held = {
            int(dpid, 16): _Held(generation, begun, noted.tried(note or None))
            for dpid, (generation, begun, note) in json.loads(text).items()
        }
        self._held[member] = self._clock(), held
        self._look()

    def _look(self) -> None:
        """Which switches does this controller manage now?"""
        leads, now = self._cluster.leads(), self._clock()
        self._held = {member: held for member, held in self._held.items() if now - held[0] <= SILENT_S}
        for dpid in self._controller.switches:
            by = self._held_by(dpid) if leads else None
            channel = self._connections.channels.get(dpid)
            if dpid in self._managed and (channel is None or not channel.is_manager):
                del self._managed[dpid]  # it has ended by itself
            if dpid in self._managed and (by is None or self._managed[dpid] != by[0]):
                del self._managed[dpid]
                self._connections.manage_no_more(dpid)
            if by and dpid not in self._managed and channel and not channel.is_master:
                self._managed[dpid], tried = by
                self._told = None
                generation = self._managed[dpid].generation
                self._connections.manage(dpid, partial(self._write, dpid, generation), generation, tried)

    @property
    def managed(self) -> Mapping[int, By]:
        """The switches on which this controller decides, as the leader, and by whom it has their flows decided on."""
        return self._managed

    def _held_by(self, dpid: int) -> tuple[By, Tried | None] | None:
        master = self._cluster.master(dpid)
        if master is None or master.member == self._cluster.member or master.member not in self._held:
            return None
        there = self._held[master.member][1].get(dpid)
        if there is None or there.generation != master.generation or not there.begun:
            return None
        begun = self._lines.begun(master.member), there.begun
        return By(master.member, master.generation, begun), there.tried

    def _write(self, dpid: int, generation: int, data: bytes) -> None:
        self.say_hosts(dpid)
        if data:
            text = base64.b64encode(data).decode()
            self._lines.publish(WRITES, f"{self._cluster.term()} {dpid:x} {generation} {text}")

    def say_hosts(self, dpid: int) -> None:
        if hosts := self._controller.switches[dpid].pop_hosts():
            places = {address: there and [there.mac.hex(), there.port] for address, there in hosts.items()}
            shown = {address.hex(): place for address, place in places.items()}
            self._lines.publish(HOSTS, json.dumps([self._cluster.term(), format(dpid, "x"), shown]))

    def _tell(self) -> None:
        if not self._managed:
            self._told = None
            self._heard = None if self._cluster.leads() else self._heard
            return
        for dpid in self._managed:
            self.say_hosts(dpid)
        told = self._controller.told()
        if told != self._told:
            self._told = self._heard = told
            self._lines.publish(TOLD, json.dumps([self._cluster.term(), _shown(told)]))

    def tell_now(self) -> None:
        """Something has been decided that flows depend on."""
        if self._cluster.leads():
            self._tell()

    def _hear_heard(self, member: str, text: str) -> None:
        number, generation, event, *arguments = json.loads(text)
        dpid = int(number, 16)
        by = self._managed.get(dpid)
        if by and (by.member, by.generation) == (member, generation) and event in _HEARD:
            self._take(dpid, event, arguments)

    @isolated
    def _take(self, dpid: int, event: str, arguments: list[Any]) -> None:
        if event in ("packet_in", "ttl_expired"):
            cookie, port, frame = arguments
            message = PacketInMessage(cookie, port, bytes.fromhex(frame))
            if event == "packet_in":
                self._react(self._controller.packet_in(dpid, *message, now=self._clock()))
            else:
                self._listener.ttl_expired(dpid, message)
        else:
            getattr(self._listener, event)(dpid, *arguments)


_HEARD = frozenset((
    "packet_in", "ttl_expired", "rule_removed", "rule_refused", "group_refused", "message_refused", "port_changed",
    "confirmed",
))  # fmt: skip


def _shown(told: Told) -> Mapping[str, Any]:
    return {
        "announced": [str(prefix) for prefix in told.announced],
        "lost": [server.hex() for server in told.lost],
        "failed": [[group, server.hex()] for group, server in told.failed],
        "cut": {edge: [str(prefix) for prefix in prefixes] for edge, prefixes in told.cut.items()},
        "choices": [[*of, dict(numbers)] for of, numbers in told.choices.items()],
    }


def _told_of(shown: Mapping[str, Any]) -> Told:
    return Told(
        frozenset(map(Prefix.parse, shown["announced"])),
        frozenset(map(bytes.fromhex, shown["lost"])),
        frozenset((group, bytes.fromhex(server)) for group, server in shown["failed"]),
        {edge: frozenset(map(Prefix.parse, prefixes)) for edge, prefixes in shown["cut"].items()},
        {(group, is_v6): numbers for group, is_v6, numbers in shown["choices"]},
    )
