"""Election: who leads, and who may claim which switch; what is to be changed in etcd for that.

A function of what etcd has, who this is, what is connected, and how long that has been so.  Nothing here talks to etcd
or to a switch, reads a clock, or compares the clocks of two machines.

The rules that it keeps:

- Who has no key of its own in etcd neither leads nor claims; nor does who drains, or cannot read what etcd has.
- A member is there under the condition that the schema is the one that it has seen (``cluster.raising``).
- Of shared switches nobody gets one that another member serves before it has had time to read it.
- Only the leader gives switches to members, and only while it is the leader: each such transaction has that condition.
- A leader that is gone is followed by the member that reaches most: the others wait a little, each longer than the one
  before.  A leader that reaches less than another for ``BEHIND_S`` hands over, and so does one that drains.
- A hand-over is one transaction: the leader, the term, the switches.
- A key is given back by the member that it names, when it does not reach the switch any more.
- Terms never go back: whoever has seen a later one than etcd has says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence, Set
from functools import partial
from typing import NamedTuple

from anycast_sdn.cluster.assignment import is_behind, out_of_reach, reach, successors, wanted_masters
from anycast_sdn.cluster.claims import Claims
from anycast_sdn.cluster.keys import (
    CANARY,
    DRAINS,
    FORGOTTEN,
    GENERATIONS,
    LEADER,
    MASTERS,
    MEMBERS,
    MOVED,
    NAMES,
    SHARED,
    TERM,
    Held,
    MemberKey,
    dpid_of,
    of_switch,
)
from anycast_sdn.cluster.steering import CannotSteer
from anycast_sdn.cluster.view import View
from anycast_sdn.core.words import counted
from anycast_sdn.etcd.client import Condition, Delete, DeleteBelow, Is, Operation, Put, Value
from anycast_sdn.etcd.schema import SCHEMA

BEHIND_S = 2.5  # a leader that reaches less than another for so long hands over
UNHEARD_S = 3.0  # a member of which the leader hears nothing for so long is the master of no switch
SETTLED_S = 5.0  # one that has reached other switches than now within this time gets none that another one serves
GIVE_BACK_S = 2.5  # a switch that is not connected for so long is given back
RANK_S = 0.25  # the next one in line waits so much longer
FORMER_S = 3.0  # when all leases have ended at once, the former leader, which serves on, has so much time to come back
FORGET_DRAIN_S = 60.0  # after the end of the member
MOST_SENT = 20  # canaries that are waited for: those of 10 s
TOGETHER = 45  # switches in a transaction: each has two operations, and etcd takes 128


class Transaction(NamedTuple):
    conditions: Sequence[Condition]
    operations: list[Operation]


class Election:
    """``prefix``: of all keys; ``member``: its id; ``told``: what it tells of itself; ``dpids``: all switches;
    ``jump``: a random number, see ``View.offset``.
    """

    def __init__(self, prefix: str, member: str, told: MemberKey, dpids: Collection[int], jump: int) -> None:
        self._prefix = prefix
        self.member = member
        self.told = told
        self._dpids = sorted(dpids)
        self._jump = jump
        self.view = View()
        self.claims = Claims(member, self.view)
        self.lease = 0
        self._seen_lease = 0  # of this member's own key, when it was seen last
        self._leads = False
        self._highest_term = 0
        self._since: dict[Hashable, float] = {}  # conditions that last → since when
        # The other members whose processes this one hears of now, besides what etcd has.
        self.heard: Callable[[], Set[str]] = frozenset
        self._settling: dict[str, tuple[Collection[int], float]] = {}  # member → what it reaches, and since when
        self._sent: dict[str, float] = {}  # canaries on their way → when they were sent

    # ---------------------------------------------------------------- what happens

    def see(self, changed: Mapping[str, Value | None], revision: int, now: float) -> None:
        """These keys have changed in etcd."""
        view = self.view
        if revision < view.revision:
            self.claims.rebuilt()
        view.take(changed, revision)
        self._highest_term = max(self._highest_term, view.term)
        if view.leader:
            self._leads = view.leader == self.member
        for key in changed:
            if key.startswith((MASTERS, GENERATIONS)) and (dpid := dpid_of(key)) is not None:
                self.claims.look(dpid, now)
        canary = view.values.get(CANARY + self.member)
        if canary and canary.text in self._sent:
            self.claims.sure_at = max(self.claims.sure_at, self._sent[canary.text])
            self._sent = {text: at for text, at in self._sent.items() if at > self._sent[canary.text]}
        self._see_lease()

    def _see_lease(self) -> None:
        """Its own key never goes but with its lease."""
        own = self.view.values.get(MEMBERS + self.member)
        if own:
            self._seen_lease = own.lease
        elif self._seen_lease and self._seen_lease == self.lease:
            self.lease = self._seen_lease = 0

    def send_canary(self, text: str, now: float) -> Transaction:
        while len(self._sent) >= MOST_SENT:
            del self._sent[next(iter(self._sent))]
        self._sent[text] = now
        return Transaction([], [Put(self._path(CANARY + self.member), text, self.lease)])

    def look(self, now: float) -> None:
        """Which conditions hold, and since when?  To be called before each ``transactions``."""
        view = self.view
        self._note("absent", not view.leader, now)
        self._note("present", self.is_member, now)
        self._note("behind", is_behind(view.eligible(), self.member, self._dpids), now)
        heard = self.heard()
        for member in view.members.keys() | {each[1] for each in self._since if isinstance(each, tuple)}:
            self._note(("unheard", member), member in view.members and member not in heard, now)
        reached = set(self.claims.reached(now))
        self._look_who_has_settled(reached, now)
        for dpid in self._dpids:
            self._note(dpid, dpid not in reached, now)
        for key in {key for key in view.values if key.startswith(DRAINS)} | {
            key for key in self._since if isinstance(key, str) and key.startswith(DRAINS)
        }:
            self._note(key, key in view.values and key[len(DRAINS) :] not in view.members, now)

    def _look_who_has_settled(self, reached: Collection[int], now: float) -> None:
        """A member that has just connected to a switch does not know its flows yet: they wait while it reads them.

        Those that were there before this one began to look know more than it.
        """
        begins = not self._settling
        reaching = {member: frozenset(told.switches) for member, told in self.view.members.items()}
        reaching[self.member] = frozenset(reached)
        self._settling = {
            member: before if (before := self._settling.get(member)) and before[0] == dpids
            else (dpids, -math.inf if begins and member != self.member else now)
            for member, dpids in reaching.items()
        }

    def _is_ready(self, member: str, dpid: int, now: float) -> bool:
        """Does it serve the switch, or could it at once?"""
        _, since = self._settling.get(member, ((), now))
        return self._has(dpid, member) or now - since >= SETTLED_S

    def _note(self, condition: Hashable, holds: bool, now: float) -> None:
        if not holds:
            self._since.pop(condition, None)
        else:
            self._since.setdefault(condition, now)

    def _lasts(self, condition: Hashable, now: float) -> float:
        """Seconds; negative when it does not hold."""
        return now - self._since.get(condition, now + 1)

    # ---------------------------------------------------------------- what holds

    def leads(self, now: float) -> bool:
        """It stays the leader until another one is named: its key alone may have ended with its lease.

        Cut off from etcd it hears of no other, but then it loses all its switches to that.
        """
        return self._leads and (self.claims.serves_any(now) or not self.claims.is_unsure(now))

    def term(self) -> int:
        return self._highest_term

    @property
    def is_member(self) -> bool:
        """Has it its keys in etcd?"""
        own = self.view.values.get(MEMBERS + self.member)
        return own is not None and own.lease == self.lease != 0 and not self.namesake

    @property
    def namesake(self) -> str:
        """The id of another process that has this one's name, and lives; or ""."""
        holder = self.view.text(NAMES + self.told.name)
        return holder if holder != self.member else ""

    def unreached(self) -> dict[int, list[str]]:
        """Switches that nobody can be the master of, because only members that do not lead reach them → these."""
        return out_of_reach(self.view.members, self.view.leader, self._dpids)

    # ---------------------------------------------------------------- what is to be done

    def transactions(self, now: float) -> Iterator[Transaction]:
        """To be carried out one after the other; each holds its own conditions, so the loss of one does no harm."""
        view = self.view
        if not self.lease or self.namesake:
            return
        yield from self._be_there(now)
        if not self.is_member:
            return
        if not view.leader:
            yield from self._follow(now)
        elif view.leader == self.member:
            yield from self._lead(now)
        yield from self._go_on_counting()
        yield from self._give_back(now)
        yield from self._outbid(now)

    def _be_there(self, now: float) -> Iterator[Transaction]:
        view = self.view
        own = self.told._replace(switches=self.claims.reached(now)).text()
        there = view.values.get(MEMBERS + self.member)
        if there and there.text == own and there.lease == self.lease:
            return
        name, forgotten = NAMES + self.told.name, FORGOTTEN + self.told.name
        yield Transaction(
            [self._unchanged(name), self._unchanged(SCHEMA)],
            [
                Put(self._path(name), self.member, self.lease),
                Put(self._path(MEMBERS + self.member), own, self.lease),
                *([Delete(self._path(forgotten))] if forgotten in view.values else []),
            ],
        )

    def _follow(self, now: float) -> Iterator[Transaction]:
        """Nobody leads."""
        line = successors(self.view.eligible(), self._dpids)
        if self.member not in line or self._lasts("absent", now) < self._patience(line, now):
            return
        yield self._make_leader(self.member, now)

    def _patience(self, line: list[str], now: float) -> float:
        if self._leads:
            return 0.0
        all_lost = self._highest_term and self._lasts("present", now) <= self._lasts("absent", now)
        return RANK_S * line.index(self.member) + (FORMER_S if all_lost else 0.0)

    def _lead(self, now: float) -> Iterator[Transaction]:
        view = self.view
        must = self.member not in view.eligible() or self._lasts("behind", now) >= BEHIND_S
        if must and (hand_over := self.hand_over(now)):
            yield hand_over
            return
        if view.values[LEADER].lease != self.lease:  # one that it has given up, and that will end
            yield self._make_leader(self.member, now)
            return
        yield from self._give_masters(now)
        for key in view.values:
            if key.startswith(DRAINS) and self._lasts(key, now) >= FORGET_DRAIN_S:
                yield Transaction([self._unchanged(key)], [Delete(self._path(key))])

    def _go_on_counting(self) -> Iterator[Transaction]:
        """etcd was restored, and who leads may not know how many terms there have been."""
        if self.view.leader and self.view.term < self._highest_term:
            unchanged = [self._unchanged(key) for key in (LEADER, TERM)]
            yield Transaction(unchanged, [Put(self._path(TERM), str(self._highest_term + 1))])

    def _give_masters(self, now: float) -> Iterator[Transaction]:
        wanted = self._wanted_masters(self.member, now)
        missing = [(dpid, member) for dpid, member in wanted.items() if not self._keeps(dpid, member)]
        for at in range(0, len(missing), TOGETHER):
            conditions, operations = self._give(missing[at : at + TOGETHER])
            yield Transaction([self._unchanged(LEADER), *conditions], operations)

    def _wanted_masters(self, leader: str, now: float, drained: str = "") -> dict[int, str]:
        """While this member leads."""
        own = self.told._replace(switches=self.claims.reached(now))
        members = {**self.view.members, self.member: own}
        sharing = self._sharing(leader, now)
        sharing.pop(drained, None)
        ready = partial(self._is_ready, now=now)
        return wanted_masters(members, leader, self._dpids, sharing, self.view.moved(), ready)

    def _sharing(self, leader: str, now: float) -> dict[str, str]:
        """Members among which this leader shares the switches → their names.

        Those of which this one has not heard for ``UNHEARD_S`` are not, nor is another release than the leader's, which
        may decide otherwise.
        """
        if not self.view.is_shared:
            return {}
        eligible, heard = self.view.eligible(), {self.member, leader, *self.heard(), *self._lately_heard(now)}
        release = eligible[leader].release if leader in eligible else self.told.release
        return {
            member: told.name for member, told in eligible.items() if member in heard and told.release == release
        }

    def _lately_heard(self, now: float) -> set[str]:
        members = self.view.members
        return {member for member in members if 0 <= self._lasts(("unheard", member), now) < UNHEARD_S}

    def hand_over(self, now: float) -> Transaction | None:
        """To the member that should lead after this one, if this one leads and there is another."""
        others = {member: told for member, told in self.view.eligible().items() if member != self.member}
        line = successors(others, self._dpids) if self.view.leader == self.member else []
        return self._make_leader(line[0], now) if line else None

    def _give_back(self, now: float) -> Iterator[Transaction]:
        view = self.view
        reached = self.claims.reached(now)
        for dpid in self._dpids:
            if not self._has(dpid, self.member):
                continue
            leader = view.members.get(view.leader)
            follows = leader is not None and view.leader != self.member and dpid not in leader.switches
            gone = dpid not in reached and (self.claims.is_given_up(dpid, now) or self._lasts(dpid, now) >= GIVE_BACK_S)
            if follows or gone:
                key = of_switch(MASTERS, dpid)
                yield Transaction([self._unchanged(key)], [Delete(self._path(key))])

    def _outbid(self, now: float) -> Iterator[Transaction]:
        """A switch has seen a later generation than this member's key has: the key is written anew."""
        for dpid, stale in self.claims.stale(now):
            key, held = of_switch(MASTERS, dpid), of_switch(GENERATIONS, dpid)
            if self._has(dpid, self.member) and self.view.modified(key) == stale.modified:
                anew = Held(self.member, stale.generation, self.view.modified(held))
                yield Transaction(
                    [self._unchanged(key)],
                    [Put(self._path(key), self.member, self.lease), Put(self._path(held), anew.text())],
                )

    # ---------------------------------------------------------------- by an operator

    def lead(self, member: str, now: float) -> Transaction:
        """This member leads from now on.  Raises CannotSteer."""
        view = self.view
        if view.drains(member):
            raise CannotSteer(f"{view.name(member)} drains: resume it first")
        if member in view.members and not view.knows_schema(view.members[member]):
            raise CannotSteer(f"{view.name(member)} has a release that cannot read what etcd has: upgrade it first")
        self._must_reach_as_much(member)
        return self._make_leader(member, now)

    def drain(self, member: str, now: float) -> Transaction:
        """This member neither leads nor claims from now on.  Raises CannotSteer."""
        view = self.view
        others = {each: told for each, told in view.eligible().items() if each != member}
        if not others:
            raise CannotSteer(f"{view.name(member)} is the last member that may lead: start or resume another first")
        to = successors(others, self._dpids)[0]
        put = Put(self._path(DRAINS + member), "")
        if view.leader == member:
            self._must_reach_as_much(to)
            conditions, operations = self._make_leader(to, now, drained=member)
            return Transaction([self._unchanged(MEMBERS + member), *conditions], [put, *operations])
        there = [self._unchanged(each) for each in (MEMBERS + member, MEMBERS + to, DRAINS + to)]
        return Transaction(there, [put])

    def _must_reach_as_much(self, member: str) -> None:
        """As the leader, to follow it.  Raises CannotSteer."""
        view = self.view
        if view.leader not in view.members:
            return
        own, least = (reach(view.members[each], self._dpids) for each in (member, view.leader))
        if own < least:
            reached = f"{view.name(member)} reaches {own} of the {counted(least, 'switch')} of {view.name(view.leader)}"
            raise CannotSteer(f"{reached}: new flows of the others would wait; connect them first")

    def share(self, on: bool) -> Transaction:
        """Are the switches shared among members from now on?  Moves end where they are not."""
        if on:
            return Transaction([], [Put(self._path(SHARED), "")])
        return Transaction([], [Delete(self._path(SHARED)), DeleteBelow(self._path(MOVED))])

    def move(self, dpid: int, member: str) -> Transaction:
        """This member is the switch's master, whenever it is able to be.  Raises CannotSteer."""
        view = self.view
        if not view.is_shared:
            raise CannotSteer("all switches are the leader's: share them first (cluster share on)")
        if view.drains(member):
            raise CannotSteer(f"{view.name(member)} drains: resume it first")
        if dpid not in view.members[member].switches:
            raise CannotSteer(f"{view.name(member)} does not reach the switch: connect it first")
        put = Put(self._path(of_switch(MOVED, dpid)), view.name(member))
        return Transaction([self._unchanged(MEMBERS + member)], [put])

    def leaving(self) -> Transaction:
        """This member ends because it was asked to: it is not to be missed."""
        own = self.told._replace(switches=[], leaving=True)
        return Transaction([], [Put(self._path(MEMBERS + self.member), own.text(), self.lease)])

    def resume(self, member: str) -> Transaction:
        return Transaction([], [Delete(self._path(DRAINS + member))])

    def forget(self, name: str) -> Transaction:
        """Nobody misses the member of this name from now on.  Raises CannotSteer while there is one."""
        there, forgotten = NAMES + name, FORGOTTEN + name
        if there in self.view.values:
            raise CannotSteer(f"{name} is there: to take it away, drain it, and stop it")
        return Transaction([self._unchanged(there)], [Put(self._path(forgotten), self.member, self.lease)])

    # ---------------------------------------------------------------- parts of transactions

    def _make_leader(self, member: str, now: float, drained: str = "") -> Transaction:
        """It leads, and its switches, or the first of them, get the masters that it would give them; the others follow.

        ``drained``: a member that is no master from now on.
        """
        given = [
            (dpid, master) for dpid, master in self._wanted_masters(member, now, drained).items()
            if not (self.view.is_shared and self._keeps(dpid, master))
        ]  # fmt: skip
        conditions, operations = self._give(given[:TOGETHER])
        keys = (LEADER, TERM, MEMBERS + member, DRAINS + member)
        return Transaction(
            [*map(self._unchanged, keys), *conditions],
            [
                Put(self._path(LEADER), member, self._lease(member)),
                Put(self._path(TERM), str(self._highest_term + 1)),
                *operations,
            ],
        )

    def _give(self, given: Sequence[tuple[int, str]]) -> tuple[list[Is], list[Operation]]:
        """(switch, its master from now on) → under the condition that these members are there."""
        conditions = [self._unchanged(MEMBERS + member) for member in dict.fromkeys(member for _, member in given)]
        operations: list[Operation] = []
        for dpid, member in given:
            key = of_switch(GENERATIONS, dpid)
            held = Held(member, self.view.offset(dpid, self._jump), self.view.modified(key))
            conditions.append(self._unchanged(key))
            operations.append(Put(self._path(of_switch(MASTERS, dpid)), member, self._lease(member)))
            operations.append(Put(self._path(key), held.text()))
        return conditions, operations

    def _lease(self, member: str) -> int:
        return self.lease if member == self.member else self.view.lease(member)

    def _has(self, dpid: int, member: str) -> bool:
        return self.view.text(of_switch(MASTERS, dpid)) == member

    def _keeps(self, dpid: int, member: str) -> bool:
        """It has the switch, and not with a lease that it has given up, so that the key ends."""
        key = of_switch(MASTERS, dpid)
        return self._has(dpid, member) and self.view.values[key].lease == self._lease(member)

    def _unchanged(self, key: str) -> Is:
        return Is(self._path(key), self.view.modified(key))

    def _path(self, key: str) -> str:
        return self._prefix + key
