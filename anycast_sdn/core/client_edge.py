"""ClientEdge: ARh, the document's client edge, as a state machine that returns and never sends.

Theory of operation.  A flow has no binding, is UNANSWERED, or is PINNED.  Whatever happens to it is
one of a few events, and ``TRANSITIONS`` says what each event does in each state; there is no other
place that decides.  The caller tells what happened and when, and gets a ``Decision``: the binding as
it is now, which of its two rules to put on the switch, and whether the packet goes on.

Rules kept here:
- A known flow keeps PR1X and its server, whatever happens to groups and routes (M14, M20).
- Only an enrolled server of the flow's group may pin it, and only the first to answer does (M17).
- A binding ends when both of its rules have been idle; while one is used, an idle one is put back
  from the binding when it is needed again (M19).  A rule that the switch has is not put again.
- Of a TCP connection that has closed in both directions, the rules get ``tcp_closed_s`` as their timeout at
  once, swept or not: so it ends also when the controller does.  Of one that has closed in one direction, the
  other may rest for ``tcp_closing_s`` only; that is settled a little later, because mostly the other side
  closes too.  One that was reset ends ``RESET_S`` later.
- An ended flow is remembered while its address rests: a packet of it that is no TCP SYN shows that it was
  not over, and it goes on as it was (M20).  A SYN begins afresh, also where the old one has not ended yet.
- An event that does not fit, such as a report about a rule that has been replaced since, changes
  nothing.

Not here: packets' bytes, OpenFlow, who is nearest, and time itself.
"""

from __future__ import annotations

import enum
import heapq
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding, BindingTable, Half, State
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, Address, FlowKey
from anycast_sdn.core.pool import PoolEmpty, PoolUse, RandomSource, Rest, TranslationPool
from anycast_sdn.core.roles import ClientEdgeRole, Expiry
from anycast_sdn.core.sweep import Sweep

COUNTERS_LATE_S = 1.0  # a switch may show a packet in its counters this much later

RENEWED_S = 2.0  # from a SYN that begins a known flow afresh until the switch has seen all that came before it
RESET_S = 0.75  # from a RST until the binding ends; with ``EARLY_S`` its address may be another's after 5 s
MOST_PER_CLIENT = 4096  # bindings, where the file does not say

_CLOSING_GRACE_S = 1.0  # for the other side to close as well
_MISSED_AGAIN_S = 1.0  # a rule that the switch should have is put again once in so long a time


class Event(enum.Enum):
    __hash__ = object.__hash__  # see ``State``

    CLIENT_PACKET = "client packet"
    SYN = "client's TCP SYN"
    RETURN = "packet of a flow that has ended, and whose PR1X rests"
    MISSED = "client packet or reply that comes back from our own pipeline: its rule is not there"
    MEMBER_REPLY = "reply from an enrolled server of the group"
    PINNED_REPLY = "reply from the server that the flow is pinned to"
    STRANGER_REPLY = "reply from anyone else"
    HALF_IDLE = "one of its rules idle, the other not"
    ALL_IDLE = "all its rules idle"
    FIN = "TCP FIN in one direction"
    CLOSED = "TCP FIN in the other direction, too"
    RESET = "TCP RST in either direction"
    HALF_OVER = "one direction has closed, and the other not in time"
    OVER = "it was reset a moment ago"
    RENEWED = "a SYN began it afresh a moment ago"
    REFUSED = "the switch has refused a rule of it"


class Do(enum.Enum):
    __hash__ = object.__hash__

    LEASE = "lease PR1X, forward to ANY"
    SEND_OUT = "put the outward rule if it is gone, forward to the server, or to ANY while there is none"
    RENEW = "forget how the former connection ended, put what was shortened, forward to the server"
    REVIVE = "take PR1X and the server back, put both rules, forward"
    PUT_AGAIN = "put all its rules again, forward"
    PIN = "pin to the server that answered, put both rules, forward to the client"
    SEND_IN = "put the inward rule if it is gone, forward to the client"
    DROP = "drop, count"
    KEEP = "kept whole"
    NOTE = "remember that it has ended"
    SHORTEN = "put its rules with the validity of a connection that ends"
    RELEASE = "release PR1X into quarantine"


TRANSITIONS: Mapping[State, Mapping[Event, tuple[State, Do]]] = {
    State.NONE: {
        Event.CLIENT_PACKET: (State.UNANSWERED, Do.LEASE),
        Event.SYN: (State.UNANSWERED, Do.LEASE),
        Event.RETURN: (State.PINNED, Do.REVIVE),
        Event.STRANGER_REPLY: (State.NONE, Do.DROP),
    },
    State.UNANSWERED: {
        Event.CLIENT_PACKET: (State.UNANSWERED, Do.SEND_OUT),
        Event.SYN: (State.UNANSWERED, Do.RENEW),
        Event.MISSED: (State.UNANSWERED, Do.PUT_AGAIN),
        Event.MEMBER_REPLY: (State.PINNED, Do.PIN),
        Event.STRANGER_REPLY: (State.UNANSWERED, Do.DROP),
        Event.ALL_IDLE: (State.NONE, Do.RELEASE),
        Event.FIN: (State.UNANSWERED, Do.KEEP),
        Event.RESET: (State.UNANSWERED, Do.NOTE),
        Event.OVER: (State.NONE, Do.RELEASE),
        Event.REFUSED: (State.NONE, Do.RELEASE),
    },
    State.PINNED: {
        Event.CLIENT_PACKET: (State.PINNED, Do.SEND_OUT),
        Event.SYN: (State.PINNED, Do.RENEW),
        Event.MISSED: (State.PINNED, Do.PUT_AGAIN),
        Event.PINNED_REPLY: (State.PINNED, Do.SEND_IN),
        Event.STRANGER_REPLY: (State.PINNED, Do.DROP),
        Event.HALF_IDLE: (State.PINNED, Do.KEEP),
        Event.ALL_IDLE: (State.NONE, Do.RELEASE),
        Event.FIN: (State.PINNED, Do.NOTE),
        Event.CLOSED: (State.PINNED, Do.SHORTEN),
        Event.RESET: (State.PINNED, Do.NOTE),
        Event.HALF_OVER: (State.PINNED, Do.SHORTEN),
        Event.RENEWED: (State.PINNED, Do.PUT_AGAIN),
        Event.OVER: (State.NONE, Do.RELEASE),
        Event.REFUSED: (State.NONE, Do.RELEASE),
    },
}


_PUT: Mapping[Do, Half] = {Do.SEND_OUT: Half.OUT, Do.RENEW: Half.OUT, Do.SEND_IN: Half.IN}  # where it is gone


class Drop(enum.Enum):
    """Why a packet goes no further; the values are the names of the counters."""

    NO_SERVICE = "no_service"  # no group covers the service address, or it has no active server
    NO_ABLE_EDGE = "no_able_edge"  # it has, but none of them can be reached now: the client may try again
    POOL_EMPTY = "pool_empty"
    CLIENT_FULL = "client_full"  # this client has as many bindings as one may have
    PORT_FULL = "port_full"  # the clients at this host port have as many as they may have together
    NO_BINDING = "no_binding"  # M16
    STRANGER = "stranger_reply"  # M17
    LOOPED = "looped"  # it has missed its rule again, or there is none that it could have missed


class Decision(NamedTuple):
    do: Do
    binding: Binding | None = None  # as it is now; for RELEASE, as it was
    put: Half = Half.NONE  # the rules to put on the switch, before the packet
    drop: Drop | None = None


class ClientEdge:
    """One ARh.  ``random`` orders the pool; see ``TranslationPool``."""

    def __init__(self, role: ClientEdgeRole, random: RandomSource, *, ports: int = 2) -> None:
        """``ports``: how many lead to clients; where it is one, these need not share the pool with others."""
        self.role = role
        self.bindings = BindingTable()
        self.sweep = Sweep()
        self.swept = 0  # bindings that the sweep ends
        self._pools = {
            v6: TranslationPool(prefixes, role.quarantine_s, random)
            for v6 in (False, True)
            if (prefixes := [prefix for prefix in role.translation_prefixes if prefix.is_v6 is v6])
        }
        self._per_client = {
            v6: role.bindings_per_client or min(MOST_PER_CLIENT, -(-pool.size // 4)) for v6, pool in self._pools.items()
        }
        self._per_port = {
            v6: role.bindings_per_port or (-(-pool.size // 2) if ports > 1 else pool.size)
            for v6, pool in self._pools.items()
        }
        self._last_number = 0
        self._ends: list[tuple[float, int]] = []  # a heap of (when a TCP connection's end is to be settled, number)
        self._end_of: dict[int, float] = {}  # number → the one of these that counts
        self._missed: set[int] = set()  # bindings whose rules were put again lately
        self._missed_since = 0.0

    def pool_use(self, now: float) -> dict[str, PoolUse]:
        return {"ipv6" if v6 else "ipv4": pool.use(now) for v6, pool in self._pools.items()}

    def is_exhausted(self, v6: bool, now: float) -> bool:
        """Has the pool of a family no address for a new flow?"""
        return v6 in self._pools and self._pools[v6].is_empty(now)

    # ---------------------------------------------------------------- packets

    def client_packet(self, key: FlowKey, groups: Groups, now: float, *, port: int = 0, syn: bool = False) -> Decision:
        """A client's packet to a service address that the controller is to look at (M13, M14).

        ``port``: where it came in; ``syn``: it opens a TCP connection.
        """
        binding = self.bindings.by_key(key)
        if binding is not None:
            return self._act(binding, Event.SYN if syn else Event.CLIENT_PACKET, now)
        pool = self._pools.get(len(key.source) == 16)
        former = pool.remembered(key, now) if pool and not syn else None
        return self._revive(former, now, port) if former else self._lease(key, groups, now, port)

    def reply(self, key: FlowKey, groups: Groups, now: float = 0.0) -> Decision:
        """A packet to an address of PRh/k for which no rule was found (M16–M18).

        ``key``: as seen on the wire, from the server to PR1X.
        """
        binding = self.bindings.by_translated(key.destination)
        if binding is not None:
            return self._act(binding, self._kind_of_reply(binding, key, groups), now, key.source)
        pool = self._pools.get(len(key.destination) == 16)
        former = pool.remembered_at(key.destination, now) if pool else None
        if former is None or self.bindings.by_key(former.key):
            return Decision(Do.DROP, drop=Drop.NO_BINDING)
        if self._kind_of_reply(former, key, groups) is Event.PINNED_REPLY:
            return self._revive(former, now)
        return Decision(Do.DROP, drop=Drop.NO_BINDING)

    def missed(self, key: FlowKey, now: float) -> Decision:
        """A packet that was sent through the pipeline has come back: the switch has not got its rule.

        ``key``: a client's five fields, or a reply's as seen on the wire.
        """
        binding = self.bindings.by_key(key) or self.bindings.by_translated(key.destination)
        if now - self._missed_since >= _MISSED_AGAIN_S:
            self._missed.clear()
            self._missed_since = now
        if binding is None or binding.number in self._missed:
            return Decision(Do.DROP, binding, drop=Drop.LOOPED)
        self._missed.add(binding.number)
        return self._act(binding, Event.MISSED, now)

    def _kind_of_reply(self, binding: Binding, key: FlowKey, groups: Groups) -> Event:
        ours = binding.key
        if (key.protocol, key.source_port, key.destination_port) != (
            ours.protocol,
            ours.destination_port,
            ours.source_port,
        ):
            return Event.STRANGER_REPLY
        if binding.server is not None:
            return Event.PINNED_REPLY if key.source == binding.server else Event.STRANGER_REPLY
        group = groups.get(binding.group)
        return Event.MEMBER_REPLY if group and key.source in group.servers else Event.STRANGER_REPLY

    def _lease(self, key: FlowKey, groups: Groups, now: float, port: int) -> Decision:
        v6 = len(key.source) == 16
        if refusal := self._refusal(key, groups, port, v6):
            return Decision(Do.DROP, drop=refusal)
        try:
            translated = self._pools[v6].lease(now)
        except PoolEmpty:
            return Decision(Do.DROP, drop=Drop.POOL_EMPTY)
        self._last_number += 1
        group = groups.covering(key.destination)
        assert group is not None  # ``_refusal`` asked
        binding = Binding(self._last_number, key, translated, group.name, now, swept=self._sweeps())
        self.swept += binding.swept
        self.bindings.put(binding, port)
        return Decision(TRANSITIONS[State.NONE][Event.CLIENT_PACKET][1], binding, Half.OUT)

    def _refusal(self, key: FlowKey, groups: Groups, port: int, v6: bool) -> Drop | None:
        """Why this flow gets no binding, if so."""
        group = groups.covering(key.destination)
        if group is None or not groups.is_active(group):
            return Drop.NO_SERVICE
        if not groups.is_announced(group, key.destination):
            return Drop.NO_ABLE_EDGE
        if v6 not in self._pools:
            return Drop.POOL_EMPTY
        if self.bindings.of_client(key.source) >= self._per_client[v6]:
            return Drop.CLIENT_FULL
        if port and self.bindings.of_port(port, v6) >= self._per_port[v6]:
            return Drop.PORT_FULL
        return None

    def _revive(self, former: Binding, now: float, port: int = 0) -> Decision:
        """The flow was not over: it goes on as it was."""
        state, do = TRANSITIONS[State.NONE][Event.RETURN]
        assert state is former.state  # no others are remembered
        self._pools[len(former.translated) == 16].claim(former.translated)
        binding = former._replace(installed=Half.BOTH, reset=False, swept=self._sweeps())
        self.swept += binding.swept
        self.bindings.put(binding, port)
        self._settle_end(binding, now)
        return Decision(do, binding, Half.BOTH)

    def _act(self, binding: Binding, event: Event, now: float, source: Address | None = None) -> Decision:
        do = TRANSITIONS[binding.state][event][1]
        if do is Do.DROP:
            return Decision(do, binding, drop=Drop.STRANGER)
        changed = binding
        if do is Do.PIN or do is Do.PUT_AGAIN:
            changed = binding._replace(server=source or binding.server)
            put = Half.BOTH if changed.server else Half.OUT
        elif do is Do.RENEW and binding.closing:
            self._plan(binding, now + RENEWED_S)  # the switch may still notice the FIN, and shorten the new rules
            changed = binding._replace(closed=Half.NONE, reset=False)
            put = Half.BOTH if binding.server else Half.OUT
        else:
            put = _PUT[do] & ~binding.installed
        installed = binding.installed | put
        if changed is not binding or installed is not binding.installed:
            changed = changed._replace(installed=installed)
            self.bindings.put(changed)
        return Decision(do, changed, put)

    # ---------------------------------------------------------------- TCP connections that end

    def tcp_end(self, number: int, half: Half, reset: bool, now: float) -> Decision:
        """A FIN, or a RST, of a binding went by in this direction."""
        binding = self.bindings.by_number(number)
        if binding is None or binding.key.protocol != TCP or (binding.reset if reset else half in binding.closed):
            return Decision(Do.KEEP, binding)
        closed = binding.closed if reset else binding.closed | half
        event = Event.RESET if reset else Event.CLOSED if closed is Half.BOTH else Event.FIN
        do = TRANSITIONS[binding.state][event][1]
        if do is Do.KEEP:
            return Decision(Do.KEEP, binding)
        binding = binding._replace(closed=closed, reset=reset or binding.reset)
        if do is Do.SHORTEN:
            binding = self._sweep_no_more(binding)
        self.bindings.put(binding)
        self._settle_end(binding, now)
        return Decision(do, binding, binding.installed if do is Do.SHORTEN else Half.NONE)

    def _sweep_no_more(self, binding: Binding) -> Binding:
        """From now on its rules have timeouts."""
        if binding.swept:
            self.swept -= 1
            self.sweep.forget(binding.number)
        return binding._replace(swept=False)

    def _settle_end(self, binding: Binding, now: float) -> None:
        """Plan what ``ends_due`` is to do with a connection that has ended."""
        if binding.reset:
            self._plan(binding, now + RESET_S)
        elif binding.closed is Half.BOTH:
            self._end_of.pop(binding.number, None)  # its rules end by themselves
        elif binding.closed:
            self._plan(binding, now + self.role.validity.tcp_closed_s + _CLOSING_GRACE_S)

    def _plan(self, binding: Binding, when: float) -> None:
        self._end_of[binding.number] = when
        heapq.heappush(self._ends, (when, binding.number))

    def ends_due(self, now: float, most: int) -> list[Decision]:
        """What is due of connections that ended, or began afresh, a while ago; ``most`` at the most."""
        decisions: list[Decision] = []
        while len(decisions) < most and self._ends and self._ends[0][0] <= now:
            when, number = heapq.heappop(self._ends)
            binding = self.bindings.by_number(number)
            if binding is None or self._end_of.get(number) != when:
                continue  # it ended otherwise, or there was more to see meanwhile
            del self._end_of[number]
            if binding.reset:
                decisions.append(self.end(binding, Event.OVER, now))
            elif not binding.swept and binding.server:
                closed = Event.CLOSED if binding.closed is Half.BOTH else Event.HALF_OVER
                event = closed if binding.closed else Event.RENEWED
                decisions.append(Decision(TRANSITIONS[State.PINNED][event][1], binding, binding.installed))
        return decisions

    # ---------------------------------------------------------------- rules

    def rule_removed(self, number: int, half: Half, state: State, unused: bool, now: float) -> Decision:
        """The switch has removed one rule of a binding, because it was idle.

        ``state``: the binding's state that the rule was written for.  A report about the rule of an
        unanswered flow may cross the message that pins it; it says nothing about the new rules.
        ``unused``: no packet has ever met the rule.
        """
        binding = self.bindings.by_number(number)
        if binding is None or binding.state is not state:
            return Decision(Do.KEEP, binding)
        left = binding.installed & ~half
        event = Event.HALF_IDLE if left else Event.ALL_IDLE
        if TRANSITIONS[state][event][1] is Do.RELEASE:
            return self.end(binding, event, now, unused=unused)
        changed = binding._replace(installed=left)
        self.bindings.put(changed)
        return Decision(Do.KEEP, changed)

    def idle_bindings(self, numbers: Iterable[int]) -> list[Binding]:
        """Of these bindings, those that have been idle in both directions for their validity (M19).

        A number may stand there twice: each of its halves was found idle.
        """
        bindings = filter(None, map(self.bindings.by_number, dict.fromkeys(numbers)))
        return [
            binding
            for binding in bindings
            if binding.swept and self.sweep.idle_s(binding.number) >= self.validity_s(binding) + COUNTERS_LATE_S
        ]

    def end(self, binding: Binding, event: Event, now: float, *, unused: bool = False) -> Decision:
        """End a binding (M19).  ``unused``: no packet has ever met its rules.

        The address goes into quarantine; but if nothing can have left with it, it is free at once.
        """
        do = TRANSITIONS[binding.state][event][1]
        assert do is Do.RELEASE
        self._sweep_no_more(binding)
        self._end_of.pop(binding.number, None)
        self.bindings.remove(binding)
        rest = Rest.ENDED if binding.reset or binding.closed is Half.BOTH else Rest.QUARANTINE
        if binding.server is None and (unused or event is Event.REFUSED):
            rest = Rest.NONE
        remembered = binding if binding.server else None
        self._pools[len(binding.translated) == 16].release(binding.translated, now, remembered, rest)
        return Decision(do, binding)

    def release(self, binding: Binding, now: float) -> None:
        """End a binding of which the switch holds nothing any more."""
        self.end(binding, Event.ALL_IDLE, now)

    def adopt(self, binding: Binding, port: int = 0) -> None:
        """Take over a binding that was found on the switch, after a restart of the controller.

        ``port``: where its client is, if that is known.

        Raises ValueError and changes nothing when its PR1X is in no pool, or another binding has it, its number or
        its five fields.
        """
        if self.bindings.by_number(binding.number) or self.bindings.by_key(binding.key):
            raise ValueError("a binding of this number or flow is there already")
        pool = self._pools.get(len(binding.translated) == 16)
        if pool is None:
            raise ValueError("no translation prefix of this family")
        pool.claim(binding.translated)
        self._last_number = max(self._last_number, binding.number)
        self.swept += binding.swept
        self.bindings.put(binding, port)
        if binding.closed is Half.BOTH:
            self._plan(binding, binding.since)  # it may have closed while nobody listened
        else:
            self._settle_end(binding, binding.since)

    def found_installed(self, binding: Binding, installed: Half) -> Binding:
        """What the switch really holds of a known binding, after a reconnect."""
        changed = binding._replace(installed=installed)
        self.bindings.put(changed)
        return changed

    def _sweeps(self) -> bool:
        """Is the next binding one for the sweep?"""
        if self.role.expiry is Expiry.AUTO:
            return len(self.bindings) - self.swept >= self.role.idle_timeouts
        return self.role.expiry is Expiry.SWEEP

    def validity_s(self, binding: Binding) -> int:
        """How long the binding may be idle, in seconds."""
        validity = self.role.validity
        if binding.server is None:
            return validity.unanswered_s
        if binding.closed is Half.BOTH:
            return validity.tcp_closed_s
        return validity.tcp_closing_s if binding.closing else validity.pinned_s(binding.key.protocol)
