"""Mirror: what the leader knows of the flows of a switch whose master is another controller (``Share.REST``).

The master sends all of them in batches, and from then on those that have changed, as they are now.  The leader shows
and counts them, and drains servers by them; it decides nothing about them.

The rules this file keeps:

- A batch says how flows are, and not what has happened, so one that comes twice does no harm.
- What was known before stays until all flows have been sent: no count sinks because a master sends them anew.
- Flows that have ended come before those that may have their addresses now.
- Clocks differ: a flow has an age.  One that is known keeps the time of its beginning.
- Flows are ended by their master, which is asked to.  It answers by what becomes of them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from struct import Struct, error
from typing import Any

from anycast_sdn.core.bindings import Binding, BindingTable, Half
from anycast_sdn.core.first_replies import Asked, Observed, Replies
from anycast_sdn.core.flow_events import EndedBy
from anycast_sdn.core.model import AS_THE_EDGE, FlowKey, GroupValidity, interned
from anycast_sdn.core.pool import PoolUse
from anycast_sdn.core.pool_watch import Level, Outlook
from anycast_sdn.core.switch_ranges import RangeUse
from anycast_sdn.engines.engine import Engine, Statistics

# Number, age, seconds to its first reply (none: NaN), choice; port, protocol, both ports, port beside PR1X, group;
# halves installed and closed, swept, reset, pinned; client, service, PR1X, server.
_FLOW = "!QddQIHHHHHBB???"
_V4, _V6, _NUMBER = Struct(_FLOW + "4s4s4s4s"), Struct(_FLOW + "16s16s16s16s"), Struct("!Q")
_NONE = {False: bytes(4), True: bytes(16)}
_HALVES = (Half.NONE, Half.OUT, Half.IN, Half.BOTH)


END, CLOSE = "end", "close"  # what a master is asked to do with flows: see ``Engine``


class BadBatch(ValueError):
    """It is not one of ours."""


# ------------------------------------------------------------------------------ the master


def batch(flows: Iterable[Binding], ended: Iterable[int], now: float) -> list[Any]:
    """To be sent as JSON.  ``ended``: numbers of flows."""
    kinds: dict[tuple[str, GroupValidity], int] = {}
    records: tuple[list[bytes], list[bytes]] = [], []
    pack_v4, pack_v6, before, kind = _V4.pack, _V6.pack, None, 0
    for (
        number, (source, destination, protocol, first, second), translated, group, since, server, installed, closed,
        swept, reset, validity, choice, reply_s, port, there,
    ) in flows:  # fmt: skip
        if (group, validity) != before:
            before = group, validity
            kind = kinds.setdefault(before, len(kinds))
        is_v6 = len(translated) == 16
        records[is_v6].append((pack_v6 if is_v6 else pack_v4)(
            number, now - since, math.nan if reply_s is None else reply_s, choice, port, protocol, first, second, there,
            kind, installed, closed, swept, reset, server is not None, source, destination, translated,
            server or _NONE[is_v6],
        ))  # fmt: skip
    groups = [[group, None if validity == AS_THE_EDGE else validity] for group, validity in kinds]
    return [groups, *map(_text, (map(_NUMBER.pack, ended), *records))]


def _text(records: Iterable[bytes]) -> str:
    return base64.b64encode(b"".join(records)).decode()


def shown(statistics: Statistics) -> list[Any]:
    """To be sent as JSON."""
    closed = {why.value: flows for why, flows in statistics.closed.items()}
    return list(statistics._replace(closed=closed))  # type: ignore[arg-type]


def observed_shown(observed: Observed) -> list[Any] | None:
    """To be sent as JSON; None: there is nothing to tell."""
    if not any(observed):
        return None
    replies = [
        [group, server.hex(), each.answered, each.refused, each.seconds, [round(seconds, 6) for seconds in each.times]]
        for (group, server), each in observed.replies.items()
    ]
    return [replies, [[*asked, flows] for asked, flows in observed.unanswered.items()], [*map(list, observed.asked)]]


# ------------------------------------------------------------------------------ the leader


class Mirror:
    """Of the flows of one switch, in the ``flows`` of its ``engine``, which decides nothing meanwhile."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.statistics: Statistics | None = None  # as its master has told last
        self._unseen: set[int] | None = None  # flows that were known before, and are not sent yet; None: none
        self._asked: list[tuple[str, list[int]]] = []  # for ``pop_asked``
        self.is_begun = False
        self.is_whole = False  # have all been sent?

    @property
    def _flows(self) -> BindingTable:
        return self._engine.flows

    def begin(self) -> None:
        """All flows are sent next."""
        self._unseen = self._flows.numbers()
        self.is_begun = True

    def end(self) -> None:
        """This controller manages the switch no more.  What was known stays, as of a switch that disconnects."""
        self._unseen = None
        self.is_begun = self.is_whole = False

    def told(self, statistics: Sequence[Any]) -> None:
        """As ``shown``.  Raises BadBatch."""
        self.statistics = _statistics(statistics)

    def observed(self, observed: Sequence[Any], now: float) -> None:
        """What has become of first packets, as ``observed_shown``.  Raises BadBatch."""
        self._engine.first_replies.tell(_observed(observed), now)

    def take(self, sent: Sequence[Any], now: float) -> None:
        """A ``batch``.  Raises BadBatch."""
        try:
            kinds = [(group, AS_THE_EDGE if each is None else GroupValidity(*each)) for group, each in sent[0]]
            ended, v4, v6 = (base64.b64decode(each, validate=True) for each in sent[1:])
            for (number,) in _NUMBER.iter_unpack(ended):
                self._forget(number)
            self._put(_V4, v4, kinds, now)
            self._put(_V6, v6, kinds, now)
        except (ValueError, TypeError, IndexError, error) as problem:
            raise BadBatch(str(problem)) from problem

    def whole(self, most: int = 1 << 32) -> bool:
        """All have been sent: ``most`` of those that were known before, and are not there, are forgotten → all?"""
        while self._unseen and most > 0:
            self._forget(self._unseen.pop())
            most -= 1
        if self._unseen:
            return False
        self._unseen = None
        self.is_whole = True
        if codes := self._engine.codes:
            codes.keeps = False
        return True

    # ---------------------------------------------------------------- what its master is asked to do

    def ask(self, what: str, numbers: Iterable[int]) -> None:
        """To ``END`` or ``CLOSE`` these flows."""
        self._asked.append((what, list(numbers)))

    def pop_asked(self) -> list[tuple[str, list[int]]]:
        asked, self._asked = self._asked, []
        return asked

    # ---------------------------------------------------------------- the table

    def _put(self, record: Struct, records: bytes, kinds: Sequence[tuple[str, GroupValidity]], now: float) -> None:
        table, unseen = self._flows, self._unseen
        for (
            number, age, reply_s, choice, port, protocol, first, second, there, kind, installed, closed, swept, reset,
            is_pinned, source, destination, translated, server,
        ) in record.iter_unpack(records):  # fmt: skip
            before = table.by_number(number)
            if before is None:
                key, since = FlowKey(interned(source), interned(destination), protocol, first, second), now - age
                self._make_room(key, translated)
            else:
                key, translated, since = before.key, before.translated, before.since
            if unseen:
                unseen.discard(number)
            group, validity = kinds[kind]
            table.put(Binding(
                number, key, translated, group, since, interned(server) if is_pinned else None, _HALVES[installed],
                _HALVES[closed], swept, reset, validity, choice, reply_s if reply_s == reply_s else None, port, there,
            ))  # fmt: skip

    def _make_room(self, key: FlowKey, translated: bytes) -> None:
        """A flow that was known before, and whose end was not sent, may have had the key or the address of this one."""
        table = self._flows
        if (former := table.by_key(key)) and former.key == key:
            table.remove(former)
        holder = table.holders.of(translated)
        while holder and holder.pair != (key.source, key.destination):
            self._forget(holder.binding)
            holder = table.holders.of(translated)

    def _forget(self, number: int) -> None:
        if flow := self._flows.by_number(number):
            self._flows.remove(flow)


def _observed(sent: Sequence[Any]) -> Observed:
    try:
        replies, unanswered, asked = sent
        return Observed(
            {(group, bytes.fromhex(server)): Replies(*each) for group, server, *each in replies},
            {Asked(*whom): flows for *whom, flows in unanswered},
            {Asked(*whom) for whom in asked},
        )
    except (ValueError, TypeError) as problem:
        raise BadBatch(str(problem)) from problem


def _statistics(sent: Sequence[Any]) -> Statistics:
    try:
        told = Statistics(*sent)
        return told._replace(
            pools={family: PoolUse(*use) for family, use in told.pools.items()},
            outlooks={family: Outlook(Level(each[0]), *each[1:]) for family, each in told.outlooks.items()},
            closed={EndedBy(why): flows for why, flows in told.closed.items()},
            ranges={family: RangeUse(*use[:-1], Level(use[-1])) for family, use in told.ranges.items()},
        )
    except (ValueError, TypeError, AttributeError) as problem:
        raise BadBatch(str(problem)) from problem
