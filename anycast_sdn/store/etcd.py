"""EtcdStore: enrolments in etcd, which several controllers change and watch.

    version                        changes with each change: its number, and a text that nobody else writes
    groups/… servers/… edges/… pending        the enrolments (``store.etcd_keys``)
    meta/cluster                   made with the first enrolments, and never changed: an etcd that is without is another
    meta/schema                    the form of all that (``etcd.schema``)

The rules this file keeps, beside those of ``store.store``:

- A change is one transaction, under the condition that ``version`` is as it was when the change was decided.  One of
  more than a transaction takes is put in ``pending``, as one text, and counts from then on; its keys follow.
- A change that etcd has not answered is asked for again, under the same condition: so it is made once, and not at all
  after ``version`` has changed otherwise.  ``version`` has a text that nobody else writes, and tells.
- First enrolments are put in batches, ``version`` last: without it there are none.  Whoever puts ``meta/cluster``
  writes them; another controller waits, and takes over when that takes too long.
- Enrolments that vanish from etcd have not been removed by an operator: etcd was rebuilt.  What is in memory goes on,
  and is written back; whoever finds that less was written back than it knows, writes that.  etcd that was restored
  from an older state counts as it is.
- What this release cannot read replaces nothing: what was read before goes on, and changes are refused.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from anycast_sdn.core.model import AnycastGroup
from anycast_sdn.core.words import counted
from anycast_sdn.etcd.client import Delete, EtcdError, Is, Operation, Put, Unsure, Value
from anycast_sdn.etcd.compaction import Compaction
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.etcd.schema import KNOWN, SCHEMA, schema_of, why_unknown
from anycast_sdn.store.etcd_keys import (
    ENROLMENTS,
    PENDING,
    EnrolledKeys,
    Texts,
    batches,
    is_small,
    must_be_small,
    operations,
    pending_of,
    pending_text,
)
from anycast_sdn.store.store import Change, Outdated, PutGroup, PutServer, Stored, StoreError

LOG = logging.getLogger(__name__)

VERSION, IDENTITY = "version", "meta/cluster"
AWAY_S = 2.0  # changes wait so long for an etcd that has just gone: electing a leader takes it 1.6 s
ANSWER_S = 2.5  # a change that is not answered is asked for again for so long
PAUSE_S = 0.05
ATTEMPTS = 4
WRITING_S = 5.0  # whoever has begun to write first enrolments is waited for, so long
BACK = "back"  # in the text of ``version``: written back into an etcd that was rebuilt
NO_ENROLMENTS = "holds no enrolments any more: this controller goes on with those that it has"
OTHER_ORIGIN = (
    "holds enrolments of another origin (meta/cluster): this controller goes on with those that it has; start it anew "
    "to use those in etcd"
)
KNEW_LESS = "was rebuilt, and has what a controller has written back that knew less than this one"


class EtcdStore:
    """A ``Store`` of what ``mirror`` has.  ``path``: how it is called in messages; ``known``: schemas that it reads."""

    def __init__(self, mirror: Mirror, path: str, known: Sequence[int] = KNOWN) -> None:
        self._mirror = mirror
        self.path = path
        self._known = known
        self._schema = known[-1]  # that etcd has, or had last
        self._keys = EnrolledKeys()
        self._stored = Stored(0, {})
        self._revision, self._mark = 0, ""  # of ``version``, for what is in ``_stored``, and its text
        self._identity = ""
        self._times_gone_back = mirror.times_gone_back
        self._trouble = ""  # why what etcd has is not taken over
        self._is_lost = False  # etcd has no enrolments any more
        self._is_behind = True  # keys have changed that were not looked at
        self._ahead: set[str] = set()  # keys that were changed here, and not looked at in the mirror since
        self._marks: set[str] = set()  # of changes that are being made here
        self._changed: Callable[[Stored], None] = lambda stored: None
        self._compaction = Compaction(mirror)
        self._looking = threading.Lock()  # decoding what is large pauses
        mirror.listen(self._look)

    @property
    def problem(self) -> str:
        reason = self._mirror.etcd.full or self._mirror.problem or self._trouble
        return reason and f"{self.path}: {reason}"

    def open(self, first: Iterable[AnycastGroup] = ()) -> Stored:
        with self._failures_named():
            if not self._mirror.revision:
                self._mirror.load()
            self._enter_first(first)
        self._look([VERSION], everything=True)
        if self._trouble and not self._revision:
            raise StoreError(self.problem)
        return self._stored

    def change(self, at: int, changes: Sequence[Change]) -> int:
        with self._failures_named():
            for _ in range(ATTEMPTS):  # keys beside ``version`` may have changed, too
                self._must_be_there()
                if at != self._stored.version:
                    raise Outdated(self._stored)
                if self._change(changes):
                    return at + 1
                self._reach(0)
        raise StoreError(f"{self.path}: other controllers change it all the time; try again")

    def watch(self, changed: Callable[[Stored], None]) -> None:
        self._changed = changed

    def check(self) -> None:
        try:
            with self._looking:
                if self._is_lost:  # whoever has begun to write back has not ended
                    self._write_back(self._mirror.values.get(IDENTITY))
            if self._trouble or self._is_behind:
                self._look([VERSION])
            if not self.problem:
                self._fold()
            self._compaction.check()
        except (EtcdError, StoreError) as error:
            LOG.debug("%s: %s", self.path, error)  # the next check tries again

    def close(self) -> None:
        pass

    # ---------------------------------------------------------------- changes

    def _change(self, changes: Sequence[Change]) -> int:
        """→ the revision of ``version``; 0: etcd has another version.  Raises EtcdError, StoreError."""
        self._fold()
        revision, texts = self._revision, self._texts(self._keys, changes)
        wanted, mark = list(operations(self._mirror.prefix, texts)), _mark(self._stored.version + 1)
        if is_small(wanted):
            made = self._make(revision, wanted, mark)
            if made and self._revision == revision:  # the mirror will have it in a moment
                self._keys.apply(texts)
                self._ahead |= texts.keys()
                self._enter(made, mark)
        elif made := self._make(revision, [self._pending(texts)], mark):
            with suppress(EtcdError):  # it is stored: the mirror, and ``check``, do the rest
                self._reach(made)
                self._fold()
        return made

    def _texts(self, keys: EnrolledKeys, changes: Sequence[Change]) -> Texts:
        """What changes make of these keys, in the form that etcd has.  Raises StoreError."""
        try:
            texts = keys.after(changes, schema_of(self._mirror.values, self._schema))
            must_be_small(texts)
            return texts
        except ValueError as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _make(self, revision: int, wanted: Sequence[Operation], mark: str) -> int:
        """Carry it out if ``version`` is of this revision → its own revision; 0: it is not.  Raises EtcdError."""
        path = self._mirror.prefix
        schema = self._mirror.values.get(SCHEMA)
        conditions = [
            Is(path + VERSION, revision),
            Is(path + PENDING, 0),
            Is(path + SCHEMA, schema.modified if schema else 0),
        ]
        self._marks.add(mark)
        try:
            return self._made(conditions, [*wanted, Put(path + VERSION, mark)], mark)
        finally:
            self._marks.discard(mark)

    def _made(self, conditions: Sequence[Is], wanted: Sequence[Operation], mark: str) -> int:
        """Carry it out if the conditions hold, the first of which is that of ``version`` → its revision; 0: they do
        not.  Raises EtcdError: nothing was done; StoreError: that is not known.
        """
        etcd, version = self._mirror.etcd, self._mirror.prefix + VERSION
        ends_at = self._mirror.clock() + ANSWER_S
        unsure: EtcdError | None = None
        while True:
            try:
                done = etcd.transact(conditions, wanted, [version])
                if done.succeeded:
                    return done.revision
                return self._revision_of(mark, conditions[0].modified, done.found.get(version)) if unsure else 0
            except EtcdError as error:
                if not unsure and not isinstance(error, Unsure):
                    raise
                unsure = error
            if self._mirror.clock() >= ends_at:
                reason = "etcd does not answer; it is not known whether the change was stored, and shown when it does"
                raise StoreError(f"{self.path}: {reason} ({unsure})")
            self._mirror.pause(PAUSE_S)

    def _revision_of(self, mark: str, after: int, version: Value | None) -> int:
        """Where ``version`` had this text, later than at ``after``; 0: never.  Raises EtcdError."""
        while version and version.modified > after:
            if version.text == mark:
                return version.modified
            version = self._mirror.etcd.read(self._mirror.prefix + VERSION, version.modified - 1)
        return 0

    def _pending(self, texts: Texts) -> Operation:
        try:
            return Put(self._mirror.prefix + PENDING, pending_text(texts))
        except ValueError as error:
            raise StoreError(f"{self.path}: {error}") from error

    def _fold(self) -> None:
        """Give keys what ``pending`` has for them; other controllers may do so, too.  Raises EtcdError."""
        pending = self._mirror.values.get(PENDING)
        if not pending or self._trouble:
            return
        etcd, path = self._mirror.etcd, self._mirror.prefix
        for batch in (*batches(path, pending_of(pending.text)), [Delete(path + PENDING)]):
            done = etcd.transact([Is(path + PENDING, pending.modified)], batch)
            if not done.succeeded:
                break
        self._reach(done.revision)

    def _enter_first(self, first: Iterable[AnycastGroup]) -> None:
        """Unless there are enrolments.  Raises EtcdError."""
        mirror = self._mirror
        texts = self._texts(EnrolledKeys(), changes_of(first)) if VERSION not in mirror.values else {}
        gives_up_at = mirror.clock() + WRITING_S
        while VERSION not in mirror.values and not self._identity:
            writer = mirror.values.get(IDENTITY)
            if writer is None or mirror.clock() >= gives_up_at:
                self._write_all(texts, writer, _mark(1))
            else:
                mirror.pause(PAUSE_S)
            self._reach(0)

    def _write_all(self, texts: Texts, writer: Value | None, mark: str) -> int:
        """Into an etcd that has no enrolments, in the place of this one who has begun → the revision of ``version``.

        0: another controller does it.  Raises EtcdError.
        """
        etcd, path = self._mirror.etcd, self._mirror.prefix
        identity = self._identity or (writer.text if writer else uuid.uuid4().hex)
        begin, schema = [Put(path + IDENTITY, identity)], self._mirror.values.get(SCHEMA)
        if not schema:
            begin.append(Put(path + SCHEMA, str(self._schema)))
        conditions = [
            Is(path + VERSION, 0),
            Is(path + IDENTITY, writer.modified if writer else 0),
            Is(path + SCHEMA, schema.modified if schema else 0),
        ]
        begun = etcd.transact(conditions, begin)
        if not begun.succeeded:
            return 0
        conditions = [Is(path + VERSION, 0), Is(path + IDENTITY, begun.revision)]
        left = [key for key in self._mirror.values if key.startswith((*ENROLMENTS, PENDING)) and key not in texts]
        for batch in batches(path, {**dict.fromkeys(left), **texts}):
            if not etcd.transact(conditions, batch).succeeded:
                return 0
        return self._made(conditions, [Put(path + VERSION, mark)], mark)

    def _must_be_there(self) -> None:
        """Raises StoreError while nothing can be stored."""
        mirror = self._mirror
        while mirror.problem and mirror.clock() < mirror.problem_since + AWAY_S:
            mirror.pause(PAUSE_S)
        if self.problem:
            raise StoreError(self.problem)

    def _reach(self, revision: int) -> None:
        """Have what etcd has, at this revision at least; 0: now.  Raises EtcdError."""
        if revision:
            self._mirror.reach(revision)
        else:
            self._mirror.load()
        with self._looking:  # until it has been looked at
            pass

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except EtcdError as error:
            raise StoreError(f"{self.path}: {error}") from error

    # ---------------------------------------------------------------- what etcd has

    def _look(self, changed: Collection[str], everything: bool = False) -> None:
        """``everything``: other keys may have changed, too, of which nothing has been told yet."""
        if not any(key.startswith((*ENROLMENTS, PENDING, VERSION, "meta/")) for key in changed):
            return
        with self._looking:
            values = self._mirror.values
            if self._mirror.revision < self._revision and self._times_gone_back == self._mirror.times_gone_back:
                self._is_behind = True  # the mirror has not reached yet what was made here
                return
            if not self._may_be_taken(values):
                self._is_behind = True
                return
            changed, self._ahead = {*changed, *self._ahead}, set()  # others may have changed them back meanwhile
            if self._is_behind or everything:
                changed = values.keys() | self._keys.texts().keys()
            self._keys.take(changed, values, lambda: self._mirror.pause(0))
            self._is_behind = False
            if self._keys.problem:
                self._trouble = f"holds what is not ours: {self._keys.problem}"
                return
            self._take_over(values)

    def _may_be_taken(self, values: Mapping[str, Value]) -> bool:
        """Is what etcd has to replace what is in memory?  If not, says why, and does what can be done about it."""
        identity = values.get(IDENTITY)
        said, self._trouble = self._trouble, ""
        self._is_lost = bool(self._identity) and (identity is None or VERSION not in values)
        if why := why_unknown(values, self._known):
            self._trouble = why
        elif self._is_lost:
            self._trouble = NO_ENROLMENTS
        elif self._identity and identity and identity.text != self._identity:
            self._trouble = OTHER_ORIGIN
        elif self._was_written_back_by_less(values):
            self._trouble = KNEW_LESS
        else:
            self._schema = schema_of(values, self._schema)
            if identity and VERSION in values:
                self._identity = identity.text
            return True
        if said != self._trouble:
            LOG.warning("%s: %s", self.path, self._trouble)
        with suppress(EtcdError, StoreError):  # ``check`` tries again
            if self._is_lost and identity is None:
                self._write_back(None)
            elif self._trouble == KNEW_LESS:
                self._write_over(values)
        return False

    def _write_back(self, writer: Value | None) -> None:
        """What is in memory, into an etcd that was rebuilt; ``writer``: as of ``_write_all``.  Raises EtcdError."""
        mark = _mark(_number(self._mark), BACK)
        if made := self._write_all(self._keys.texts(), writer, mark):
            self._has_written(made, mark)
            LOG.warning("%s: was empty; the enrolments of this controller have been written back", self.path)

    def _was_written_back_by_less(self, values: Mapping[str, Value]) -> bool:
        """Nothing has been changed since, either."""
        if not self._identity:
            return False
        version = values[VERSION]
        is_back = version.text.endswith(f" {BACK}") and version.text != self._mark
        return is_back and _number(version.text) < _number(self._mark)

    def _write_over(self, values: Mapping[str, Value]) -> None:
        """What is in memory, in the place of what etcd has.  Raises EtcdError."""
        path, own = self._mirror.prefix, self._keys.texts()
        gone = {key: None for key in values if key.startswith(ENROLMENTS) and key not in own}
        texts = {key: text for key, text in own.items() if key not in values or values[key].text != text}
        wanted: list[Operation] = list(operations(path, {**gone, **texts}))
        if not is_small(wanted):
            wanted = [self._pending({**gone, **texts})]
        mark = _mark(_number(self._mark), BACK)
        conditions = [Is(path + VERSION, values[VERSION].modified), Is(path + PENDING, 0)]
        if made := self._made(conditions, [*wanted, Put(path + VERSION, mark)], mark):
            self._has_written(made, mark)

    def _has_written(self, revision: int, mark: str) -> None:
        """What is in memory, into an etcd that was rebuilt."""
        self._revision, self._mark, self._is_lost, self._trouble = revision, mark, False, ""
        self._times_gone_back = self._mirror.times_gone_back

    def _take_over(self, values: Mapping[str, Value]) -> None:
        version = values.get(VERSION)
        has_gone_back = self._times_gone_back != self._mirror.times_gone_back
        self._times_gone_back = self._mirror.times_gone_back
        if version is None:
            return
        if version.text == self._mark:
            self._revision = version.modified  # another one, if etcd was restored
            held = self._keys.groups(), self._keys.edges()
            if held != self._stored[1:]:  # they were taken in the middle of a change, whose version was there already
                self._stored = Stored(self._stored.version, *held)
                self._changed(self._stored)
            return
        before, is_told = self._stored, self._revision and version.text not in self._marks
        self._enter(version.modified, version.text)
        if has_gone_back and self._stored[1:] != before[1:]:
            LOG.warning(
                "%s: has been restored from an older state: %s and %s now, %s and %s before",
                self.path, *_counted(self._stored), *_counted(before),
            )  # fmt: skip
        if is_told:  # not what ``open`` returns, and not what ``change`` has made
            self._changed(self._stored)

    def _enter(self, revision: int, mark: str) -> None:
        """What the keys hold is stored at this revision, as the version with this text."""
        self._revision, self._mark = revision, mark
        version = max(_number(mark), self._stored.version + 1)  # grows, even where etcd was restored
        self._stored = Stored(version, self._keys.groups(), self._keys.edges())


def _mark(number: int, *words: str) -> str:
    """A text of ``version`` that nobody else writes."""
    return " ".join([str(number), uuid.uuid4().hex, *words])


def _number(mark: str) -> int:
    """Of the version."""
    number = mark.partition(" ")[0]
    return int(number) if number.isdecimal() else 0


def changes_of(groups: Iterable[AnycastGroup]) -> list[Change]:
    """What enrols these groups with their servers."""
    changes: list[Change] = []
    for group in groups:
        changes.append(PutGroup(group))
        changes += [PutServer(group.name, server) for server in group.servers.values()]
    return changes


def _counted(stored: Stored) -> tuple[str, str]:
    servers = sum(len(group.servers) for group in stored.groups.values())
    return counted(len(stored.groups), "group"), counted(servers, "server")
