"""ARh at one switch: frames and reports of its rules in, rules and frames out.

``ClientEdge`` decides; here its decisions meet the switch: which packets are events for it, which rules
carry out what it decides, which bindings a restarted controller finds on the switch, and when counters are
to be swept.  Nothing is sent from here.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.client_edge import ClientEdge, Decision, Drop
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, Address, FlowKey, Neighbour
from anycast_sdn.core.transitions import Do, Event, Heard
from anycast_sdn.openflow import builders, entries, frames, readback
from anycast_sdn.openflow.answers import Answers
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.pipeline import Kind
from anycast_sdn.openflow.reaction import Reaction, through_pipeline
from anycast_sdn.openflow.rules import (
    OFPP_CONTROLLER,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    DeleteFlow,
    FinTimeout,
    FlowRule,
    Message,
    PutBinding,
    RemoveBinding,
)

LONGEST_SWEEP_S = 15.0  # from one sweep to the next
PUT_BACK_AT_ONCE = 256  # bindings: some milliseconds' work
_ECHO_REQUEST, _ECHO_REPLY = {ICMP: 8, ICMPV6: 128}, {ICMP: 0, ICMPV6: 129}
_MATCHED_INTO = frozenset((ICMP, ICMPV6, SCTP, TCP, UDP))  # protocols whose headers our rules look into

# Protocols whose checksums cover the addresses, and are not mended by switches (RFC 3828 §3.1, RFC 4340 §9.2,
# RFC 6275 §6.1.1, RFC 7401 §5.1.1), or that sign them (RFC 4302 §3.3.3.1): no server would take such a packet.
COVER_ADDRESSES = {33: "DCCP", 51: "AH", 135: "Mobility Header", 136: "UDP-Lite", 139: "HIP"}
# What a client is told whose first packet goes no further; prohibited, where nothing else is said.
_REASONS = {Drop.NO_SERVICE: Unreachable.NO_SERVICE, Drop.NO_ABLE_EDGE: Unreachable.NO_SERVICE}


def _cannot_follow(packet: frames.IpPacket) -> bool:
    """Is this the first of several fragments, of which switches could not tell what flow the others belong to?

    They match no ports in fragments, not even in the first, and in IPv6 no protocol either in those that follow.
    """
    v6 = len(packet.key.source) == 16
    return packet.more_fragments and (v6 or packet.key.protocol in _MATCHED_INTO)


Found = Mapping[int, Sequence[FlowRule]]  # binding's number → the rules on the switch with its cookies


class Translation:
    """The bindings of one switch and their rules.

    ``counters``: the switch's, of drops; ``repairs``: also the switch's, of rules that were put right.
    """

    def __init__(self, edge: ClientEdge, answers: Answers, counters: Counter[str], repairs: Counter[str]) -> None:
        self.edge = edge
        self.repairs = repairs
        self._lost: dict[int, Half] = {}  # rules of bindings that others have deleted, to be put back
        self.needed: set[int] | None = None  # bindings whose rules were put while the switch is read back
        self.features = Features()
        self.enrolled: Collection[Address] = ()  # servers whose replies the switch sends up anyway
        self.last_sweep_s: float | None = None  # how long the last sweep took
        self._next_sweep = 0.0
        self._answers = answers
        self._counters = counters

    # ---------------------------------------------------------------- packets

    def first_packet(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A client's packet to ANY that met no rule of a binding (M13, M14).  Raises BadFrame."""
        packet = frames.parse_ip(frame)
        if in_port == OFPP_CONTROLLER:
            return self._looped(packet.key, frame, now)
        if _cannot_follow(packet):
            self._counters["bad_frame: fragment"] += 1
            return self._refuse(in_port, frame, Unreachable.ADMINISTRATIVELY_PROHIBITED, now)
        if packet.key.protocol in COVER_ADDRESSES:
            self._counters["unsupported_protocol"] += 1
            return self._refuse(in_port, frame, Unreachable.PROTOCOL, now)
        if packet.icmp_type >= 0 and packet.icmp_type != _ECHO_REQUEST[packet.key.protocol]:
            return self._error_from_client(frame)
        syn = _tcp_flags(packet, frame) & (TCP_SYN | TCP_ACK) == TCP_SYN
        decision = self.edge.client_packet(packet.key, groups, now, port=in_port, syn=syn)
        if decision.drop is None:
            return self._carry_out(decision, frame)
        self._counters[decision.drop.value] += 1
        reason = _REASONS.get(decision.drop, Unreachable.ADMINISTRATIVELY_PROHIBITED)
        return self._refuse(in_port, frame, reason, now)

    def _refuse(self, in_port: int, frame: bytes, reason: Unreachable, now: float) -> Reaction:
        return Reaction([*self._answers.refuse(in_port, frame, reason, now)])

    def first_reply(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A server's packet to PR1X that met no rule of a binding (M16–M18).  Raises BadFrame."""
        packet = frames.parse_ip(frame)
        if in_port == OFPP_CONTROLLER:
            return self._looped(packet.key, frame, now)
        if _cannot_follow(packet):
            raise frames.BadFrame("fragment")
        if packet.icmp_type >= 0 and packet.icmp_type != _ECHO_REPLY[packet.key.protocol]:
            return self._drop("icmp_unsupported")
        decision = self.edge.reply(packet.key, groups, now)
        return self._carry_out(decision, frame) if decision.drop is None else self._drop(decision.drop.value)

    def _looped(self, key: FlowKey, frame: bytes, now: float) -> Reaction:
        """It was sent to meet a binding's rule, and has not: the switch has lost, refused or misread that."""
        self._counters[Drop.LOOPED.value] += 1
        decision = self.edge.missed(key, now)
        return self._carry_out(decision, frame) if decision.drop is None else Reaction()

    def tcp_end(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """A copy of a FIN or RST that a binding's rule has just translated.  Raises BadFrame."""
        packet = frames.parse_ip(frame)
        key, flags = packet.key, _tcp_flags(packet, frame)
        half = Half.OUT
        binding = self.edge.bindings.by_translated(key.source)
        if binding is None:
            half = Half.IN
            client = FlowKey(key.destination, key.source, key.protocol, key.destination_port, key.source_port)
            binding = self.edge.bindings.by_key(client)
        elif key[2:] != binding.key[2:]:
            binding = None
        if binding is None or not flags & (TCP_FIN | TCP_RST):
            return Reaction()
        return Reaction([*self._put(self.edge.tcp_end(binding.number, half, bool(flags & TCP_RST), now))])

    def _carry_out(self, decision: Decision, frame: bytes) -> Reaction:
        """First the rules, then the packet, which takes the way that later packets take."""
        return Reaction([*self._put(decision), through_pipeline(frame)])

    def icmp_error(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """An error about a flow's packet, on its way to the client (RFC 5508 REQ-4).  Raises BadFrame."""
        error = frames.parse_icmp_error(frame)
        binding = self.edge.bindings.by_translated(error.destination)
        if binding is None:
            return self._drop(Drop.NO_BINDING.value)
        key = binding.key
        group = groups.get(binding.group)
        servers = [binding.server] if binding.server else list(group.servers if group else ())
        sent_to = error.quoted.destination
        sent = FlowKey(binding.translated, sent_to, *key[2:])
        if error.quoted != sent or sent_to not in (key.destination, *servers):
            return self._drop(Drop.STRANGER.value)
        translated = builders.translate_icmp_error(
            frame,
            source=key.destination if error.source in servers else error.source,
            destination=key.source,
            quoted_source=key.source,
            quoted_destination=key.destination,
        )
        return Reaction([through_pipeline(translated)])

    def _error_from_client(self, frame: bytes) -> Reaction:
        """An error about a reply, on its way to the server (RFC 5508 REQ-5)."""
        error = frames.parse_icmp_error(frame)
        quoted = error.quoted
        key = FlowKey(
            quoted.destination, quoted.source, quoted.protocol, quoted.destination_port, quoted.source_port
        )
        binding = self.edge.bindings.by_key(key)
        addressed = (error.source, error.destination) == (key.source, key.destination)
        if binding is None or binding.server is None or not addressed:
            return self._drop(Drop.NO_BINDING.value)
        translated = builders.translate_icmp_error(
            frame,
            source=binding.translated,
            destination=binding.server,
            quoted_source=binding.server,
            quoted_destination=binding.translated,
        )
        return Reaction([through_pipeline(translated)])

    def _drop(self, counter: str) -> Reaction:
        self._counters[counter] += 1
        return Reaction()

    # ---------------------------------------------------------------- rules

    def _put(self, decision: Decision) -> Iterator[PutBinding]:
        assert decision.binding is not None
        if self.needed is not None:
            self.needed.add(decision.binding.number)
        for half in decision.put.parts:
            yield self.rule_of(decision.binding, half)

    def rule_of(self, binding: Binding, half: Half) -> PutBinding:
        """The rule of one direction of a binding, as it should be now.

        Only a rule with a timeout of its own can remember a FIN: see ``entries.binding``.
        """
        idle_timeout = 0 if binding.swept else self.edge.validity_s(binding)
        tells = self.features.tcp_flags and self.features.fin_timeout
        remembers = tells and binding.key.protocol == TCP and binding.server
        fin_timeout = idle_timeout - (half not in binding.closed) if remembers else 0
        return PutBinding(binding, half, idle_timeout, max(0, fin_timeout))

    def rule_deleted(self, kind: Kind, number: int) -> None:
        """A binding's rule was deleted, by us or behind our back.  That says nothing about its packets (M20).

        What we delete is no binding's any more, or of a state that has passed.  Everything else is put back soon,
        see ``put_back``.
        """
        if kind not in readback.HALF_OF:
            return
        half, state = readback.HALF_OF[kind]
        binding = self.edge.bindings.by_number(number)
        if binding and binding.state is state and half in binding.installed:
            self._lost[number] = self._lost.get(number, Half.NONE) | half

    @property
    def was_robbed(self) -> bool:
        """Are there rules that others have deleted, not put back yet?"""
        return bool(self._lost)

    def put_back(self) -> list[Message]:
        """The rules that were lost, a part of them if they are many."""
        messages: list[Message] = []
        for number in list(itertools.islice(self._lost, PUT_BACK_AT_ONCE)):
            binding, halves = self.edge.bindings.by_number(number), self._lost.pop(number)
            if binding:
                for half in (halves & binding.installed).parts:
                    self.repairs["missing"] += 1
                    messages.append(self.rule_of(binding, half))
        return messages

    def rule_removed(self, kind: Kind, number: int, unused: bool, now: float) -> Reaction:
        """A binding's rule has expired (M19)."""
        if kind not in readback.HALF_OF:
            return Reaction()
        half, state = readback.HALF_OF[kind]
        decision = self.edge.rule_removed(number, half, state, unused, now)
        if decision.do is not Do.RELEASE:
            return Reaction()
        assert decision.binding is not None
        # Both should be gone.  Should a message have crossed ours, the switch must not keep a rule
        # of a binding that no longer exists.
        return self._released(decision.binding) if decision.binding.server else Reaction()

    def rule_refused(self, number: int, now: float) -> Reaction:
        """The switch has no room for a rule of this binding: end it, rather than try for ever."""
        binding = self.edge.bindings.by_number(number)
        if binding is None:
            return Reaction()
        self._counters["rule_refused"] += 1
        self.edge.apply(binding, Event.REFUSED, now)
        return self._released(binding)

    def _released(self, binding: Binding) -> Reaction:
        """A binding has ended: its rules go, and what was there for its server alone."""
        server = binding.server
        halves = Half.BOTH if server else Half.OUT
        forgotten = server is not None and server not in self.enrolled and not self.edge.bindings.pinned_to(server)
        return Reaction([RemoveBinding(self.rule_of(binding, half)) for half in halves.parts], changed=forgotten)

    def settle_ends(self, now: float, most: int) -> tuple[Reaction, bool]:
        """TCP connections that were closed or reset a while ago, ``most`` at the most → and may there be more?"""
        reaction = Reaction()
        decisions = self.edge.ends_due(now, most)
        for decision in decisions:
            if decision.do is Do.RELEASE:
                assert decision.binding is not None
                released = self._released(decision.binding)
                reaction.messages += released.messages
                reaction.changed |= released.changed
            else:
                reaction.messages += self._put(decision)
        return reaction, len(decisions) == most

    # ---------------------------------------------------------------- sweep

    def sweep_is_due(self, now: float) -> bool:
        return self.edge.bindings.swept > 0 and now >= self._next_sweep

    def begin_sweep(self) -> int:
        """→ how many bindings there are; the next sweep is due only after this one has ended."""
        self._next_sweep = math.inf
        return len(self.edge.bindings)

    def counters_read(self, inward: bool, counters: Iterable[tuple[int, int]], asked: float, now: float) -> list[int]:
        """Counters of bindings' rules → the bindings that may be idle; see ``core.sweep``."""
        return self.edge.sweep.read(inward, counters, asked, now)

    def end_idle(self, numbers: Iterable[int], now: float) -> Reaction:
        """Ends those of these bindings that a whole sweep has found idle (M19)."""
        reaction = Reaction()
        for decision in self.edge.end_idle(numbers, now):
            assert decision.binding is not None
            released = self._released(decision.binding)
            reaction.messages += released.messages
            reaction.changed |= released.changed
        return reaction

    def swept(self, began: float, now: float) -> None:
        self.last_sweep_s = now - began
        self._next_sweep = now + min(LONGEST_SWEEP_S, self.edge.role.validity.shortest_s / 2)

    # ---------------------------------------------------------------- connection

    def disconnected(self) -> None:
        self._next_sweep = 0.0  # one that was under way will not end
        self.needed = None
        self._lost.clear()  # what is there when the switch is back will be seen

    def adopt(self, found: Found, groups: Groups, now: float, hosts: Mapping[Address, Neighbour]) -> None:
        """After a restart: the switch's own rules are our memory.  One that tells its flow is enough.

        ``hosts``: where the switch believes hosts to be.
        """
        for number, rules in found.items():
            halves = [(half, rule) for rule in rules if (half := readback.binding(rule))]
            if not halves:
                continue
            if self.edge.bindings.by_number(number):
                continue  # by a connection that has ended since
            half, _ = max(halves, key=lambda found: found[0].server is not None)
            group = groups.covering(half.key.destination)
            swept = not any(rule.idle_timeout for _, rule in halves)
            closed = Half.NONE
            for each, _ in halves:
                closed |= each.half if each.closed else Half.NONE
            name = group.name if group else ""
            host = hosts.get(half.key.source)
            binding = Binding(number, half.key, half.translated, name, now, half.server, closed=closed, swept=swept)
            try:
                self.edge.adopt(binding, host.port if host else 0)
            except ValueError:
                self._counters["not_adopted"] += 1  # PRh/k has changed, or two rules claim one address

    def is_untouched(self, binding: Binding) -> bool:
        """Has nothing happened to it since the switch was asked what it holds?"""
        needed = self.needed is not None and binding.number in self.needed
        return not needed and self.edge.bindings.by_number(binding.number) is binding

    def put_whole(self, binding: Binding, now: float) -> list[Message]:
        """The switch has lost everything, as after a power cut: it gets this binding again (M20)."""
        return [*self._put(self.edge.apply(binding, Event.WIPED, now))]

    def settle(self, binding: Binding, rules: Sequence[FlowRule], now: float) -> list[Message]:
        """A binding keeps the halves that the switch holds; one that is not as it should be is put anew.

        It ends only when the switch holds nothing of it.  ``rules``: those with its cookies.
        """
        installed = self._halves_of(binding, rules)
        if not installed:
            self.edge.apply(binding, Event.FOUND_GONE, now)
            return [*map(DeleteFlow, rules)]
        kept = self.edge.apply(binding, Event.FOUND_AGAIN, now, Heard(installed=installed)).binding
        binding = self._note_closed(kept or binding, rules, now)
        return [*self.put_right(binding, installed, rules)]

    def _note_closed(self, binding: Binding, rules: Iterable[FlowRule], now: float) -> Binding:
        """The switch's rules remember that a direction has closed while nobody listened."""
        for half in filter(None, map(readback.binding, rules)):
            if half.closed and not binding.reset:
                binding = self.edge.tcp_end(binding.number, half.half, False, now).binding or binding
        return binding

    def _halves_of(self, binding: Binding, rules: Iterable[FlowRule]) -> Half:
        """The directions of a binding that the switch has rules for, whatever is in them."""
        installed = Half.NONE
        for rule in rules:
            installed |= readback.half_of(rule)
        return installed if binding.server else installed & Half.OUT

    def put_right(self, binding: Binding, installed: Half, rules: Iterable[FlowRule]) -> Iterator[Message]:
        """The changes that leave, of the rules with this binding's cookies, just these halves as they should be."""
        for half in installed.parts:
            put = self.rule_of(binding, half)
            ours = entries.binding(put)
            there = [rule for rule in rules if readback.half_of(rule) is half]
            yield from self._without(rule for rule in there if rule.key != ours.key)
            if not any(_is_as_put(rule, ours, put) for rule in there):
                self.repairs["wrong"] += 1
                yield put
        yield from self._without(rule for rule in rules if readback.half_of(rule) not in installed)

    def _without(self, rules: Iterable[FlowRule]) -> Iterator[Message]:
        for rule in rules:
            self.repairs["foreign"] += 1
            yield DeleteFlow(rule)


def _is_as_put(found: FlowRule, ours: FlowRule, put: PutBinding) -> bool:
    """Is a rule the one that was put?  A FIN may have shortened its timeout.

    Of a connection that has ended, the end is planned, whatever timeouts its rules were put with.
    """
    if found == ours or (put.binding.closing and _without_timeouts(found) == _without_timeouts(ours)):
        return True
    closed = 0 < found.idle_timeout == put.fin_timeout
    return closed and replace(found, idle_timeout=ours.idle_timeout) == ours


def _without_timeouts(rule: FlowRule) -> FlowRule:
    actions = tuple(action for action in rule.actions if not isinstance(action, FinTimeout))
    return replace(rule, idle_timeout=0, actions=actions)


def _tcp_flags(packet: frames.IpPacket, frame: bytes) -> int:
    """0 where there are none."""
    return frame[packet.l4 + 13] if packet.key.protocol == TCP and not packet.more_fragments else 0
