"""Operations: drains that an operator has asked for, as long as they run and a while longer.

An operation is *running* until it has *succeeded*, or *failed* because something else happened to what it is about.
The last ``MOST_ENDED`` that have ended are kept, for those who ask later.
"""

from __future__ import annotations

import enum
import itertools
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from anycast_sdn.core.model import Address, NotFound, text

MOST_ENDED = 1000


class State(enum.Enum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Kind(enum.Enum):
    DRAIN_SERVER = "drain-server"
    DRAIN_EDGE = "drain-edge"


@dataclass(frozen=True, slots=True)
class Operation:
    """``began``, ``ended``, ``deadline``: s since the epoch.  Of a server: its ``group`` and its ``addresses``."""

    id: str
    kind: Kind
    edge: str  # that is drained, or that the server is behind
    began: float
    group: str = ""
    addresses: tuple[Address, ...] = ()
    deadline: float | None = None
    state: State = State.RUNNING
    flows_at_start: int | None = None  # None: not counted yet
    flows_left: int | None = None
    ended: float | None = None
    reason: str = ""  # why it has failed, what it waits for, or what is left

    @property
    def what(self) -> str:
        if self.kind is Kind.DRAIN_EDGE:
            return f"drain of edge {self.edge}"
        return f"drain of {' and '.join(map(text, self.addresses))} in group {self.group}"


class Operations:
    """By their ids."""

    def __init__(self) -> None:
        self._running: dict[str, Operation] = {}
        self._ended: OrderedDict[str, Operation] = OrderedDict()

    def __iter__(self) -> Iterator[Operation]:
        """Those that run first, then the others, the last one first."""
        yield from self._running.values()
        yield from reversed(self._ended.values())

    def is_running(self, id: str) -> bool:
        return id in self._running

    def get(self, id: str) -> Operation:
        """Raises NotFound."""
        found = self._running.get(id) or self._ended.get(id)
        if found is None:
            raise NotFound(f"there is no operation {id!a}; the last {MOST_ENDED} that have ended are kept")
        return found

    def ended(self, most: int) -> Iterator[Operation]:
        """The last ones that have ended, the last first."""
        return itertools.islice(reversed(self._ended.values()), most)

    def recall(self, operation: Operation) -> None:
        """Another controller has ended it so."""
        self._running.pop(operation.id, None)
        self._ended.pop(operation.id, None)
        self._ended[operation.id] = operation
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def put(self, operation: Operation) -> None:
        """It runs, as here."""
        self._ended.pop(operation.id, None)
        self._running[operation.id] = operation

    def end(self, id: str, state: State, at: float, reason: str) -> Operation:
        """→ as it has ended."""
        ended = self._ended[id] = replace(self._running.pop(id), state=state, ended=at, reason=reason)
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)
        return ended
