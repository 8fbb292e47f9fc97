"""A cluster in one process: an etcd in memory, switches with roles, and members that can die, freeze and be cut off.

Time moves by ``run``.  In each step every member that lives hears what etcd and its switches have sent, and every one
that believes to be a switch's master writes to it.  What must never happen is checked in each step:

- a switch with roles takes a write from its master only;
- a generation is used by one member;
- of members that run, one at most believes to be the master of a switch without roles.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from anycast_sdn.cluster.assignment import rendezvous
from anycast_sdn.cluster.cluster import Claim, RoleAnswer, Turn
from anycast_sdn.cluster.etcd_cluster import EtcdCluster
from anycast_sdn.cluster.keys import MOVED, of_switch
from anycast_sdn.cluster.lease import DEAF_S
from anycast_sdn.etcd.client import EtcdError
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.etcd.schema import KNOWN
from anycast_sdn.simulation.roles import IsSlave, Role, Roles, Stale
from tests.unit.etcd.fake import FakeEtcd, Fault, catch_up

STEP_S = 0.05
RENEW_S = 0.4
PREFIX = "/x/"


class FakeLease:
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.number = 0
        self.known_at = self.is_enough_until = 0.0

    def begin(self, number: int) -> None:
        self.number, self.known_at = number, self._clock()

    def feed(self, enough_s: float = 0.0) -> None:
        self.is_enough_until = self._clock() + enough_s


@dataclass
class Switch:
    """``has_roles``; ``is_mute``: it answers nothing about roles; ``writes``: those that it took, by member."""

    roles: Roles = field(default_factory=Roles)
    has_roles: bool = True
    is_mute: bool = False
    writes: Counter[str] = field(default_factory=Counter)
    used: dict[int, str] = field(default_factory=dict)  # generation → the member that was its master by it


Request = Callable[[Switch], Callable[[], object] | None]


class Process:
    """A member: its cluster, and its connections to switches."""

    def __init__(
        self, world: World, number: int, name: str, ahead_s: float, known: Sequence[int] = KNOWN
    ) -> None:
        self.world = world
        self.id = f"{name}-{number:08x}"
        self.is_frozen = False
        self.is_unheard = False  # by the other members, nor hears it them
        self.events: list[Any] = []  # that were reported
        self.begun: Counter[int] = Counter()  # how often it has had to read a switch
        self.asked: Counter[int] = Counter()
        self.led: list[int] = []  # terms
        self.switches: dict[int, deque[Request]] = {}  # connected → what is on its way there
        self.answers: deque[tuple[int, Callable[[], object]]] = deque()
        self.client = world.etcd.client()
        self.clock = lambda: world.etcd.now + ahead_s
        self.mirror = Mirror(self.client, PREFIX)
        self.lease = FakeLease(lambda: world.etcd.now)
        lease: Any = self.lease
        names = {dpid: f"s{dpid}" for dpid in world.switches}
        self.cluster = EtcdCluster(
            self.mirror, lease, self.id, name, "rest", names, clock=self.clock, random=Random(number).getrandbits,
            known=known,
        )
        self.cluster.watch(self._ask_all)
        self.cluster.report = self.events.append
        self.cluster.wake = lambda: None
        self.cluster.hear(lambda: world.heard_by(self))
        self._renewed_at = world.etcd.now

    # ---------------------------------------------------------------- as process/connections.py

    def connect(self, dpid: int) -> None:
        if dpid not in self.switches:
            self.world.switches[dpid].roles.connected(self.id)
            self.switches[dpid] = deque()
            self.cluster.connected(dpid)
            self._ask(dpid)

    def disconnect(self, dpid: int) -> None:
        if dpid in self.switches:
            self.world.switches[dpid].roles.disconnected(self.id)
            del self.switches[dpid]
            self.answers = deque((of, answer) for of, answer in self.answers if of != dpid)
            self.cluster.disconnected(dpid)

    def _ask_all(self, dpids: Collection[int]) -> None:
        for dpid in dpids:
            if dpid in self.switches:
                self._ask(dpid)

    def _ask(self, dpid: int) -> None:
        claim = self.cluster.claim(dpid)
        assert claim
        self.asked[dpid] += 1
        self.switches[dpid].append(lambda switch: self._answer(dpid, switch, claim))

    def _answer(self, dpid: int, switch: Switch, claim: Claim) -> Callable[[], object]:
        if switch.is_mute:
            return lambda: self._take(dpid, claim, RoleAnswer.SILENT, 0)
        if not switch.has_roles:
            return lambda: self._take(dpid, claim, RoleAnswer.UNSUPPORTED, 0)
        try:
            switch.roles.ask(self.id, Role.MASTER if claim.master else Role.SLAVE, claim.generation)
        except Stale:
            own = switch.roles.ask(self.id, Role.NOCHANGE).generation
            return lambda: self._take(dpid, claim, RoleAnswer.STALE, own)
        if claim.master:
            assert switch.used.setdefault(claim.generation, self.id) == self.id, "a generation was used twice"
        return lambda: self._take(dpid, claim, RoleAnswer.GRANTED, 0)

    def _take(self, dpid: int, claim: Claim, answer: RoleAnswer, generation: int) -> None:
        self.begun[dpid] += self.cluster.answered(dpid, claim, answer, generation) is Turn.BEGUN

    def _write(self, dpid: int, switch: Switch) -> Callable[[], object] | None:
        if switch.has_roles:
            try:
                switch.roles.check_write(self.id)
            except IsSlave:
                return lambda: self.cluster.refused(dpid)
            assert switch.roles.of(self.id) is Role.MASTER, "a write of one that is not the master"
        switch.writes[self.id] += 1
        return None

    # ---------------------------------------------------------------- time

    def hear(self) -> None:
        if self.is_frozen:
            return
        while self.answers:
            self.answers.popleft()[1]()
        if self.lease.number and self.world.etcd.now - self._renewed_at >= RENEW_S:
            self._renewed_at = self.world.etcd.now
            self._renew()
        for _ in range(2):  # what it writes, it hears
            catch_up(self.mirror)
            with suppress(EtcdError):
                self.cluster.beat()
        self.led += [self.cluster.term()] * (self.cluster.leads() and self.cluster.term() not in self.led)
        for dpid, requests in self.switches.items():
            if self.cluster.is_master(dpid):
                requests.append(lambda switch, dpid=dpid: self._write(dpid, switch))  # type: ignore[misc]

    def _renew(self) -> None:
        """As the thread of ``Lease``."""
        now = self.world.etcd.now
        try:
            if self.client.keep_alive(self.lease.number):
                self.lease.known_at = now
            else:
                self.lease.number = 0
        except EtcdError:
            if now - self.lease.known_at >= DEAF_S:
                self.lease.number = 0

    def deliver(self) -> None:
        """What was sent arrives, also of one that is frozen now."""
        for dpid, requests in self.switches.items():
            while requests:
                if answer := requests.popleft()(self.world.switches[dpid]):
                    self.answers.append((dpid, answer))


class World:
    def __init__(self, switches: int = 2, members: Iterable[str] = (), unfenced: Collection[int] = ()) -> None:
        self.etcd = FakeEtcd()
        self.switches = {dpid: Switch(has_roles=dpid not in unfenced) for dpid in range(1, switches + 1)}
        self.members: list[Process] = []
        self._started = 0
        for name in members:
            self.start(name)
        self.run(1)

    def start(self, name: str, connect: bool = True, known: Sequence[int] = KNOWN) -> Process:
        """Its clock differs from all others."""
        self._started += 1
        process = Process(self, self._started, name, 1000.0 * self._started, known)
        catch_up(process.mirror)
        process.cluster.join(self.run)
        self.members.append(process)
        for dpid in self.switches if connect else ():
            process.connect(dpid)
        return process

    def kill(self, process: Process) -> None:
        for dpid in list(process.switches):
            process.deliver()
            process.disconnect(dpid)
        self.members.remove(process)

    def cut(self, process: Process, fault: Fault = Fault.UNREACHABLE) -> None:
        """From etcd."""
        process.client.fault, process.client.is_deaf = fault, True

    def mend(self, process: Process) -> None:
        process.client.fault, process.client.is_deaf = None, False

    def run(self, seconds: float, step_s: float = STEP_S) -> None:
        for _ in range(max(1, round(seconds / step_s))):
            self.etcd.advance(step_s)
            for process in self.members:
                process.hear()
            for process in self.members:
                process.deliver()
            for dpid, switch in self.switches.items():
                if not switch.has_roles:
                    believing = [each.id for each in self._running if each.cluster.is_master(dpid)]
                    assert len(believing) <= 1, f"{believing} serve a switch without roles"

    def until(self, condition: Callable[[], bool], most_s: float = 30.0) -> float:
        """→ after how long."""
        began = self.etcd.now
        while not condition():
            assert self.etcd.now - began < most_s, "it does not happen"
            self.run(STEP_S)
        return self.etcd.now - began

    # ---------------------------------------------------------------- what is so now

    def process(self, name: str) -> Process | None:
        return next((process for process in self.members if process.id.startswith(f"{name}-")), None)

    def heard_by(self, process: Process) -> set[str]:
        others = [each for each in self._running if each is not process and not each.is_unheard]
        return set() if process.is_unheard else {each.id for each in others}

    @property
    def _running(self) -> Sequence[Process]:
        return [each for each in self.members if not each.is_frozen]

    def leaders(self) -> list[Process]:
        return [each for each in self._running if each.cluster.leads()]

    def masters(self, dpid: int) -> list[Process]:
        return [each for each in self._running if each.cluster.is_master(dpid)]

    def is_whole(self) -> bool:
        """One leader, by etcd's word too, who is the master of each switch, by that one's word too."""
        named = self.etcd.values.get(f"{PREFIX}leader")
        if len(self.leaders()) != 1 or not named or named.text != self.leaders()[0].id:
            return False
        return all(self.is_served(dpid) and self.masters(dpid) == self.leaders() for dpid in self.switches)

    def share(self, on: bool = True) -> None:
        self.members[0].cluster.share(on)

    def is_shared(self) -> bool:
        """One leader, and each switch has the master that it should have among those who are able to be it."""
        if len(self.leaders()) != 1:
            return False
        return all(
            self.is_served(dpid) and self.masters(dpid) == [self.should_serve(dpid)] for dpid in self.switches
        )

    def should_serve(self, dpid: int) -> Process:
        """By the names of all members, of which each reaches the switch."""
        drained = {key.rpartition("/")[2] for key in self.etcd.values if "/drains/" in key}
        moved = self.etcd.values.get(f"{PREFIX}{of_switch(MOVED, dpid)}")
        able = {each.id.rpartition("-")[0]: each for each in self._running if each.id not in drained}
        return able.get(moved.text if moved else "") or able[rendezvous(able, dpid)]

    def is_served(self, dpid: int) -> bool:
        masters, switch = self.masters(dpid), self.switches[dpid]
        return len(masters) == 1 and (not switch.has_roles or switch.roles.master == masters[0].id)

    def cluster_is_moved_to(self, process: Process) -> None:
        process.cluster.lead(process.id)
        self.until(lambda: self.is_whole() and self.leaders() == [process])

    def heal(self) -> float:
        return self.until(self.is_whole)

    def requests_in(self, seconds: float) -> int:
        """How many roles are asked for in that time."""
        before = self._asked()
        self.run(seconds)
        return self._asked() - before

    def _asked(self) -> int:
        counted: dict[str, int] = defaultdict(int)
        for process in self.members:
            counted[process.id] += sum(process.asked.values())
        return sum(counted.values())
