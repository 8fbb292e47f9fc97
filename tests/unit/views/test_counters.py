"""views.counters describes just what the code counts (M34)."""

from __future__ import annotations

import pytest

from anycast_sdn.core import events, network_events, server_events
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.events import Drop, Fault
from anycast_sdn.openflow.frames import REASONS
from anycast_sdn.openflow.pipeline import DROPS
from anycast_sdn.views import counters
from anycast_sdn.views.counters import Counters, counted

EVERY_EVENT = (
    *(events.PacketsDropped("s1", reason) for reason in Drop),
    *(events.FrameMalformed("s1", reason) for reason in sorted(REASONS)),
    events.RuleRefused("s1"),
    events.BindingNotAdopted("s1", 7),
    events.PortsHeldBack("s1", 1),
    events.ChangeUnconfirmed("s1"),
    server_events.ServerLost("s1", bytes(4), 9),
    server_events.ServerReturned("s1", bytes(4)),
    events.RulesRepaired("s1", Fault.MISSING, 1),
)
_SERVER = ("s1", "web", bytes(4))
NOT_COUNTED = (
    server_events.ServerEnrolled(*_SERVER),
    server_events.ServerChanged(*_SERVER, ("weight 1 → 5",)),
    server_events.ServerRemoved(*_SERVER),
    server_events.ServerDraining(*_SERVER, "4f2a", 60.0),
    server_events.ServerDrained(*_SERVER),
    server_events.LeaseExpired(*_SERVER, None),
    server_events.LeaseRenewed(*_SERVER),
    server_events.EdgeDraining("s1", "4f2a", None),
    server_events.EdgeResumed("s1"),
    server_events.OperationEnded("s1", "", "4f2a", "drain of edge s1", True, ""),
    network_events.PoolLow("s1", "ipv4", 20, 254, 12.5),
    network_events.PoolExhausted("s1", "ipv6", 254, 200, 54),
    network_events.RangeExhausted("s1", "ipv6"),
    server_events.ServerHealthChanged("s1", bytes(4), ("web",), HealthStatus.PASSING, HealthStatus.CRITICAL, "refused"),
)


def names_in_code() -> set[str]:
    """All counters: of the switches' own rules, and of events."""
    return {*DROPS.values(), *(counted(event)[0] for event in EVERY_EVENT)} - {"repaired"}  # shown beside the drops


def test_each_class_of_counted_events_is_tested_here() -> None:
    assert {type(event) for event in EVERY_EVENT} == set(counters.COUNTED)


@pytest.mark.parametrize("event", NOT_COUNTED, ids=lambda event: type(event).__name__)
def test_levels_and_the_lives_of_servers_are_not_counted(event: events.Event) -> None:
    counts = Counters()
    counts(event)
    assert (counts.drops, counts.repairs) == ({}, {})


@pytest.mark.parametrize("event", EVERY_EVENT, ids=lambda event: counted(event)[0])
def test_an_event_is_counted_at_its_switch_alone(event: events.Event) -> None:
    counts = Counters()
    counts(event)
    counts(event)
    name, number = counted(event)
    if isinstance(event, events.RulesRepaired):
        assert (counts.drops, counts.repairs) == ({}, {"s1": {event.fault: 2}})
    else:
        assert (counts.drops, counts.repairs) == ({"s1": {name: 2 * number}}, {})


def test_an_event_about_several_packets_counts_them_all() -> None:
    counts = Counters()
    counts(events.PacketsDropped("s1", Drop.UNKNOWN_SOURCE, 5))
    counts(events.PortsHeldBack("s1", 3))
    assert counts.drops["s1"] == {"unknown_source": 5, "port_held_back": 3}


def test_every_counter_has_a_meaning() -> None:
    assert not names_in_code() - counters.COUNTERS.keys()


def test_every_meaning_has_a_counter() -> None:
    assert not counters.COUNTERS.keys() - names_in_code()


def test_meanings_are_sentences_and_names_are_unique() -> None:
    parts = (counters.IN_THE_SWITCH, counters.OF_FLOWS, counters.OF_HOSTS, counters.OF_SWITCHES, counters.OF_FRAMES)
    assert len(counters.COUNTERS) == sum(map(len, parts))
    for name, meaning in counters.COUNTERS.items():
        for text in meaning:
            assert text[0].isupper() or text.startswith("`"), name
            assert text.endswith((".", "?")), name
            assert "|" not in text, f"{name}: a table's cell"
