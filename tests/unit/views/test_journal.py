"""The journal keeps the last events, numbered, ready for JSON."""

from __future__ import annotations

import json

import pytest

from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.cluster_events import LeaderChanged, MemberLost
from anycast_sdn.core.events import Drop, PacketsDropped
from anycast_sdn.core.model import packed
from anycast_sdn.core.network_events import PoolExhausted
from anycast_sdn.core.server_events import ServerEnrolled, ServerHealthChanged
from anycast_sdn.views.journal import KEPT, Entry, Journal

AS2 = packed("10.2.0.10")
ENROLLED = ServerEnrolled("ars2", "web", AS2)


def test_an_event_has_its_number_its_time_and_its_members() -> None:
    journal = Journal(lambda: 1_790_000_000.25)
    journal(ServerHealthChanged("ars2", AS2, ("dns", "web"), HealthStatus.PASSING, HealthStatus.CRITICAL, "refused"))
    [entry] = journal.after(0)
    assert json.loads(entry.json) == {
        "id": 1,
        "at": "2026-09-21T14:13:20.250Z",
        "type": "server.health",
        "severity": "critical",
        "subject": {"kind": "server", "name": "10.2.0.10"},
        "message": "server 10.2.0.10 of groups dns, web is critical: refused",
        "edge": "ars2",
        "group": "dns",
        "groups": ["dns", "web"],
        "data": {
            "switch": "ars2",
            "server": "10.2.0.10",
            "groups": ["dns", "web"],
            "before": "passing",
            "after": "critical",
            "reason": "refused",
        },
    }


def test_events_that_are_only_counted_are_not_kept() -> None:
    journal = Journal()
    journal(PacketsDropped("arh1", Drop.NO_BINDING))
    assert not list(journal.after(0))


def test_who_knows_a_number_gets_what_came_after_it() -> None:
    journal = Journal()
    for _ in range(5):
        journal(ENROLLED)
    assert [entry.id for entry in journal.after(3)] == [4, 5]
    assert not list(journal.after(5))
    assert not list(journal.after(99))


def test_the_oldest_are_forgotten_and_an_answer_begins_later_then() -> None:
    journal = Journal()
    for _ in range(KEPT + 3):
        journal(ENROLLED)
    assert [entry.id for entry in journal.after(0)] == list(range(4, KEPT + 4))


def kept(*types: str) -> list[Entry]:
    return [Entry(id, type, "", (), "{}") for id, type in enumerate(types, 41)]


def test_numbers_go_on_after_a_restart() -> None:
    journal = Journal(before=kept("controller.started", "controller.stopping", "switch.lost"))
    journal(PoolExhausted("arh1", "ipv4", 254, 254, 0))
    assert [entry.id for entry in journal.after(41)] == [42, 43, 44]
    assert journal.has_all_after(43)


def test_after_a_crash_no_number_is_used_again_that_may_have_been_told() -> None:
    journal = Journal(before=kept("controller.stopping", "controller.started", "pool.low"))
    journal(PoolExhausted("arh1", "ipv4", 254, 254, 0))
    assert [entry.id for entry in journal.after(42)] == [43, KEPT + 1]
    assert [journal.has_all_after(id) for id in (40, 41, 43, KEPT + 1)] == [True] * 4
    assert [journal.has_all_after(id) for id in (0, 39, 44, KEPT, KEPT + 2)] == [False] * 5


def test_who_knows_a_number_misses_none_although_some_are_missing_before_it() -> None:
    journal = Journal(before=[Entry(id, "pool.low", "arh1", (), "{}") for id in (3, 4, 9, 12)])
    assert [[entry.id for entry in journal.after(id)] for id in (0, 4, 5, 9, 11, 12)] == [
        [3, 4, 9, 12], [9, 12], [9, 12], [12], [12], [],
    ]  # fmt: skip


def test_listeners_get_each_event_until_they_end() -> None:
    journal, heard = Journal(), list[int]()
    end = journal.listen(lambda entry: heard.append(entry.id))
    journal(ENROLLED)
    end()
    journal(ENROLLED)
    assert heard == [1]


# ------------------------------------------------------------------------------ several controllers


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def hear(journal: Journal, *told: Entry) -> list[int]:
    """→ how many were missed before each of them."""
    heard = [journal.hear(entry.json) for entry in told]
    for each in heard:
        if each.entry:
            journal.put(each.entry)
    return [each.missed for each in heard]


def lines(journal: Journal) -> list[str]:
    return [f"{entry.id} {entry.member} {entry.number} {entry.type}" for entry in journal.after(0)]


def test_in_a_cluster_an_event_names_its_member_and_has_the_same_number_there_wherever_it_is_shown() -> None:
    one, other = Journal(member="m0"), Journal(member="m1")
    one(ENROLLED)
    other(ENROLLED)
    assert hear(one, *other.own(10)) == [0]
    assert lines(one) == ["1 m0 1 server.enrolled", "2 m1 1 server.enrolled"]
    assert lines(other) == ["1 m1 1 server.enrolled"]
    shown, own = (json.loads(entry.json) for entry in (*one.after(1), *other.after(0)))
    assert shown == own | {"id": 2}
    assert [entry.is_own for entry in one.after(0)] == [True, False]


def test_events_of_another_member_are_taken_once_and_those_that_were_not_heard_are_counted() -> None:
    one, other = Journal(member="m0"), Journal(member="m1")
    for _ in range(9):
        other(ENROLLED)
    told = other.own(10)
    assert hear(one, *told[2:4]) == [0, 0]  # what came before it was there is not missing
    assert hear(one, *told[:4], *told[6:]) == [0, 0, 0, 0, 2, 0, 0]
    assert [entry.number for entry in one.after(0)] == [3, 4, 7, 8, 9]
    assert [entry.number for entry in other.own(2)] == [8, 9]
    assert not one.own(10)


def test_an_event_is_found_by_its_type_and_a_member_of_its_data() -> None:
    journal = Journal()
    journal(LeaderChanged("m0", 34))
    journal(MemberLost("m1", "m1-1", False))
    assert journal.has("leader.changed", "term", 34)
    assert journal.has("member.lost", "id", "m1-1")
    assert not journal.has("leader.changed", "term", 3)
    assert not journal.has("member.lost", "term", 3)


def test_what_is_known_of_another_member_outlives_a_restart_of_either_of_them() -> None:
    clock = Clock()
    one, other = Journal(member="m0"), Journal(clock, member="m1")
    other(ENROLLED)
    hear(one, *other.own(1))
    again = Journal(before=[Entry.of(json.loads(entry.json)) for entry in one.after(0)], member="m0")
    back = Journal(clock, [Entry.of(json.loads(entry.json)) for entry in other.after(0)], member="m1")
    back(ENROLLED)
    assert hear(again, *back.own(10)) == [0, 0]
    assert [entry.number for entry in again.after(0)] == [1, 2]


def test_events_of_a_member_that_has_lost_its_journal_are_taken_all_the_same() -> None:
    clock = Clock()
    one, other = Journal(member="m0"), Journal(clock, member="m1")
    for _ in range(3):
        other(ENROLLED)
    hear(one, *other.own(10))
    anew = Journal(clock, member="m1")
    anew(ENROLLED)
    anew(ENROLLED)
    assert [*hear(one, *anew.own(10)), *hear(one, *anew.own(10))] == [0, 0, 0, 0]
    assert [entry.number for entry in one.after(0)] == [1, 2, 3, 1, 2]


def test_the_end_of_another_member_is_not_that_of_this_one() -> None:
    """After a crash numbers go on behind those that may have been told."""
    before = [
        Entry(41, "controller.started", "", (), "{}", member="m0"),
        Entry(42, "controller.stopping", "", (), "{}", member="m1"),
    ]
    assert Journal(before=before, member="m0").last_id == KEPT
    assert Journal(before=before, member="m1").last_id == 42


@pytest.mark.parametrize("told", ["", "[]", "{}", '{"type": "x", "member": "m1", "number": "2", "at": "x"}'])
def test_what_is_no_event_of_another_member_is_refused(told: str) -> None:
    journal = Journal(member="m0")
    with pytest.raises(ValueError, match=r"Expecting value|no event"):
        journal.hear(told)
    assert not list(journal.after(0))
