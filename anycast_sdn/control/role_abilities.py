"""RoleAbilities: which of its roles a switch can carry out, in which families, as far as is known of it.

What it lacks is found by trials when it connects.  It may also accept what is tried, and refuse the rules of flows: a
switch that has refused ``IN_A_ROW`` flows of a family, one after the other, is taken to refuse them all, so that they
use up no addresses.  A full table says nothing about the next flow, and a refused ping or flow of SCTP nothing about
flows of TCP and UDP, which roles are about.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP
from anycast_sdn.core.switch_events import SwitchDegraded
from anycast_sdn.description.model import Switch
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow.abilities import Ability, Lack, of_family
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.judgement import Judgement, Role, judge, roles
from anycast_sdn.openflow.row import Table

IN_A_ROW = 3
# What is lacking for flows of one protocol alone: the abilities whose ``without`` says that these are refused.
_PROTOCOLS = {
    Ability.MATCH_SCTP: SCTP,
    Ability.MATCH_ICMP_IPV4: ICMP,
    Ability.MATCH_ICMP_IPV6: ICMPV6,
    Ability.CHECKSUM_ICMPV6: ICMPV6,
}
_OF_CLIENTS = (None, Table.CLIENT_OUT, Table.CLIENT_IN)


class RoleAbilities:
    """``families``: those that the network has, 4 and 6; ``features``: what is known of the switch now."""

    def __init__(self, switch: Switch, families: frozenset[int], features: Callable[[], Features]) -> None:
        self._name, self._roles = switch.name, roles(switch)
        self._families = families
        self._features = features
        self._known: Features | None = None  # that the following are about
        self._judgements: tuple[Judgement, ...] = ()
        self._able: dict[Role, frozenset[int]] = {}
        self._lost_protocols: frozenset[int] = frozenset()
        self._look()
        self._popped = self._able

    @property
    def judgements(self) -> Sequence[Judgement]:
        """Of each role that the network file gives it; all can be carried out while nothing else is known."""
        self._look()
        return self._judgements

    def can(self, role: Role, v6: bool) -> bool:
        """Can it carry out this role, if it has it?"""
        self._look()
        return (6 if v6 else 4) in self._able[role]

    def can_bind(self, v6: bool, protocol: int) -> bool:
        """Can it hold the rules of a client's flow?"""
        return self.can(Role.CLIENT_EDGE, v6) and protocol not in self._lost_protocols

    def pop_changed(self) -> bool:
        """Can it carry out more or less since the last call?"""
        self._look()
        changed, self._popped = self._able != self._popped, self._able
        return changed

    def degradations(self, before: Sequence[Judgement]) -> list[Event]:
        """What is told of the roles that it cannot carry out; ``before``: what has been told."""
        unable = (judgement for judgement in self.judgements if not judgement.is_able and judgement not in before)
        return [SwitchDegraded(self._name, each.role.value, each.sentence) for each in unable]

    def _look(self) -> None:
        """For each new flow it is asked for its abilities: they are judged when they have changed."""
        features = self._features()
        if features is not self._known:
            self._known = features
            self._judgements = tuple(judge(role, features, self._families) for role in self._roles)
            self._able = {role: judge(role, features).able for role in Role}
            lacks = (lack.ability for lack in features.lacking if lack.logical in _OF_CLIENTS)
            self._lost_protocols = frozenset(_PROTOCOLS[ability] for ability in lacks if ability in _PROTOCOLS)


class Refusals:
    """What the switch has refused of what it has to hold, since it connected, and what is found by that."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last = {False: 0, True: 0}  # the number of the last flow, by family
        self._in_a_row = {False: 0, True: 0}  # flows, one after the other
        self._groups: set[int] = set()  # numbers of those that had equal buckets
        self._has_equal_buckets = True

    def connected(self, features: Features) -> None:
        """Perhaps it does not refuse them any more."""
        self._in_a_row = {False: 0, True: 0}
        self._groups.clear()
        self._has_equal_buckets = features.equal_buckets

    def group(self, number: int, v6: bool) -> Lack | None:
        """Of a select group.  It may have been sent with equal buckets, for the last time."""
        if self._has_equal_buckets and number not in self._groups:
            self._groups.add(number)
            return None
        return Lack(of_family("group_deliver", v6), None, "it has refused the group of a service")

    def flow(self, flow: Binding, why: str) -> Lack | None:
        """Before the flow ends.  → what is found by that."""
        if flow.key.protocol not in (TCP, UDP):
            return None
        v6 = len(flow.translated) == 16
        served = any(self._is_served(number, v6) for number in self._between(self._last[v6], flow.number))
        self._in_a_row[v6] = 1 if served else self._in_a_row[v6] + (flow.number != self._last[v6])
        self._last[v6] = flow.number
        return Lack(of_family("flows", v6), None, why) if self._in_a_row[v6] >= IN_A_ROW else None

    def _between(self, last: int, number: int) -> range:
        """A few of the numbers that were given since: they grow, and in a row there are hardly any others."""
        return range(max(last + 1, number - 64), number)

    def _is_served(self, number: int, v6: bool) -> bool:
        flow = self._engine.flows.by_number(number)
        return flow is not None and (len(flow.translated) == 16) is v6 and flow.key.protocol in (TCP, UDP)
