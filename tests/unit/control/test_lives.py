"""The registry: drains, both addresses of a server, several changes at once, and edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from anycast_sdn.core.model import (
    AfterDrain,
    Drain,
    Lease,
    NotFound,
    Prefix,
    Server,
    ServerState,
    packed,
)
from anycast_sdn.description import enrolment
from anycast_sdn.store.memory import MemoryStore
from anycast_sdn.store.store import Change, Outdated, Stored
from tests.unit.operators import AS2, AS2_V6, WEB, Operator, network, service

DRAIN = Drain("d1", 1.7e9, 60, AfterDrain.REMOVE)
BOTH = Server(AS2.address, twin=AS2_V6.address)


@pytest.fixture
def web(tmp_path: Path) -> Operator:
    operator = Operator(tmp_path / "enrolments.db", network())
    operator.registry.put_group(WEB)
    operator.sent.clear()
    yield operator
    operator.store.close()


def servers(operator: Operator):
    return operator.registry.group("web").servers


def drained(server: Server) -> Server:
    return replace(server, state=ServerState.DRAINING, drain=DRAIN)


# ------------------------------------------------------------------------------ drains


def test_a_drain_is_stored_with_its_server(web):
    web.registry.put_server("web", AS2)
    assert web.registry.change_server("web", AS2.address, drained) == drained(AS2)
    assert web.restarted().registry.server("web", AS2.address) == drained(AS2)


def test_a_drain_goes_on_when_other_settings_change_and_ends_with_the_state(web):
    web.registry.put_server("web", drained(AS2))
    for wanted, drain in (
        (Server(AS2.address, 5, ServerState.DRAINING), DRAIN),
        (Server(AS2.address, 5, ServerState.DRAINING, lease=Lease(10)), DRAIN),
        (Server(AS2.address, 5), None),
        (Server(AS2.address, 5, ServerState.DRAINING), None),
    ):
        assert web.registry.put_server("web", wanted) == (replace(wanted, drain=drain), False)
        assert servers(web) == {AS2.address: replace(wanted, drain=drain)}


def test_a_drain_that_comes_between_a_look_and_a_change_is_not_lost():
    """Another controller drains the server at the moment when this one changes its weight."""
    store = MemoryStore()
    ours = Operator(store, network())
    ours.registry.put_group(WEB)
    ours.registry.put_server("web", AS2)
    theirs = Operator(MemoryStore(store), network())
    changes = 0

    def heavier(server: Server) -> Server:
        nonlocal changes
        changes += 1
        if changes == 1:
            theirs.registry.change_server("web", AS2.address, drained)
        return replace(server, weight=9)

    assert ours.registry.change_server("web", AS2.address, heavier) == replace(drained(AS2), weight=9)
    assert changes == 2
    assert servers(ours) == servers(theirs) == {AS2.address: replace(drained(AS2), weight=9)}


# ------------------------------------------------------------------------------ both addresses of a server


class CountingStore(MemoryStore):
    """Notes how many changes were made together."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[int] = []

    def change(self, at: int, changes: Sequence[Change]) -> int:
        self.made.append(len(changes))
        return super().change(at, changes)


@pytest.fixture
def counting() -> Operator:
    operator = Operator(CountingStore(), network())
    operator.registry.put_group(WEB)
    operator.store.made.clear()
    return operator


def test_both_addresses_of_a_server_are_enrolled_changed_and_removed_together(counting):
    registry, made = counting.registry, counting.store.made
    assert registry.put_server("web", BOTH) == (BOTH, True)
    other = Server(AS2_V6.address, twin=AS2.address)
    assert servers(counting) == {AS2.address: BOTH, AS2_V6.address: other}
    registry.put_server("web", Server(AS2_V6.address, 7, lease=Lease(10)))
    assert servers(counting) == {
        AS2.address: replace(BOTH, weight=7, lease=Lease(10)),
        AS2_V6.address: replace(other, weight=7, lease=Lease(10)),
    }
    registry.change_server("web", AS2_V6.address, drained)
    assert {server.drain for server in servers(counting).values()} == {DRAIN}
    registry.delete_server("web", AS2.address)
    assert servers(counting) == {}
    assert made == [2, 2, 2, 2]
    assert len(counting.sent) == 5  # with the group's creation


def test_what_is_as_wanted_already_changes_nothing(counting):
    for _ in range(2):
        counting.registry.put_server("web", BOTH)
        counting.registry.put_server("web", Server(AS2.address))
    assert counting.store.made == [2]


def test_a_server_that_is_enrolled_with_one_address_can_get_the_other_one(web):
    web.registry.put_server("web", AS2)
    web.registry.put_server("web", replace(AS2, twin=AS2_V6.address))
    assert {server.twin for server in servers(web).values()} == {AS2.address, AS2_V6.address}
    assert servers(web.restarted()) == servers(web)


@pytest.mark.parametrize(
    ("one", "other", "error", "reason"),
    [
        ("10.2.0.10", "10.2.0.11", enrolment.InvalidTwin, "are both IPv4"),
        ("2001:db8:2::10", "2001:db8:2::11", enrolment.InvalidTwin, "are both IPv6"),
        ("10.2.0.10", "10.2.0.10", enrolment.InvalidTwin, "are both IPv4"),
        ("10.2.0.10", "2001:db8:9::1", enrolment.ServerOutsideEdges, "in no server subnet"),
        ("10.2.0.10", "2001:db8:2::1", enrolment.NotAHostAddress, "the gateway of"),
    ],
)
def test_addresses_that_cannot_be_those_of_one_server_are_refused(web, one, other, error, reason):
    with pytest.raises(error, match=reason):
        web.registry.put_server("web", Server(packed(one), twin=packed(other)))
    assert (servers(web), web.sent) == ({}, [])


def test_a_second_address_needs_a_prefix_of_its_family(web):
    web.registry.put_group(service("old", Prefix.parse("198.18.9.0/24")))
    with pytest.raises(enrolment.WrongFamily):
        web.registry.put_server("old", BOTH)
    assert web.registry.group("old").servers == {}


def test_a_server_has_no_third_address(web):
    web.registry.put_server("web", BOTH)
    third = packed("2001:db8:2::99")
    for server in (Server(AS2.address, twin=third), Server(packed("10.2.0.99"), twin=AS2_V6.address)):
        with pytest.raises(enrolment.InvalidTwin, match="is enrolled together with") as refused:
            web.registry.put_server("web", server)
        assert refused.value.where == "addresses"
    assert servers(web).keys() == {AS2.address, AS2_V6.address}


def test_the_address_that_a_draining_server_gets_is_drained_with_it(web):
    web.registry.put_server("web", drained(AS2))
    web.registry.put_server("web", Server(AS2_V6.address, state=ServerState.DRAINING, twin=AS2.address))
    assert {server.drain for server in servers(web).values()} == {DRAIN}


# ------------------------------------------------------------------------------ several changes at once


def test_several_servers_are_changed_and_removed_in_one_change_of_the_store(counting):
    registry = counting.registry
    more = [Server(bytes([10, 2, 0, 100 + number])) for number in range(10)]
    for server in more:
        registry.put_server("web", server)
    registry.put_server("web", BOTH)
    counting.store.made.clear()
    changes = {("web", server.address): lambda server: None for server in more}
    changes |= {("web", AS2.address): drained, ("web", AS2_V6.address): lambda server: replace(server, weight=3)}
    changes |= {("gone", AS2.address): drained, ("web", packed("10.2.0.250")): drained}
    registry.change_servers(changes)
    assert counting.store.made == [12]
    assert set(servers(counting).values()) == {
        drained(BOTH), drained(Server(AS2_V6.address, twin=AS2.address)),
    }  # fmt: skip
    registry.change_servers({("web", AS2.address): lambda server: server})
    assert counting.store.made == [12]


def test_changes_that_another_controller_was_faster_with_are_decided_once_more(counting):
    counting.registry.put_server("web", AS2)
    changed = False

    class Faster(Exception):
        pass

    store = counting.store
    inner = store.change

    def change(at: int, changes: Sequence[Change]) -> int:
        nonlocal changed
        if not changed:
            changed = True
            raise Outdated(Stored(at + 5, {"web": WEB}, {}))
        store._stored = Stored(at, *store._stored[1:])
        return inner(at, changes)

    store.change = change
    counting.registry.change_servers({("web", AS2.address): drained})
    assert changed
    assert servers(counting) == {}  # it had been removed


# ------------------------------------------------------------------------------ edges


def test_drained_edges_are_stored_and_handed_over(web):
    assert web.registry.drain_edge("ars2", lambda present: DRAIN) == DRAIN
    assert web.registry.edges == {"ars2": DRAIN}
    assert web.registry.drain_edge("ars2", lambda present: present) == DRAIN
    assert len(web.sent) == 1
    again = web.restarted()
    assert again.registry.edges == {"ars2": DRAIN}
    again.registry.resume_edge("ars2")
    again.registry.resume_edge("ars2")
    assert (again.registry.edges, len(again.sent)) == ({}, 1)
    assert again.restarted().registry.edges == {}


def test_an_edge_that_is_drained_elsewhere_is_known_here():
    store = MemoryStore()
    ours, theirs = Operator(store, network()), Operator(MemoryStore(store), network())
    theirs.registry.drain_edge("ars2", lambda present: DRAIN)
    assert ours.registry.edges == {"ars2": DRAIN}
    assert len(ours.sent) == 1


def test_only_server_edges_can_be_drained(web):
    for edge in ("arh1", "nowhere"):
        with pytest.raises(NotFound, match=r"no server edge '.*'; there are ars2"):
            web.registry.drain_edge(edge, lambda present: DRAIN)
        with pytest.raises(NotFound):
            web.registry.resume_edge(edge)


def test_a_deadline_of_an_edges_drain_is_checked(web):
    for seconds in (-1.0, float("nan"), float("inf")):
        with pytest.raises(enrolment.InvalidSetting):
            web.registry.drain_edge("ars2", lambda present, seconds=seconds: DRAIN._replace(deadline_s=seconds))
    assert web.registry.edges == {}


def test_settings_of_servers_are_checked_by_the_name_of_the_field(web):
    for server, where in (
        (Server(AS2.address, 1001), "weight"),
        (Server(AS2.address, -1), "weight"),
        (Server(AS2.address, capacity=0), "capacity"),
        (Server(AS2.address, lease=Lease(0)), "lease.ttl_s"),
        (Server(AS2.address, lease=Lease(float("nan"))), "lease.ttl_s"),
        (Server(AS2.address, lease=Lease(10, float("inf"))), "lease.deregister_after_s"),
        (Server(AS2.address, state=ServerState.DRAINING, drain=Drain("d", 0, -1)), "deadline_s"),
    ):
        with pytest.raises(enrolment.EnrolmentError) as refused:
            web.registry.put_server("web", server)
        assert refused.value.where == where
    assert (servers(web), web.sent) == ({}, [])
