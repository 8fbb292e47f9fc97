"""ClientEdge: ARh, the document's client edge, as a state machine that returns and never sends.

Theory of operation.  A flow has no binding, is UNANSWERED, or is PINNED.  Whatever happens to it is
one of a few events, and ``TRANSITIONS`` says what each event does in each state; there is no other
place that decides.  The caller tells what happened and when, and gets a ``Decision``: the binding as
it is now, which of its two rules to put on the switch, and whether the packet goes on.

Rules kept here:
- A known flow keeps PR1X and its server, whatever happens to groups and routes (M14, M20).
- Only an enrolled server of the flow's group may pin it, and only the first to answer does (M17).
- A binding ends when both of its rules have been idle; while one is used, an idle one is put back
  from the binding when it is needed again (M19).
- Of a TCP connection that has ended in one direction, the other rests for ``tcp_closing_s`` only.  That
  is settled a little later, because mostly the other side closes too: to put a rule that the switch is
  about to remove would only keep it.
- An event that does not fit, such as a report about a rule that has been replaced since, changes
  nothing.

Not here: packets' bytes, OpenFlow, who is nearest, and time itself.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from anycast_sdn.core.bindings import Binding, BindingTable, Half, State
from anycast_sdn.core.model import TCP, Address, ClientEdgeRole, Expiry, FlowKey, Groups
from anycast_sdn.core.pool import PoolEmpty, PoolUse, RandomSource, TranslationPool
from anycast_sdn.core.sweep import Sweep

COUNTERS_LATE_S = 1.0  # a switch may show a packet in its counters this much later

_CLOSING_GRACE_S = 1.0  # for the other side to close as well, and for the switch to notice


class Event(enum.Enum):
    __hash__ = object.__hash__  # see ``State``

    CLIENT_PACKET = "client packet"
    MEMBER_REPLY = "reply from an enrolled server of the group"
    PINNED_REPLY = "reply from the server that the flow is pinned to"
    STRANGER_REPLY = "reply from anyone else"
    HALF_IDLE = "one of its rules idle, the other not"
    ALL_IDLE = "all its rules idle"


class Do(enum.Enum):
    __hash__ = object.__hash__

    LEASE = "lease PR1X, forward to ANY"
    SEND_OUT = "put the outward rule back, forward to the server, or to ANY while there is none"
    PIN = "pin to the server that answered, put both rules, forward to the client"
    SEND_IN = "put the inward rule back, forward to the client"
    DROP = "drop, count"
    KEEP = "kept whole"
    RELEASE = "release PR1X into quarantine"


TRANSITIONS: Mapping[State, Mapping[Event, tuple[State, Do]]] = {
    State.NONE: {
        Event.CLIENT_PACKET: (State.UNANSWERED, Do.LEASE),
        Event.STRANGER_REPLY: (State.NONE, Do.DROP),
    },
    State.UNANSWERED: {
        Event.CLIENT_PACKET: (State.UNANSWERED, Do.SEND_OUT),
        Event.MEMBER_REPLY: (State.PINNED, Do.PIN),
        Event.STRANGER_REPLY: (State.UNANSWERED, Do.DROP),
        Event.ALL_IDLE: (State.NONE, Do.RELEASE),
    },
    State.PINNED: {
        Event.CLIENT_PACKET: (State.PINNED, Do.SEND_OUT),
        Event.PINNED_REPLY: (State.PINNED, Do.SEND_IN),
        Event.STRANGER_REPLY: (State.PINNED, Do.DROP),
        Event.HALF_IDLE: (State.PINNED, Do.KEEP),
        Event.ALL_IDLE: (State.NONE, Do.RELEASE),
    },
}


_PUT: Mapping[Do, Half] = {Do.SEND_OUT: Half.OUT, Do.PIN: Half.BOTH, Do.SEND_IN: Half.IN}


class Drop(enum.Enum):
    """Why a packet goes no further; the values are the names of the counters."""

    NO_SERVICE = "no_service"  # no group covers the service address, or it has no active server
    NO_ABLE_EDGE = "no_able_edge"  # it has, but none of them can be reached now: the client may try again
    POOL_EMPTY = "pool_empty"
    CLIENT_FULL = "client_full"  # this client has as many bindings as one may have
    NO_BINDING = "no_binding"  # M16
    STRANGER = "stranger_reply"  # M17


class Decision(NamedTuple):
    do: Do
    binding: Binding | None = None  # as it is now; for RELEASE, as it was
    put: Half = Half.NONE  # the rules to put on the switch, before the packet
    drop: Drop | None = None


class ClientEdge:
    """One ARh.  ``random`` orders the pool; see ``TranslationPool``."""

    def __init__(self, role: ClientEdgeRole, random: RandomSource) -> None:
        self.role = role
        self.bindings = BindingTable()
        self.sweep = Sweep()
        self.swept = 0  # bindings that the sweep ends
        self._pools = {
            v6: TranslationPool(prefixes, role.quarantine_s, random)
            for v6 in (False, True)
            if (prefixes := [prefix for prefix in role.translation_prefixes if prefix.is_v6 is v6])
        }
        self._last_number = 0
        self._closing: deque[tuple[float, int]] = deque()  # (when to settle it, number), in that order

    def pool_use(self, now: float) -> dict[str, PoolUse]:
        return {"ipv6" if v6 else "ipv4": pool.use(now) for v6, pool in self._pools.items()}

    # ---------------------------------------------------------------- packets

    def client_packet(self, key: FlowKey, groups: Groups, now: float) -> Decision:
        """A client's packet to a service address for which no rule was found (M13, M14)."""
        binding = self.bindings.by_key(key)
        if binding is None:
            return self._lease(key, groups, now)
        return self._act(binding, Event.CLIENT_PACKET)

    def reply(self, key: FlowKey, groups: Groups) -> Decision:
        """A packet to an address of PRh/k for which no rule was found (M16–M18).

        ``key``: as seen on the wire, from the server to PR1X.
        """
        binding = self.bindings.by_translated(key.destination)
        if binding is None:
            return Decision(Do.DROP, drop=Drop.NO_BINDING)
        return self._act(binding, self._kind_of_reply(binding, key, groups), key.source)

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

    def _lease(self, key: FlowKey, groups: Groups, now: float) -> Decision:
        group = groups.covering(key.destination)
        if group is None or not groups.is_active(group):
            return Decision(Do.DROP, drop=Drop.NO_SERVICE)
        if not groups.is_announced(group, key.destination):
            return Decision(Do.DROP, drop=Drop.NO_ABLE_EDGE)
        if self.bindings.of_client(key.source) >= self.role.bindings_per_client:
            return Decision(Do.DROP, drop=Drop.CLIENT_FULL)
        try:
            translated = self._pools[len(key.source) == 16].lease(now)
        except (PoolEmpty, KeyError):
            return Decision(Do.DROP, drop=Drop.POOL_EMPTY)
        self._last_number += 1
        binding = Binding(self._last_number, key, translated, group.name, now, swept=self._sweeps())
        self.swept += binding.swept
        self.bindings.put(binding)
        return Decision(TRANSITIONS[State.NONE][Event.CLIENT_PACKET][1], binding, Half.OUT)

    def _act(self, binding: Binding, event: Event, source: Address | None = None) -> Decision:
        do = TRANSITIONS[binding.state][event][1]
        if do is Do.DROP:
            return Decision(do, binding, drop=Drop.STRANGER)
        put = _PUT[do]
        installed = binding.installed | put
        if do is Do.PIN:
            binding = binding._replace(server=source, installed=installed)
            self.bindings.put(binding)
        elif installed is not binding.installed:
            binding = binding._replace(installed=installed)
            self.bindings.put(binding)
        return Decision(do, binding, put)

    # ---------------------------------------------------------------- rules

    def rule_removed(self, number: int, half: Half, state: State, closed: bool, now: float) -> Decision:
        """The switch has removed one rule of a binding.

        ``state``: the binding's state that the rule was written for.  A report about the rule of an
        unanswered flow may cross the message that pins it; it says nothing about the new rules.
        ``closed``: not idle, but a TCP FIN or RST went by.
        """
        binding = self.bindings.by_number(number)
        if binding is None or binding.state is not state:
            return Decision(Do.KEEP, binding)
        left = binding.installed & ~half
        do = TRANSITIONS[state][Event.HALF_IDLE if left else Event.ALL_IDLE][1]
        if do is Do.RELEASE:
            self.release(binding, now)
            return Decision(do, binding)
        closed = closed and binding.key.protocol == TCP
        if closed and not binding.closing:
            self._closing.append((now + self.role.validity.tcp_closed_s + _CLOSING_GRACE_S, number))
        changed = binding._replace(installed=left, closing=binding.closing or closed)
        self.bindings.put(changed)
        return Decision(do, changed)

    def closing(self, now: float) -> Iterator[Decision]:
        """Connections that one side closed a while ago, and the other still has not."""
        while self._closing and self._closing[0][0] <= now:
            binding = self.bindings.by_number(self._closing.popleft()[1])
            if binding:
                yield Decision(Do.KEEP, binding, binding.installed)

    def idle_bindings(self, numbers: Iterable[int], now: float) -> list[Binding]:
        """Of these bindings, those that have been idle in both directions for their validity (M19).

        A number may stand there twice: each of its halves was found idle.
        """
        bindings = filter(None, map(self.bindings.by_number, dict.fromkeys(numbers)))
        return [
            binding
            for binding in bindings
            if binding.swept and self.sweep.idle_s(binding.number, now) >= self.validity_s(binding) + COUNTERS_LATE_S
        ]

    def release(self, binding: Binding, now: float) -> None:
        """End a binding; PR1X goes into quarantine (M19)."""
        if binding.swept:
            self.swept -= 1
            self.sweep.forget(binding.number)
        self.bindings.remove(binding)
        self._pools[len(binding.translated) == 16].release(binding.translated, now)

    def adopt(self, binding: Binding) -> None:
        """Take over a binding that was found on the switch, after a restart of the controller.

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
        self.bindings.put(binding)

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
        return validity.tcp_closing_s if binding.closing else validity.pinned_s(binding.key.protocol)
