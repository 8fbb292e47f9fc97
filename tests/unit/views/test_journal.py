"""The journal keeps the last events, numbered, ready for JSON."""

from __future__ import annotations

import json

from anycast_sdn.core.checks import HealthStatus
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
