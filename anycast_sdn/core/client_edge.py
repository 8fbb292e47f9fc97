"""ClientEdge: ARh, the document's client edge, as a state machine that returns and never sends.

A flow has no binding, is UNANSWERED, or is PINNED.  Everything that happens to it is an event of
``transitions.TRANSITIONS``, which has the next state and the action for each state; ``ClientEdge.apply`` carries them
out, and nothing else changes a binding.  The caller reports an event and its time, and gets a ``Decision``: the binding
as it is now, which of its two rules to install, and whether the packet is forwarded.

Rules kept here:
- A known flow keeps PR1X and its server, whatever happens to groups and routes (M14, M20).
- Only an enrolled server of the flow's group may pin it, and only the first to answer does (M17).
- A binding ends when both of its rules have been idle.  While one of them is used, the other one is installed again
  from the binding as soon as a packet needs it (M19).  A rule that the switch holds is not installed again.
- When a TCP connection has closed in both directions, its rules get ``tcp_closed_s`` as their timeout at once, so
  that it also ends while the controller is away.  When it has closed in one direction, its rules get
  ``tcp_closing_s``, but a little later, because usually the other side closes soon, too.  A connection that was
  reset ends after ``RESET_S`` (``core.planned_ends``).
- Each pair of a client and a service address has addresses of its own.  A new flow of it gets another address, or
  shares one that the pair has (``core.addresses``); then only protocol and ports tell its flows apart.
- In a group with ``Affinity.CLIENT`` one binding stands for all that a client sends to a service address (M31).  The
  two kinds never overlap: while a pair has bindings of single flows its further flows are bound so, too, and a client
  that is bound as a whole stays that, whatever its group is changed to.
- An ended flow is remembered while its pair has the address, or that rests.  A later packet of it, other than a TCP
  SYN, restores its binding as it was (M20).  A SYN opens a new connection instead; when the binding of the old
  connection has not ended yet, it keeps that binding, whose rules get their full timeouts again.
- A report about a rule that has been replaced since changes nothing.

Not here: packets' bytes, OpenFlow, which server is nearest, and the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from anycast_sdn.core.addresses import Addresses
from anycast_sdn.core.binding_numbers import BindingNumbers
from anycast_sdn.core.bindings import NOT_KNOWN, Binding, BindingTable, Half, Loss, State
from anycast_sdn.core.ended_flows import EndedFlows
from anycast_sdn.core.events import Drop
from anycast_sdn.core.first_replies import FirstReplies
from anycast_sdn.core.flow_events import EndedBy, FlowRecord, ended_by
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.holders import flow_of_reply
from anycast_sdn.core.kept_flows import FlowChanges
from anycast_sdn.core.model import AS_THE_EDGE, TCP, Address, FlowKey, GroupValidity, Prefix, interned, interned_key
from anycast_sdn.core.planned_ends import PlannedEnds, event_of
from anycast_sdn.core.pool import RandomSource, Rest
from anycast_sdn.core.roles import MOST_PER_CLIENT, ClientEdgeRole, Expiry, Validity, in_force
from anycast_sdn.core.sweep import Sweep
from anycast_sdn.core.switch_ranges import SwitchRanges
from anycast_sdn.core.transitions import NO_DETAILS, TRANSITIONS, Details, Do, FlowEvent, rules_to_put, successor

COUNTERS_LATE_S = 1.0  # a packet may appear in the switch's counters this much later
LET_GO = 500  # see ``BindingTable.let_go``: a few milliseconds
_MISSED_AGAIN_S = 1.0  # a rule that the switch has lost is installed again at most once in this time


class Decision(NamedTuple):
    do: Do
    binding: Binding | None = None  # as it is now; for RELEASE, as it was
    put: Half = Half.NONE  # the rules to install, before the packet is forwarded
    drop: Drop | None = None


class ClientEdge:
    """One ARh.  ``random`` orders the pool; see ``TranslationPool``."""

    def __init__(
        self,
        role: ClientEdgeRole,
        random: RandomSource,
        *,
        ports: int = 2,
        is_announced: Callable[[Prefix], bool] = lambda service: True,
        is_lost: Callable[[Address, str], bool] = lambda server, group: False,
        choice_of: Callable[[str, bool], int] = lambda group, is_v6: 0,
        can_serve: Callable[[bool, int], bool] = lambda is_v6, protocol: True,
        term: Callable[[], int] = int,
    ) -> None:
        """``ports``: how many lead to clients.  If there is only one, its clients may use the whole pool.
        ``is_announced``: is there an edge that is able to serve this ANY/n?  ``is_lost``: is this server lost,
        or has it failed for this group?  ``choice_of``: the number of the decision by which a new flow of a
        group gets its server now, in a family.  ``can_serve``: may flows of a family and a protocol begin
        at this switch?  ``term``: see ``BindingNumbers``.
        """
        self.role = role
        self._random = random
        self._client_ports = ports
        self._is_announced = is_announced
        self._choice_of = choice_of
        self._is_lost = is_lost
        self._can_serve, self._term = can_serve, term
        self.bindings = BindingTable(role.switch_ranges)
        self.ranges = SwitchRanges(role.switch_ranges)
        self.changes = FlowChanges()  # of bindings, for whoever keeps them
        self.record = FlowRecord()  # of what becomes of flows, for those who watch it
        self.first_replies = FirstReplies()  # what becomes of first packets; engines report it
        self.opened = 0  # bindings that began with a packet, since the controller's start
        self.closed: dict[EndedBy, int] = {}  # how many have ended, and why
        self._sweeps_all = False  # the switch ends no flow by timeouts
        self._know_no_flows()

    def _know_no_flows(self) -> None:
        self.addresses = Addresses(self.role, self.bindings.holders, self._random, self._client_ports)
        self.sweep = Sweep()
        self._ended = EndedFlows(self.role.quarantine_s)
        self._numbers = BindingNumbers(self._term)
        self._ends = PlannedEnds()
        self._missed: set[int] = set()  # bindings whose rules were installed again since ``_missed_since``
        self._missed_since = 0.0

    def sweep_all(self, all_of_them: bool) -> None:
        """The switch ends no flow by timeouts, or it does: this holds for the flows that it has, too."""
        self._sweeps_all = all_of_them
        for binding in [each for each in self.bindings if not each.swept] if all_of_them else ():
            self.bindings.put(self._as_swept(binding))

    def _as_swept(self, binding: Binding) -> Binding:
        return binding._replace(swept=True) if self._sweeps_all and not binding.swept else binding

    def forget(self) -> None:
        """Another controller has decided on the flows since: they have to be found on the switch, as at the start."""
        self.bindings.clear()
        self._know_no_flows()

    @property
    def shortest_validity_s(self) -> int:
        """The shortest one of a binding that the sweep may end."""
        validities = (AS_THE_EDGE, *self.bindings.validities())
        return min(self._validity(group).shortest_s for group in validities)

    def _validity(self, group: GroupValidity) -> Validity:
        return self.role.validity if group == AS_THE_EDGE else in_force(self.role.validity, group)

    def validity_s(self, binding: Binding) -> int:
        """How long the binding may be idle, in seconds."""
        validity = self._validity(binding.validity)
        if binding.server is None:
            return validity.unanswered_s
        if binding.closed is Half.BOTH:
            return validity.tcp_closed_s
        return validity.tcp_closing_s if binding.closing else validity.pinned_s(binding.key.protocol)

    # ---------------------------------------------------------------- the machine

    def apply(
        self, binding: Binding, event: FlowEvent, now: float, details: Details = NO_DETAILS
    ) -> Decision:
        """Carry out the table's row for an event; an event without a row changes nothing, and is a KEEP.

        ``binding``: a known one, found by its number, or a new one for a flow that has none.  Raises ValueError and
        changes nothing when PR1X is not in the pool, or is another pair's.
        """
        before = self.bindings.by_number(binding.number)
        row = TRANSITIONS[before.state if before else State.NONE].get(event)
        if row is None:
            return Decision(Do.KEEP, before)
        state, do = row
        if do is Do.DROP:
            return Decision(do, before, drop=Drop.STRANGER)
        if do is Do.RESET:
            return Decision(do, binding, drop=Drop.SERVER_LOST)
        if before is None:
            binding = self._as_swept(binding)  # it may be found with timeouts
            self._begin(binding, do, now)
            self.changes.note(None, binding)
            if self.record.is_watched:
                self.record.note(do, event, None, binding, now)
            return Decision(do, binding, rules_to_put(binding, do, state))
        if state is State.NONE:
            self._end(before, do, details.unused, now)
            self.changes.note(before, None)
            if self.record.is_watched:
                self.record.note(do, event, before, before, now)
            why = ended_by(event, before)
            self.closed[why] = self.closed.get(why, 0) + 1
            return Decision(do, before)
        put = rules_to_put(before, do, state)
        after = self._as_swept(successor(before, event, do, state, put, details))
        if do is Do.FREE:
            after = after._replace(choice=self._choice_of(after.group, len(after.translated) == 16))
        if not put and after == before:
            return Decision(do, before)
        self.bindings.put(after)
        self.changes.note(before, after)
        if self.record.is_watched:
            self.record.note(do, event, before, after, now)
        if before.swept and not after.swept:
            self.sweep.forget(after.number)
        if do is Do.FREE:
            self._freed(before, now)
        if after.closed is not before.closed or after.reset is not before.reset:
            self._plan_end(after, now)
        return Decision(do, after, put)

    def _begin(self, binding: Binding, do: Do, now: float) -> None:
        self.opened += do is not Do.ADOPT
        if do is not Do.LEASE:  # of a new flow, it is leased already
            if binding.translated not in self.bindings.shared:
                self.addresses.claim(binding.translated, binding.pair)
            if binding.closing:
                self._plan_end(binding, now)
        self._ended.forget(binding.key)
        if do is Do.ADOPT:
            self._numbers.found(binding.number)
        self.bindings.put(binding)

    def _freed(self, binding: Binding, now: float) -> None:
        """It has lost its server.  Its rule is new, but packets have carried its address before."""
        self.sweep.forget(binding.number)
        if binding.server:
            self.bindings.note_loss(binding.number, Loss(now, binding.server))
        if holder := self.bindings.holders.of(binding.translated):
            holder.carried = True

    def _end(self, binding: Binding, do: Do, unused: bool, now: float) -> None:
        """An address without bindings rests (M19), unless no packet can have carried it: then it is free at once.

        One that the switch has chosen is its own again.
        """
        holder = self.bindings.holders.of(binding.translated)
        self.bindings.remove(binding)
        self.sweep.forget(binding.number)
        self._ends.forget(binding.number)
        if holder is None:
            return
        rest = Rest.ENDED if binding.reset or binding.closed is Half.BOTH else Rest.QUARANTINE
        if do is Do.CANCEL or (unused and binding.server is None):
            rest = Rest.NONE
        if binding.server and (do is Do.RELEASE or do is Do.LOSE):
            self._ended.add(binding if do is Do.RELEASE else binding._replace(server=None), now)
        if self.bindings.holders.of(binding.translated):
            holder.carried |= rest is not Rest.NONE
        else:
            rest = Rest.QUARANTINE if rest is Rest.NONE and holder.carried else rest
            self.addresses.release(binding.translated, holder.pair, now, rest)

    # ---------------------------------------------------------------- packets

    def client_packet(
        self, key: FlowKey, groups: Groups, now: float, *, port: int = 0, syn: bool = False, leases: bool = True
    ) -> Decision:
        """A client's packet to a service address, for which the switch has no rule (M13, M14).

        ``port``: by which it came in; ``syn``: it opens a TCP connection; ``leases``: may a new flow have an address
        of the pool, also if it is bound by itself?
        """
        event = FlowEvent.SYN if syn else FlowEvent.CLIENT_PACKET
        binding = self.bindings.by_key(key)
        if binding is not None:
            return self.apply(binding, event, now)
        former = None if syn else self._former(key, now)
        if former is None and not syn and self.bindings.knew_whole:
            former = self._former(key.whole, now)
        if former is None:
            return self._lease(key, event, groups, now, port, leases)
        if not self._has_lost_server(former, groups):
            return self._revive(former, now, port)
        if key.protocol == TCP:
            return self.apply(former, FlowEvent.RETURN_LOST, now)
        return self._lease(key, event, groups, now, port, leases)

    def chosen_by_switch(
        self, key: FlowKey, at: tuple[Address, int], server: Address | None, groups: Groups, now: float, port: int
    ) -> list[Decision]:
        """The switch has begun a flow by itself (M13) → the ends of flows that it replaces, and its own beginning.

        ``at``: PR1X and the source port beside it; ``server``: that has answered already; ``port``: the client's.
        What has the same five fields, or the same PR1X and ports, has ended.  Nothing happens when the flow is known,
        the address is not one that the switch may choose, or no group has the service address.
        """
        shared, group, (translated, there) = self.bindings.shared, groups.covering(key.destination), at
        known = found if (found := self.bindings.by_key(key)) and found.key == key else None
        if group is None or translated not in shared or (known and (known.translated, known.port_there) == at):
            return []
        reply = FlowKey(key.destination, translated, key.protocol, key.destination_port, there)
        former = self.bindings.by_number(shared.of_reply(reply) or 0)
        decisions = [self.apply(each, FlowEvent.ALL_IDLE, now) for each in (known, former) if each]
        number, choice = self._numbers.next(), self._choice_of(group.name, len(translated) == 16)
        new = Binding(
            number, interned_key(key), translated, group.name, now, validity=group.validity, choice=choice,
            reply_s=NOT_KNOWN if server else None, port=port,
            translated_port=0 if there == key.source_port else there,
        )  # fmt: skip
        begun = self.apply(new, FlowEvent.CLIENT_PACKET, now)
        pinned = server and self.apply(new, FlowEvent.MEMBER_REPLY, now, Details(interned(server)))
        return [*decisions, pinned or begun]

    def reply(self, key: FlowKey, groups: Groups, now: float = 0.0) -> Decision:
        """A packet to an address of PRh/k for which no rule was found (M16–M18).

        ``key``: as seen on the wire, from the server to PR1X.
        """
        binding = self.bindings.by_reply(key)
        if binding is not None:
            details = Details(interned(key.source), at=now)
            return self.apply(binding, self._kind_of_reply(binding, key, groups), now, details)
        former = self._former_of_reply(key, now)
        if former and former.server is None and key.protocol == TCP:
            return self.apply(former, FlowEvent.RETURN_LOST, now)
        pinned = former and self._kind_of_reply(former, key, groups) is FlowEvent.PINNED_REPLY
        if former and pinned and not self._has_lost_server(former, groups):
            return self._revive(former, now)
        holder = self.bindings.holders.of(key.destination)
        other = holder and self.bindings.by_number(holder.binding)  # a flow that has this address, too
        return self.apply(other, FlowEvent.STRANGER_REPLY, now) if other else _NO_BINDING

    def binds_whole(self, key: FlowKey, groups: Groups) -> bool:
        """Is a client's packet with this key bound together with all else that it sends there, or would it be?"""
        if binding := self.bindings.by_key(key):
            return binding.key.is_whole
        group = groups.covering(key.destination)
        return group is not None and group.binds_clients and not self.bindings.overlaps(key.whole)

    def is_reply_to_whole(self, key: FlowKey, now: float) -> bool:
        """As ``binds_whole``, for a packet to an address of PRh/k, as seen on the wire."""
        binding = self.bindings.by_reply(key) or self._former_of_reply(key, now)
        return binding is not None and binding.key.is_whole

    def missed(self, key: FlowKey, now: float) -> Decision:
        """A packet that the controller sent through the switch's tables has come back: its rule is missing there.

        ``key``: a client's five fields, or a reply's as seen on the wire.
        """
        binding = self.bindings.by_key(key) or self.bindings.by_reply(key)
        if now - self._missed_since >= _MISSED_AGAIN_S:
            self._missed.clear()
            self._missed_since = now
        if binding is None or binding.number in self._missed:
            return Decision(Do.DROP, binding, drop=Drop.LOOPED)
        self._missed.add(binding.number)
        return self.apply(binding, FlowEvent.MISSED, now)

    def _kind_of_reply(self, binding: Binding, key: FlowKey, groups: Groups) -> FlowEvent:
        if binding.server is not None:
            return FlowEvent.PINNED_REPLY if key.source == binding.server else FlowEvent.STRANGER_REPLY
        group = groups.get(binding.group)
        member = group is not None and key.source in group.servers
        lost = member and self._is_lost(key.source, binding.group) and groups.repins(binding.group)
        return FlowEvent.MEMBER_REPLY if member and not lost else FlowEvent.STRANGER_REPLY

    def _lease(self, key: FlowKey, event: FlowEvent, groups: Groups, now: float, port: int, leases: bool) -> Decision:
        service = groups.service(key.destination)
        group = groups.owner(service) if service is not None else None
        if service is None or group is None or not groups.is_active(group):
            return Decision(Do.DROP, drop=Drop.NO_SERVICE)
        if group.binds_clients and not self.bindings.overlaps(key.whole):
            key = key.whole
        elif not leases:
            self.ranges.refused(len(key.source) == 16)
            return Decision(Do.DROP, drop=Drop.POOL_EMPTY)
        translated = self._refusal(key, service, port) or self.addresses.lease((key.source, key.destination), port, now)
        if isinstance(translated, Drop):
            return Decision(Do.DROP, drop=translated)
        key = interned_key(key)
        number, swept = self._numbers.next(), self._is_next_swept()
        choice = self._choice_of(group.name, len(translated) == 16)
        new = Binding(
            number, key, translated, group.name, now, None, Half.OUT, Half.NONE, swept, False, group.validity, choice,
            None, port,
        )  # fmt: skip
        return self.apply(new, event, now)

    def _refusal(self, key: FlowKey, service: Prefix, port: int) -> Drop | None:
        """Why this flow to an ANY/n of an active group gets no binding; None when it gets one."""
        if not self._can_serve(len(key.source) == 16, key.protocol):
            return Drop.SWITCH_UNABLE
        if not self._is_announced(service):
            return Drop.NO_ABLE_EDGE
        if self.bindings.of_client(key.source) >= (self.role.bindings_per_client or MOST_PER_CLIENT):
            return Drop.CLIENT_FULL
        most_at_port = self.role.bindings_per_port
        if most_at_port and port and self.bindings.of_port(port, len(key.source) == 16) >= most_at_port:
            return Drop.PORT_FULL
        return None

    def _former_of_reply(self, key: FlowKey, now: float) -> Binding | None:
        """The ended flow of a packet to PR1X, as ``_former``."""
        if (pair := self.addresses.pair_of(key.destination, now)) is None:
            return None
        flow = flow_of_reply(pair, key)
        former = self._former(flow, now) or self._former(flow.whole, now)
        return former if former and former.translated == key.destination else None

    def _former(self, key: FlowKey, now: float) -> Binding | None:
        """The ended flow of this key, if nothing of it is bound now, and no other pair has had its address since.

        None also if the switch would refuse it again.
        """
        former = self._ended.get(key, now)
        if former is None or self.bindings.overlaps(key) or not self._can_serve(len(key.source) == 16, key.protocol):
            return None
        return former if self.addresses.pair_of(former.translated, now) == former.pair else None

    def _revive(self, former: Binding, now: float, port: int = 0) -> Decision:
        """Restore the binding of an ended flow: the same PR1X and server.

        It gets another number, because reports about its former rules may still be on their way.
        """
        number, swept = self._numbers.next(), self._is_next_swept()
        again = former._replace(number=number, installed=Half.BOTH, reset=False, swept=swept, port=port or former.port)
        return self.apply(again, FlowEvent.RETURN, now)

    def _is_next_swept(self) -> bool:
        """Is the next binding to be ended by the sweep, and not by timeouts?"""
        if self._sweeps_all:
            return True
        if self.role.expiry is Expiry.AUTO:
            return len(self.bindings) - self.bindings.swept >= self.role.idle_timeouts
        return self.role.expiry is Expiry.SWEEP

    # ---------------------------------------------------------------- servers that are lost

    def lose(self, numbers: Iterable[int], server: Address, groups: Groups, now: float) -> list[Decision]:
        """The server is lost (M32): it serves those of these flows no more whose groups do not keep them there."""
        bindings = filter(None, map(self.bindings.by_number, numbers))
        return [
            self.apply(
                binding,
                FlowEvent.CONNECTION_LOST if binding.key.protocol == TCP else FlowEvent.SERVER_LOST,
                now,
            )
            for binding in bindings
            if binding.server == server and groups.repins(binding.group)
        ]

    def close(self, numbers: Iterable[int], now: float) -> list[Decision]:
        """An operator takes these flows away from their servers.  TCP connections are reset when either end sends."""
        bindings = filter(None, map(self.bindings.by_number, numbers))
        return [self.apply(each, FlowEvent.CONNECTION_LOST if each.is_connection else FlowEvent.ENDED, now)
                for each in bindings]  # fmt: skip

    def _has_lost_server(self, former: Binding, groups: Groups) -> bool:
        """Was the server of this ended flow lost before its end, or is it now?"""
        server = former.server
        return server is None or (self._is_lost(server, former.group) and groups.repins(former.group))

    # ---------------------------------------------------------------- TCP connections that end

    def tcp_end(self, number: int, half: Half, reset: bool, now: float) -> Decision:
        """The switch has seen a FIN, or a RST, of a binding in this direction."""
        binding = self.bindings.by_number(number)
        if binding is None or binding.key.protocol != TCP or (binding.reset if reset else half in binding.closed):
            return Decision(Do.KEEP, binding)
        if reset:
            return self.apply(binding, FlowEvent.RESET, now)
        event = FlowEvent.CLOSED if binding.closed | half is Half.BOTH else FlowEvent.FIN
        return self.apply(binding, event, now, Details(closed=half))

    def end_due(self, now: float, most: int) -> list[Decision]:
        """Carry out the ends of TCP connections, and of rests, that are due now; up to ``most`` of each."""
        self.addresses.end_rests(now, most)
        self._ended.forget_old(now, most)
        self.bindings.let_go(LET_GO)
        decisions: list[Decision] = []
        while len(decisions) < most and (number := self._ends.pop(now)):
            binding = self.bindings.by_number(number)
            if binding is None or (binding.swept and not binding.reset):
                continue  # it has ended for another reason, or its rules have no timeouts
            decision = self.apply(binding, event_of(binding), now)
            if decision.do is not Do.KEEP:
                decisions.append(decision)
        return decisions

    def _plan_end(self, binding: Binding, now: float) -> None:
        """After a FIN, a RST or a new SYN: plan when ``end_due`` is to act on the binding."""
        self._ends.plan(binding, self._validity(binding.validity).tcp_closed_s, now)

    # ---------------------------------------------------------------- rules

    def rule_removed(self, number: int, half: Half, state: State, unused: bool, now: float) -> Decision:
        """The switch has removed one rule of a binding, because it was idle.

        ``state``: the binding's state for which the rule was made.  A report about the rule of an unanswered flow, or a
        closed connection, may cross the messages that install the rules of the pinned flow, or a new connection.
        ``unused``: no packet has ever met the rule.
        """
        binding = self.bindings.by_number(number)
        if binding is None or binding.state is not state or self._ends.has_just_begun_anew(number, now):
            return Decision(Do.KEEP, binding)
        left = binding.installed & ~half
        event = FlowEvent.HALF_IDLE if left else FlowEvent.ALL_IDLE
        return self.apply(binding, event, now, Details(installed=left, unused=unused))

    def end_idle(self, numbers: Iterable[int], now: float) -> list[Decision]:
        """After a sweep: end those of these bindings that have been idle in both directions for their validity (M19).

        A number may occur twice, once for each direction that was found idle.
        """
        idle = [
            binding
            for binding in filter(None, map(self.bindings.by_number, dict.fromkeys(numbers)))
            if binding.swept
            and self.sweep.idle_s(binding.number, binding.server is not None)
            >= self.validity_s(binding) + COUNTERS_LATE_S
        ]
        return [
            self.apply(binding, FlowEvent.SWEPT, now, Details(unused=self.sweep.is_unused(binding.number)))
            for binding in idle
        ]

    def adopt(self, binding: Binding, now: float = 0.0) -> None:
        """Take over a binding that was found on the switch, after a restart of the controller.

        Raises ValueError and changes nothing when PR1X is in no pool, or another pair has it, or another binding has
        the same number or five fields.
        """
        if self.bindings.by_number(binding.number) or self.bindings.overlaps(binding.key):
            raise ValueError("another binding has this number or these five fields")
        event = FlowEvent.FOUND_PINNED if binding.server else FlowEvent.FOUND_UNANSWERED
        binding = binding._replace(key=interned_key(binding.key), server=binding.server and interned(binding.server))
        self.apply(binding, event, binding.since)
        self.record.adopted(binding, now)
        self._ends.adopted(binding)


_NO_BINDING = Decision(TRANSITIONS[State.NONE][FlowEvent.STRANGER_REPLY][1], drop=Drop.NO_BINDING)
