"""etcd in memory, for tests: ``FakeEtcd`` is etcd, ``client()`` makes an ``Etcd`` that asks it.

It has revisions, conditions, leases on a clock that the test moves, watches, and faults.  Nothing runs by itself, and
nothing waits: where a real watch would wait, ``Idle`` is raised, and ``catch_up`` does what a running mirror would have
done by now.

    etcd = FakeEtcd()
    client = etcd.client()                       # one for each member
    mirror = Mirror(client, "/x/")
    catch_up(mirror)                             # loads, and then what the watch has sent
    client.fail(Fault.APPLIED)                   # its next request; ``client.fault`` is for all
    client.is_deaf = True                        # its watch gets nothing, and fails after deaf_s
    etcd.advance(2.5)                            # leases expire
    etcd.late()                                  # what ``Fault.LATE`` has held back is carried out now
    etcd.lose_quorum(); etcd.regain_quorum()
    etcd.restart(); etcd.rebuild(); saved = etcd.saved(); etcd.restore(saved); etcd.compact()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from typing import NamedTuple, TypeVar

from anycast_sdn.etcd.client import (
    Change,
    Changes,
    Condition,
    Delete,
    DeleteBelow,
    Done,
    Etcd,
    EtcdError,
    Is,
    NoneSince,
    Operation,
    Put,
    Unsure,
    Value,
)
from anycast_sdn.etcd.mirror import Mirror

MOST_OPERATIONS, MOST_BYTES = 128, 1536 << 10  # of a transaction, in etcd as it comes
Result = TypeVar("Result")


class Idle(Exception):
    """A real watch would wait now."""


class Fault(Enum):
    """What becomes of a request."""

    UNREACHABLE = auto()  # refused: certainly not carried out
    NOT_APPLIED = auto()  # no answer, and not carried out
    APPLIED = auto()  # no answer, but carried out
    LATE = auto()  # no answer, and carried out at ``FakeEtcd.late``


class Saved(NamedTuple):
    revision: int
    values: dict[str, Value]
    history: list[tuple[int, list[Change]]]


@dataclass
class _Lease:
    seconds: int
    ends_at: float


@dataclass
class FakeEtcd:
    """``now``: its clock in seconds; ``values``: all keys; ``life``: how often it has been started."""

    now: float = 0.0
    revision: int = 1
    values: dict[str, Value] = field(default_factory=dict)
    leases: dict[int, _Lease] = field(default_factory=dict)
    has_quorum: bool = True
    is_full: bool = False  # its quota is used up
    life: int = 0
    compacted: int = 0
    _history: list[tuple[int, list[Change]]] = field(default_factory=list)
    _late: list[Callable[[], object]] = field(default_factory=list)
    _last_lease: int = 1000

    def client(self) -> FakeClient:
        return FakeClient(self)

    def put(self, key: str, text: str) -> None:
        """As another program would."""
        self.transact((), [Put(key, text)])

    def advance(self, seconds: float) -> None:
        self.now += seconds
        if self.has_quorum:  # whoever leads etcd lets leases expire
            for number in [number for number, lease in self.leases.items() if lease.ends_at <= self.now]:
                self.revoke(number)

    def lose_quorum(self) -> None:
        self.has_quorum = False

    def regain_quorum(self) -> None:
        """All leases begin anew, as with a new leader of etcd."""
        self.has_quorum = True
        for lease in self.leases.values():
            lease.ends_at = self.now + lease.seconds

    def late(self) -> None:
        """What ``Fault.LATE`` has held back is carried out."""
        held, self._late = self._late, []
        for each in held:
            with suppress(EtcdError):
                each()

    def hold(self, request: Callable[[], object]) -> None:
        self._late.append(request)

    def compact(self, revision: int = 0) -> None:
        """Forget all that was before; 0: before now."""
        self.compacted = max(self.compacted, revision or self.revision)

    def restart(self) -> None:
        """All watches end."""
        self.life += 1

    def rebuild(self) -> None:
        """Empty, as on a new disk."""
        self.restore(Saved(1, {}, []))

    def saved(self) -> Saved:
        return Saved(self.revision, dict(self.values), list(self._history))

    def restore(self, saved: Saved) -> None:
        self.restart()
        self.revision, self.values, self._history = saved.revision, dict(saved.values), list(saved.history)
        self.leases, self.compacted = {}, 0

    # ---------------------------------------------------------------- what clients ask

    def transact(
        self, conditions: Sequence[Condition], operations: Sequence[Operation], otherwise: Sequence[str] = ()
    ) -> Done:
        _must_be_valid(operations)
        if self.is_full and any(isinstance(each, Put) for each in operations):
            raise EtcdError("fake: etcdserver: mvcc: database space exceeded")
        for each in operations:
            if isinstance(each, Put) and each.lease and each.lease not in self.leases:
                raise EtcdError("fake: etcdserver: requested lease not found")
        if not all(map(self._holds, conditions)):
            found = {key: self.values[key] for key in otherwise if key in self.values}
            return Done(False, self.revision, found)
        changes: list[Change] = []
        revision = self.revision + 1
        for each in operations:
            if isinstance(each, Put):
                before = self.values.get(each.key)
                value = Value(each.text, before.created if before else revision, revision, each.lease)
                changes.append(Change(each.key, value))
            else:
                changes += [Change(key, None) for key in self.values if _concerns(each, key)]
        self._enter(changes)
        return Done(True, self.revision, {})

    def grant(self, seconds: int) -> int:
        self._last_lease += 1
        self.leases[self._last_lease] = _Lease(seconds, self.now + seconds)
        return self._last_lease

    def keep_alive(self, number: int) -> bool:
        if lease := self.leases.get(number):
            lease.ends_at = self.now + lease.seconds
        return lease is not None

    def revoke(self, number: int) -> None:
        self.leases.pop(number, None)
        self._enter([Change(key, None) for key, value in self.values.items() if value.lease == number])

    def read(self, key: str, revision: int = 0) -> Value | None:
        if revision and revision < self.compacted:
            raise EtcdError("fake: etcdserver: mvcc: required revision has been compacted")
        if not revision or revision >= self.revision:
            return self.values.get(key)
        found = None
        for at, changes in self._history:
            if at <= revision:
                for change in changes:
                    found = change.value if change.key == key else found
        return found

    def since(self, prefix: str, after: int) -> list[Changes]:
        """What a watch sends; revision by revision."""
        if after < self.compacted - 1:
            raise EtcdError("fake: the watch was ended: required revision has been compacted")
        found = [
            Changes(revision, [change for change in changes if change.key.startswith(prefix)])
            for revision, changes in self._history
            if revision > after
        ]
        return [each for each in found if each.changes]

    def _holds(self, condition: Condition) -> bool:
        match condition:
            case Is(key, modified):
                return modified == (self.values[key].modified if key in self.values else 0)
            case NoneSince(prefix, revision):
                return all(value.modified <= revision for key, value in self.values.items() if key.startswith(prefix))

    def _enter(self, changes: list[Change]) -> None:
        if not changes:
            return
        self.revision += 1
        for key, value in changes:
            if value is None:
                del self.values[key]
            else:
                self.values[key] = value
        self._history.append((self.revision, changes))


class FakeClient(Etcd):
    """``fault``: of all its requests; ``is_deaf``: its watch gets nothing; ``requests``: how many there were."""

    def __init__(self, server: FakeEtcd) -> None:
        super().__init__(["http://etcd.example:2379"])
        self.server = server
        self.fault: Fault | None = None
        self.is_deaf = False
        self.requests = 0
        self._faults: deque[Fault | None] = deque()
        self._life = server.life  # of the server, when the watch began
        self._heard_at = server.now

    def fail(self, *faults: Fault | None) -> None:
        """Its next requests, one after the other; None: that one succeeds."""
        self._faults.extend(faults)

    def reset(self) -> None:
        """No faults from now on."""
        self.fault, self.is_deaf = None, False
        self._faults.clear()

    def below(self, prefix: str, pause: Callable[[], None] = lambda: None) -> tuple[int, dict[str, Value]]:
        def found() -> tuple[int, dict[str, Value]]:
            server = self.server
            return server.revision, {key: value for key, value in server.values.items() if key.startswith(prefix)}

        return self._carried_out(found)

    def read(self, key: str, revision: int = 0) -> Value | None:
        return self._carried_out(lambda: self.server.read(key, revision))

    def transact(
        self, conditions: Sequence[Condition], operations: Sequence[Operation], otherwise: Sequence[str] = ()
    ) -> Done:
        if any(isinstance(each, Put) for each in operations):
            self.full = "fake: etcdserver: mvcc: database space exceeded" if self.server.is_full else ""
        return self._carried_out(lambda: self.server.transact(conditions, operations, otherwise))

    def grant(self, seconds: int) -> int:
        return self._carried_out(lambda: self.server.grant(seconds))

    def keep_alive(self, lease: int) -> bool:
        return self._carried_out(lambda: self.server.keep_alive(lease))

    def revoke(self, lease: int) -> None:
        self._carried_out(lambda: self.server.revoke(lease))

    def compact(self, revision: int) -> None:
        self._carried_out(lambda: self.server.compact(revision))

    def watch(self, prefix: str, after: int, deaf_s: float) -> Iterator[Changes]:
        server = self.server
        if self._life != server.life:
            self._life, self._heard_at = server.life, server.now
            raise EtcdError("fake: the watch was ended")
        if self.fault is Fault.UNREACHABLE:
            raise EtcdError("fake: Connection refused")
        if not server.has_quorum:
            raise EtcdError("fake: etcdserver: no leader")
        sent = [] if self.is_deaf or self.fault else server.since(prefix, after)
        if sent:
            self._heard_at = server.now
        elif server.now - self._heard_at > deaf_s:
            self._heard_at = server.now
            raise EtcdError("fake: timed out")
        yield from sent
        raise Idle

    def _carried_out(self, request: Callable[[], Result]) -> Result:
        self.requests += 1
        fault = self._faults.popleft() if self._faults else self.fault
        if fault is Fault.UNREACHABLE:
            raise EtcdError("fake: Connection refused")
        if fault is Fault.LATE or not self.server.has_quorum:
            self.server.hold(request)
            raise Unsure("fake: timed out")
        if fault is Fault.NOT_APPLIED:
            raise Unsure("fake: timed out")
        result = request()
        if fault is Fault.APPLIED:
            raise Unsure("fake: timed out")
        return result


def catch_up(mirror: Mirror) -> None:
    """What a running mirror would have done by now: after a break it takes a second call, as it takes a pause."""
    with suppress(Idle):
        mirror.follow()


def _must_be_valid(operations: Sequence[Operation]) -> None:
    """What etcd refuses.  Raises EtcdError."""
    if len(operations) > MOST_OPERATIONS:
        raise EtcdError("fake: etcdserver: too many operations in txn request")
    if sum(len(each.key) + len(each.text) for each in operations if isinstance(each, Put)) > MOST_BYTES:
        raise EtcdError("fake: etcdserver: request is too large")
    puts = sorted(each.key for each in operations if isinstance(each, Put))
    deletes = [each for each in operations if not isinstance(each, Put)]
    twice = any(one == other for one, other in pairwise(puts))
    if twice or any(_concerns(each, key) for each in deletes for key in puts):
        raise EtcdError("fake: etcdserver: duplicate key given in txn request")


def _concerns(operation: Operation, key: str) -> bool:
    match operation:
        case Put(put, _, _):
            return put == key
        case Delete(deleted):
            return deleted == key
        case DeleteBelow(prefix):
            return key.startswith(prefix)
