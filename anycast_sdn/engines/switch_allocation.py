"""SwitchAllocation: the part of ``Conntrack`` that is about flows whose PR1X the switch chooses by itself.

That is all of them with ``allocation: switch``, and those that begin while no controller is there otherwise, out of the
reserve.  The rules: ``openflow.allocation_entries``.

- The switch knows that the controller lives by a rule that is put again and again (``openflow.presence``).
- The controller learns of the flows by copies of their packets.  Such a flow has no address of the pool, no quarantine
  and no limits, but otherwise it is a flow as any other.
- A copy may be lost, by its meter or because the controller is behind.  Its flow goes on all the same, and is not
  known.  How many these are is known by the counters of the rules that copy.

Nothing is sent from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from anycast_sdn.core.client_edge import ClientEdge, Decision
from anycast_sdn.core.events import Drop, PacketsDropped
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import TCP, UDP, Address, FlowKey
from anycast_sdn.core.roles import Allocation, Subnet
from anycast_sdn.engines.engine import Sweep
from anycast_sdn.openflow import allocation_entries, frames
from anycast_sdn.openflow.pipeline import COOKIE_KIND_MASK, REPORTS, cookie
from anycast_sdn.openflow.presence import Presence
from anycast_sdn.openflow.reaction import Reaction
from anycast_sdn.openflow.requests import RulesRequest
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import FlowRule, Message
from anycast_sdn.openflow.tracked_frame import TrackedFrame

COUNTED_S = 5.0  # from one reading of counters to the next
_MOST_EARLY = 1 << 14  # first replies whose flows are not known yet; …
_EARLY_S = 2.0  # … so long they wait for the report of their flow, which may never come

_NOBODY: tuple[Address | None, float] = None, 0.0

Ends = Callable[[Address], tuple[Address | None, Address | None]]  # H' → client, service address


class SwitchAllocation:
    """``name``: the switch's; ``subnets``: its own; ``ends_of``: of H'; ``refused``: protocols not translated."""

    def __init__(
        self, name: str, edge: ClientEdge, subnets: Sequence[Subnet], ends_of: Ends, refused: Sequence[int]
    ) -> None:
        self._name = name
        self._edge = edge
        self._ends_of = ends_of
        self._rules = [*allocation_entries.edge(edge.role, subnets, refused)]
        self._presence = Presence()
        self._copies = 0  # that have arrived
        self._missed = 0  # how many copies have not, of those that the rules have made: as reported,
        self._behind = 0  # and as counted the last time, when some may have been on their way
        # Flows that are not known yet → the server that has answered, and until when that counts.
        self._early: dict[FlowKey, tuple[Address, float]] = {}
        self._first: int | None = None  # what the counters were before the first copy that has arrived
        self._count_at = 0.0

    @property
    def some_flows(self) -> bool:
        """Does the switch ever choose?"""
        return bool(self._rules)

    @property
    def all_flows(self) -> bool:
        """Does the switch choose for all flows, also while the controller lives?"""
        return bool(self._rules) and self._edge.role.conntrack.allocation is Allocation.SWITCH

    def wanted_rules(self) -> Iterator[FlowRule]:
        yield from self._rules

    def begin_reading(self) -> None:
        """The switch has connected; its counters may begin anew."""
        self._presence.connected([allocation_entries.lives()] if self._rules else ())
        self._count_at = 0.0
        self._copies = self._missed = self._behind = 0
        self._first = None

    # ---------------------------------------------------------------- the controller lives

    def tick(self, now: float) -> list[Message]:
        return self._presence.tick(now)

    def retire(self) -> list[Message]:
        """The controller ends: from now on the switch chooses."""
        return self._presence.retire()

    # ---------------------------------------------------------------- flows that the switch has begun

    def reported(self, in_port: int, frame: bytes, groups: Groups, now: float) -> list[Decision]:
        """A copy of the packet by which a flow is reported → flows that have ended for it, and its own beginning.

        Nothing: it is known, or of no service of a group.
        """
        self._copies += 1
        packet = frames.parse_ip(frame)
        if not isinstance(frame, TrackedFrame):
            return []
        client, anycast = self._ends_of(frame.source)
        if client is None or anycast is None:
            return []
        translated, _, protocol, there, port = packet.key
        source_port = frame.source_port if protocol in (TCP, UDP) and frame.source_port else there
        key = FlowKey(client, anycast, protocol, source_port, port)
        label, (early, until) = frame.label[-len(client) :], self._early.pop(key, _NOBODY)
        server = label if any(label) else early if now < until else None
        decisions = self._edge.chosen_by_switch(key, (translated, there), server, groups, now, in_port)
        if decisions and not server:
            assert decisions[-1].binding
            self._edge.first_replies.asked(decisions[-1].binding)
        return decisions

    def answered(self, key: FlowKey, server: Address, now: float) -> None:
        """A copy of the first reply to a flow that is not known (yet)."""
        self._early.pop(key, None)  # so that the latest is the last
        self._early[key] = server, now + _EARLY_S
        if len(self._early) > _MOST_EARLY:
            del self._early[next(iter(self._early))]

    # ---------------------------------------------------------------- flows that are not known

    def begin_sweep(self, now: float) -> Sweep | None:
        """Read the counters of the rules that make copies, if that is due."""
        if not self._rules or now < self._count_at:
            return None
        self._count_at = now + COUNTED_S
        return _CountCopies(self._counted)

    def _counted(self, made: int) -> Reaction:
        """The rules have made so many copies, as of a moment ago."""
        if self._first is None or made < self._first:
            self._first = made - self._copies
        before, self._behind = self._behind, made - self._first - self._copies
        new = max(0, min(before, self._behind) - self._missed)
        self._missed += new
        return Reaction(events=[PacketsDropped(self._name, Drop.UNREPORTED, new)] if new else [])


class _CountCopies(Sweep):
    """``counted``: is called with the sum, when all counters have been read."""

    def __init__(self, counted: Callable[[int], Reaction]) -> None:
        self._counted = counted
        self._made = 0
        self._is_over = False

    @property
    def requests(self) -> list[RulesRequest]:
        return [RulesRequest(cookie(kind), COOKIE_KIND_MASK, Table.TRACKED_OUT) for kind in sorted(REPORTS)]

    def take(self, request: RulesRequest, counters: Iterable[tuple[int, int]], asked: float, now: float) -> None:
        self._made += sum(packets for _, packets in counters)

    def end_some(self, most: int, now: float) -> Reaction:
        self._is_over = True
        return self._counted(self._made)

    @property
    def is_over(self) -> bool:
        return self._is_over
