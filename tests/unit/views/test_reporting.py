"""Of all events, operators are told of few enough to read them, and of all others how many there were."""

from __future__ import annotations

import json

from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.events import Drop, Event, PacketsDropped, Reported, Severity
from anycast_sdn.core.network_events import LinkDown, LinkUp
from anycast_sdn.core.server_events import ServerHealthChanged
from anycast_sdn.core.switch_events import ConnectionRefused
from anycast_sdn.views.journal import Journal
from anycast_sdn.views.reporting import BURST, MAX_KINDS, WINDOW_S, MoreEvents, Reporting

ENDS = ("c1:1", "c2:2")
OFTEN = LinkUp.often


class Told:
    def __init__(self) -> None:
        self.now = 100.0
        self.events: list[Reported] = []
        self.reporting = Reporting(self._tell, lambda: self.now)

    def _tell(self, event: Event) -> None:
        assert isinstance(event, Reported)
        self.events.append(event)

    def __call__(self, event: Event) -> None:
        self.reporting(event)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(4 * seconds)):
            self.now += 0.25
            self.reporting.tick(self.now)

    def more(self) -> list[MoreEvents]:
        return [event for event in self.events if isinstance(event, MoreEvents)]


def critical(number: int, group: str = "web", edge: str = "ars2") -> ServerHealthChanged:
    server = b"\x0a\x02" + number.to_bytes(2, "big")
    return ServerHealthChanged(edge, server, (group,), HealthStatus.PASSING, HealthStatus.CRITICAL, "arp: silent")


def test_what_is_only_counted_and_what_another_event_says_is_not_told() -> None:
    told = Told()
    told(PacketsDropped("arh1", Drop.NO_BINDING))
    told(ServerHealthChanged("ars2", bytes(4), ("web",), HealthStatus.UNKNOWN, HealthStatus.PASSING, ""))
    told.pass_time(2 * WINDOW_S)
    assert told.events == []


def test_a_link_that_flaps_is_told_a_few_times_and_then_counted_every_minute() -> None:
    told = Told()
    for _ in range(600):  # five minutes
        told(LinkDown(ENDS, "port c1:1 is down"))
        told(LinkUp(ENDS))
        told.pass_time(0.5)
    downs = [event for event in told.events if event.type == "link.down"]
    assert len([event for event in downs if not isinstance(event, MoreEvents)]) == OFTEN
    counted = [event for event in downs if isinstance(event, MoreEvents)]
    assert OFTEN + sum(event.more for event in counted) >= 600 - WINDOW_S * 2
    assert len(counted) in (4, 5)
    assert counted[1].sentence() == "link c1:1–c2:2 is down: port c1:1 is down (… 120 more in the last 60 s)"
    assert counted[1].subject.name == "c1:1-c2:2"


def test_a_kind_that_has_been_quiet_for_a_minute_is_told_again() -> None:
    told = Told()
    told(LinkUp(ENDS))
    told.pass_time(WINDOW_S + 1)
    for _ in range(OFTEN):
        told(LinkUp(ENDS))
    assert told.events == [LinkUp(ENDS)] * (1 + OFTEN)


def test_a_thousand_servers_that_fail_at_once_are_some_events_and_one_with_the_number_of_the_others() -> None:
    told = Told()
    for number in range(1000):
        told(critical(number, ("dns", "web")[number % 2]))
    assert len(told.events) == BURST
    told.pass_time(10)
    [more] = told.more()
    assert (more.type, more.severity, more.more) == ("server.health", Severity.CRITICAL, 1000 - BURST)
    assert more.at_switch == "ars2"
    assert sorted(more.of_groups) == ["dns", "web"]
    assert more.sentence().startswith("950 more of server.health in the last 1 s, of 10.2.0.50, 10.2.0.51, ")


def test_what_happens_at_several_switches_and_to_many_groups_names_none() -> None:
    told = Told()
    for number in range(200):
        told(critical(number, f"g{number}", f"ars{number}"))
    told.pass_time(10)
    [more] = told.more()
    assert (more.at_switch, more.of_groups) == ("", ())


def test_a_flood_that_goes_on_takes_little_of_the_journal_and_loses_no_count() -> None:
    told = Told()
    for number in range(36_000):  # an hour
        told(critical(number % 5000))
        told.pass_time(0.1) if number % 10 else told.pass_time(0.25)
        told.now += 0.1
    told.pass_time(200)
    each = [event for event in told.events if not isinstance(event, MoreEvents)]
    assert len(each) + sum(event.more for event in told.more()) == 36_000
    assert len(told.events) < 9_000


def test_a_peer_that_is_turned_away_again_and_again_is_told_once_a_minute() -> None:
    told = Told()
    for port in range(200):
        told(ConnectionRefused(f"192.0.2.1:{port}", "192.0.2.1", "it is silent", "silent"))
    told.pass_time(WINDOW_S + 1)
    assert [event.sentence() for event in told.events] == [
        "connection from 192.0.2.1:0 closed: it is silent",
        "199 more of switch.refused in the last 60 s, of 192.0.2.1:1, 192.0.2.1:2, 192.0.2.1:3, 192.0.2.1:4, "
        "192.0.2.1:5 and others; the last one: connection from 192.0.2.1:199 closed: it is silent",
    ]


def test_ever_new_kinds_take_no_memory() -> None:
    told = Told()
    for number in range(20 * MAX_KINDS):
        told(LinkUp((f"c1:{number}", "c2:1")))
    assert len(told.reporting._kinds) <= MAX_KINDS + 1


def test_an_event_for_many_has_their_type_in_the_journal() -> None:
    journal = Journal()
    told = Told()
    for number in range(60):
        told(critical(number))
    told.pass_time(2)
    journal(told.events[-1])
    [entry] = journal.after(0)
    assert (entry.type, entry.of_groups) == ("server.health", ("web",))
    shown = json.loads(entry.json)
    assert (shown["severity"], shown["data"]["more"]) == ("critical", 10)
