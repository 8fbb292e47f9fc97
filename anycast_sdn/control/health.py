"""Health: what is known of each enrolled server, by all of its checks (M33).

A server has, in each of its groups,

* ARP or ND: always.  ``Neighbours`` asks, and its silence makes the server critical at once;
* the checks of the group that the controller makes through the switch (``Probing``): one that several groups have is
  made once, and has one state;
* results that the server's agent reports, for HTTP or anything else (``AgentChecks``);
* what clients' packets show (``Passive``), and its lease, if it has one.

The state of a server is that of its worst check (``core.health``).  It is computed from the checks whenever it is asked
for.  Here changes are noticed: what may have changed is queued, and examined in slices by ``work``, which returns
events; ``pop_changed`` has what others have to consider.

Who serves, and what becomes of flows, is decided elsewhere.  While an edge is away, all that is known of its servers is
held.  Nothing of this is stored: after a restart of the controller each check is unknown until its first result.  A
controller that takes over ``recall``s the checks that did not pass, so that no flow moves because of that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from anycast_sdn.control.agent_checks import AgentChecks, Reported
from anycast_sdn.control.outcome import Outcome
from anycast_sdn.control.passive import PROBATION_S, Passive
from anycast_sdn.control.probing import Probing, Result
from anycast_sdn.control.reply_times import ReplyTimes
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.checks import (
    Check,
    HealthStatus,
    HttpCheck,
    IcmpCheck,
    PassiveCheck,
    TcpCheck,
    UdpCheck,
)
from anycast_sdn.core.due import Due
from anycast_sdn.core.events import Event
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.health import (
    CheckName,
    CheckResult,
    CheckState,
    ServerHealth,
    counted,
    name_of,
    next_after_s,
    worst,
)
from anycast_sdn.core.model import Address, AnycastGroup, ServerState
from anycast_sdn.core.pool import RandomSource
from anycast_sdn.core.server_events import ServerHealthChanged
from anycast_sdn.description.model import Network
from anycast_sdn.openflow.frames import BadFrame
from anycast_sdn.openflow.probes import ProbedCheck

_ALIVE = CheckResult(True, "answers")
_SILENT = CheckResult(False, "does not answer")
COST_OF_BEGINNING = 5  # of making a check, with its rule, in servers that are examined
_COUNTS_AS = {status: status for status in HealthStatus} | {HealthStatus.UNKNOWN: HealthStatus.PASSING}
_SAY_NOTHING_OF_FLOWS = frozenset(("arp", "nd", "lease", "passive"))
_AT_ONCE = Check(rise=1, fall=1)
_UNKNOWN = CheckState()

Enrolment = tuple[str, Address]  # (group, server)


@dataclass(slots=True)
class _Own:
    """What is known of a server in one group alone."""

    lease: CheckState | None = None
    passive: CheckState | None = None


class Health:
    """``switches``: all, by name; ``replies``: of clients' flows; ``shares``: see ``Passive``."""

    def __init__(
        self,
        network: Network,
        switches: Mapping[str, ManagedSwitch],
        random: RandomSource,
        replies: ReplyTimes,
        shares: Callable[[str, str, bool], Mapping[Address, float]],
    ) -> None:
        self._network = network
        self._switches = switches
        self._probing = Probing(random)
        self._replies = replies
        self._passive = Passive((engine.first_replies for engine in replies.edges.values()), shares)
        self._agents = AgentChecks()
        self._groups = Groups()
        self._there: dict[Address, CheckState] = {}  # ARP or ND of an enrolled server
        self._probed: dict[Address, dict[ProbedCheck, CheckState]] = {}
        self._made: dict[Enrolment, tuple[ProbedCheck, ...]] = {}  # the checks that the controller makes for it
        self._users: dict[tuple[Address, ProbedCheck], set[str]] = {}  # of such a check: the groups that have it
        self._own: dict[Enrolment, _Own] = {}
        self._probations: Due[Enrolment] = Due()  # when passive checks are tried again
        self._known: dict[Enrolment, tuple[HealthStatus, bool]] = {}  # and ``has_failed``, when it was last examined
        self._to_begin: dict[Enrolment, None] = {}  # where other checks may be wanted than those that are made
        self._to_examine: dict[Enrolment, None] = {}
        self._changed: dict[Enrolment, None] = {}  # for ``pop_changed``
        self._unnoted: dict[Enrolment, None] = {}  # for ``pop_unnoted``
        self._recalled: dict[tuple[Address, CheckName], CheckState] = {}  # of checks that have not begun yet

    # ---------------------------------------------------------------- what may be read

    def status(self, group: str, server: Address) -> HealthStatus:
        """As when it was last examined, which follows each change at once."""
        known = self._known.get((group, server))
        return known[0] if known else HealthStatus.UNKNOWN

    def critical(self) -> Iterator[Enrolment]:
        """Those whose status is critical; nothing may be changed meanwhile."""
        return (enrolment for enrolment, (status, _) in self._known.items() if status is HealthStatus.CRITICAL)

    def of(self, group: str, server: Address) -> ServerHealth:
        return worst((str(name), state) for name, state in self.checks(group, server))

    def has_failed(self, group: str, server: Address) -> bool:
        """Is it critical because of what it does itself, so that its flows are better served elsewhere?

        Not by its silence to ARP or ND: that is noticed by ``Losses``.  Not by its lease or by what passes through the
        network either: they say nothing against flows in progress.  Nor while it takes no new flows anyway: a program
        that is being stopped closes its port first, and then ends what is in progress.
        """
        settings = self._groups.get(group)
        enrolled = settings.servers.get(server) if settings else None
        return bool(enrolled and enrolled.state is ServerState.ACTIVE) and any(
            state.status is HealthStatus.CRITICAL and name.type not in _SAY_NOTHING_OF_FLOWS
            for name, state in self.checks(group, server)
        )

    def checks(self, group: str, server: Address) -> Iterator[tuple[CheckName, CheckState]]:
        """All checks of a server in this group."""
        yield CheckName("nd" if len(server) == 16 else "arp"), self._there.get(server, _UNKNOWN)
        settings = self._groups.get(group)
        own = self._own.get((group, server))
        probed = self._probed.get(server, {})
        reported = self._agents.of(group, server)
        names: set[CheckName] = set()
        for check in settings.checks if settings else ():
            name = name_of(check)
            names.add(name)
            match check:
                case HttpCheck():
                    state = reported.get(name)
                case PassiveCheck():
                    state = own.passive if own else None
                case _:  # which no report of the agent replaces
                    state = probed.get(check)
            yield name, state or _UNKNOWN
        yield from ((name, state) for name, state in reported.items() if name not in names)
        if own and own.lease:
            yield CheckName("lease"), own.lease

    def pop_changed(self) -> Iterable[Enrolment]:
        """The servers, each in one group, whose status has changed since the last call, or ``has_failed``; also
        those that were removed.  The status "unknown" counts as "passing"."""
        changed, self._changed = self._changed, {}
        return changed

    def pop_unnoted(self) -> Collection[Enrolment]:
        """The servers, each in one group, of which a successor has to know something else since the last call."""
        unnoted, self._unnoted = self._unnoted, {}
        return unnoted.keys()

    def note_again(self) -> None:
        """``pop_unnoted`` gives all servers whose checks do not pass: what was noted of them may be lost."""
        bad = (HealthStatus.WARNING, HealthStatus.CRITICAL)
        self._unnoted.update(dict.fromkeys(each for each, (status, _) in self._known.items() if status in bad))

    def recall(
        self, group: str, server: Address, states: Mapping[CheckName, tuple[HealthStatus, str]], now: float
    ) -> None:
        """These checks did not pass when another controller last looked.  Ignored where it is not enrolled."""
        settings = self._groups.get(group)
        if settings is None or server not in settings.servers:
            return
        wanted = {name_of(check): check for check in settings.checks}
        probed = self._probed.setdefault(server, {})
        for name, (status, output) in states.items():
            state = CheckState(status, now, output)
            match wanted.get(name):
                case IcmpCheck() | TcpCheck() | UdpCheck() as check:
                    if check in probed:
                        probed[check] = state
                    else:
                        self._recalled[server, name] = state
                case PassiveCheck():
                    self._own.setdefault((group, server), _Own()).passive = state
                    self._probations.plan((group, server), now + PROBATION_S)
                case None if name.type in _SAY_NOTHING_OF_FLOWS:
                    pass  # ARP and ND are asked anew; of leases others know
                case _:
                    self._agents.recall(settings, server, name, state, now)
        if not probed:
            del self._probed[server]
        self._to_examine[group, server] = None

    # ---------------------------------------------------------------- what is enrolled

    def groups_changed(self, before: Groups, groups: Groups) -> None:
        """The groups are others than ``before``."""
        self._groups = groups
        for name in {**dict.fromkeys(before.names()), **dict.fromkeys(groups.names())}:
            old, new = before.get(name), groups.get(name)
            if old is not new:
                self._group_changed(name, old, new)

    def _group_changed(self, name: str, old: AnycastGroup | None, new: AnycastGroup | None) -> None:
        was, is_now = old.servers if old else {}, new.servers if new else {}
        others = (old.checks if old else ()) != (new.checks if new else ())
        self._replies.group_changed(name, self._groups)
        self._passive.group_changed(name, self._groups)
        for server in (server for server in was if server not in is_now):
            self._own.pop((name, server), None)
            self._agents.forget(name, server)
            self._unnoted[name, server] = None
            if self._known.pop((name, server), None):
                self._changed[name, server] = None
            if not self._groups.of_server(server):
                self._there.pop(server, None)
        if gone := _reported_checks(old) - _reported_checks(new):
            for server in is_now:
                self._agents.forget_checks(name, server, gone)
        for server, settings in is_now.items() if others or was is not is_now else ():
            if others or was.get(server) is not settings:
                self._to_examine[name, server] = None
        self._to_begin |= {
            (name, server): None for server in {**was, **is_now} if others or (server in was) is not (server in is_now)
        }

    def enrolled(self, server: Address, edge: ManagedSwitch, now: float) -> None:
        """It is, perhaps since now, and ``edge`` has its subnet."""
        if server not in self._there and edge.neighbours.get(server):
            self._there[server] = CheckState(HealthStatus.PASSING, now, _ALIVE.output)
            self._to_examine |= dict.fromkeys((name, server) for name in self._groups.of_server(server))

    def _begin(self, group: str, server: Address, now: float) -> None:
        """Begin the checks that the controller is to make of a server for this group, and end the others."""
        settings = self._groups.get(group)
        checks = settings.checks if settings and server in settings.servers else ()
        wanted = tuple(check for check in checks if isinstance(check, IcmpCheck | TcpCheck | UdpCheck))
        made = self._made.pop((group, server), ())
        if wanted:
            self._made[group, server] = wanted
        for check in dict.fromkeys(wanted):
            if check not in made:
                self._use(group, server, check, now)
        for check in dict.fromkeys(made):
            if check not in wanted:
                self._use_no_more(group, server, check)

    def _use(self, group: str, server: Address, check: ProbedCheck, now: float) -> None:
        users = self._users.setdefault((server, check), set())
        users.add(group)
        subnet = self._network.subnet_of(server)
        if len(users) > 1 or subnet is None:
            return
        states = self._probed.setdefault(server, {})
        states[check] = self._recalled.pop((server, name_of(check)), _UNKNOWN)
        if states[check] is not _UNKNOWN:
            self._to_examine[group, server] = None
        edge = self._switches[subnet.edge]
        if len(states) == 1:
            edge.set_checked(server, True)
        gateway = next(each.address for each in subnet.gateways if server in each.prefix)
        self._probing.add(server, check, gateway, edge, now)

    def _use_no_more(self, group: str, server: Address, check: ProbedCheck) -> None:
        users = self._users[server, check]
        users.remove(group)
        if users:
            return
        del self._users[server, check]
        subnet, states = self._network.subnet_of(server), self._probed.get(server, {})
        if subnet is None or states.pop(check, None) is None:
            return
        self._probing.remove(server, check)
        if not states:
            del self._probed[server]
            self._switches[subnet.edge].set_checked(server, False)

    # ---------------------------------------------------------------- results

    def noticed(self, server: Address, is_there: bool, now: float) -> None:
        """A server has been found to answer ARP or ND, or not to."""
        names = self._groups.of_server(server)
        if names:
            before = self._there.get(server, _UNKNOWN)
            self._there[server] = counted(before, _ALIVE if is_there else _SILENT, _AT_ONCE, now)
            self._to_examine |= dict.fromkeys((name, server) for name in names)

    def step(self, now: float) -> Outcome:
        """Make the checks that are due, and end those without an answer.  To be called about 20 times a second."""
        out = Outcome()
        messages, results = self._probing.step(now)
        for dpid, message in messages:
            out.send(dpid, [message])
        self._count(results, now)
        self._count_passive(now)
        self._to_examine |= dict.fromkeys(self._agents.expire(now))
        return out

    def answered(self, edge: ManagedSwitch, port: int, frame: bytes, now: float) -> Outcome | None:
        """A packet to a gateway address of this edge; None: it has nothing to do with checks.

        What follows from the result is left to ``work``: many answers may come at once.
        """
        try:
            answer = self._probing.answered(edge, port, frame, now) if edge.synchronised else None
        except BadFrame:
            return None  # it is counted where other packets to gateways are handled
        if answer is None:
            return None
        reaction, results = answer
        self._count(results, now)
        return Outcome.at(edge.dpid, reaction)

    def _count(self, results: Iterable[Result], now: float) -> None:
        for server, check, result in results:
            states = self._probed[server]
            before = states[check]
            after = states[check] = counted(before, result, check, now)
            self._probing.repeat(server, check, next_after_s(after, check))
            if after.status is not before.status:
                self._to_examine |= dict.fromkeys((name, server) for name in self._users[server, check])

    def _count_passive(self, now: float) -> None:
        told = list(self._replies.step(self._groups, now))  # all of it, whether there are passive checks or not
        for group, server, check, result in self._passive.step(told, self._groups, now):
            own = self._own.setdefault((group, server), _Own())
            own.passive = counted(own.passive or _UNKNOWN, result, check, now)
            self._to_examine[group, server] = None
            if own.passive.status is HealthStatus.CRITICAL:
                self._probations.plan((group, server), own.passive.since + PROBATION_S)
        while enrolment := self._probations.pop(now):
            own = self._own.get(enrolment, _Own())
            passive = own.passive
            if passive and passive.status is HealthStatus.CRITICAL and now >= passive.since + PROBATION_S:
                own.passive = CheckState(HealthStatus.UNKNOWN, now, f"is tried again, after: {passive.output}")
                self._to_examine[enrolment] = None

    def edge_is_back(self, edge: ManagedSwitch, now: float) -> None:
        """What it holds has been read; servers that were found there are taken to be there until they are silent."""
        for server in edge.serving.enrolled:
            if server not in self._there and edge.neighbours.get(server):
                self.noticed(server, True, now)

    def edge_is_away(self, edge: ManagedSwitch, now: float) -> None:
        """It has lost its connection: what is known of its servers is held."""
        self._probing.edge_is_away(edge, now)

    def report(self, group: str, server: Address, results: Iterable[Reported], now: float) -> None:
        """Results of checks that the server's agent has made; none: it begins anew, and what it has reported before is
        forgotten.  Ignored where it is not enrolled."""
        settings = self._groups.get(group)
        if settings and server in settings.servers:
            self._agents.report(settings, server, list(results), now)
            self._to_examine[group, server] = None

    def set_lease(self, group: str, server: Address, held: bool | None, now: float, output: str = "") -> None:
        """The server's lease is held, or has expired; None: it has none."""
        settings = self._groups.get(group)
        if settings is None or server not in settings.servers:
            return
        own = self._own.setdefault((group, server), _Own())
        result = CheckResult(bool(held), output or ("is held" if held else "has expired"))
        own.lease = None if held is None else counted(own.lease or _UNKNOWN, result, _AT_ONCE, now)
        self._to_examine[group, server] = None

    # ---------------------------------------------------------------- work in slices

    def is_busy(self) -> bool:
        """Is there something left, for which ``work`` is to be called?"""
        return bool(self._to_examine or self._to_begin)

    def work(self, most: int, now: float) -> list[Event]:
        """Examine ``most`` servers, and begin the checks of some → those whose status has changed."""
        for _ in range(min(most // COST_OF_BEGINNING, len(self._to_begin))):
            enrolment = next(iter(self._to_begin))
            del self._to_begin[enrolment]
            self._begin(*enrolment, now)
        changes: dict[tuple[Address, HealthStatus, HealthStatus, str], list[str]] = {}
        for _ in range(min(most, len(self._to_examine))):
            enrolment = group, server = next(iter(self._to_examine))
            del self._to_examine[enrolment]
            settings = self._groups.get(group)
            if settings is None or server not in settings.servers:
                continue
            health = self.of(group, server)
            before, had_failed = self._known.get(enrolment, (HealthStatus.UNKNOWN, False))
            failed = self.has_failed(group, server)
            self._known[enrolment] = health.status, failed
            if (_COUNTS_AS.get(health.status), failed) != (_COUNTS_AS.get(before), had_failed):
                self._changed[enrolment] = None
            if health.status is not before:
                self._unnoted[enrolment] = None
                changes.setdefault((server, before, health.status, health.reason), []).append(group)
        return [
            ServerHealthChanged(self._edge_of(server), server, tuple(groups), before, after, reason)
            for (server, before, after, reason), groups in changes.items()
        ]

    def _edge_of(self, server: Address) -> str:
        subnet = self._network.subnet_of(server)
        return subnet.edge if subnet else ""


def _reported_checks(group: AnycastGroup | None) -> set[CheckName]:
    """Those that agents make because the group asks for them."""
    return {name_of(check) for check in (group.checks if group else ()) if isinstance(check, HttpCheck)}
