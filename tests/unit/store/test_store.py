"""Store: what every implementation does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.checks import IcmpCheck, TcpCheck, UdpCheck
from anycast_sdn.core.model import (
    Affinity,
    AnycastGroup,
    AtDeadline,
    Distance,
    Drain,
    GroupValidity,
    Lease,
    OnServerLoss,
    Prefix,
    SelectionSettings,
    Server,
    ServerState,
    packed,
)
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.store.etcd import EtcdStore
from anycast_sdn.store.memory import MemoryStore
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import (
    Change,
    DeleteGroup,
    DeleteServer,
    DrainEdge,
    Outdated,
    PutGroup,
    PutServer,
    ResumeEdge,
    Store,
    Stored,
)
from tests.unit.etcd.fake import FakeEtcd

WEB = AnycastGroup("web", (Prefix.parse("198.18.0.1/32"), Prefix.parse("2001:db8:ffff::1/128")))
SET = AnycastGroup(
    "web",
    WEB.prefixes,
    affinity=Affinity.CLIENT,
    on_server_loss=OnServerLoss.KEEP,
    validity=GroupValidity(udp_s=10, unanswered_s=65535),
    checks=(TcpCheck(port=80, interval_s=1, timeout_s=1), UdpCheck(port=53, dns="www.example.com"), IcmpCheck()),
    min_healthy=2,
    slow_start_s=0.5,
    selection=SelectionSettings(Distance.ANY, 0.7),
)
AS2 = Server(
    packed("10.2.0.10"), 7, ServerState.DRAINING, 100, Lease(30, 600), Drain("d0", 1.7e9), packed("2001:db8:2::10")
)


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store: Store
    match request.param:
        case "memory":
            store = MemoryStore()
        case "sqlite":
            store = SqliteStore(str(tmp_path / "enrolments.db"))
        case _:
            store = EtcdStore(Mirror(FakeEtcd().client(), "/anycast-sdn/pair/"), "etcd")
    yield store
    store.close()


class TestStore:
    def test_the_first_enrolments_are_there_at_the_first_opening(self, store: Store) -> None:
        first, second = replace(SET, servers={AS2.address: AS2}), replace(WEB, name="mail")
        assert store.open([first, second]).groups == {"web": first, "mail": second}

    def test_first_enrolments_enter_once_even_when_all_of_them_have_been_removed(self, store: Store) -> None:
        version = store.open([WEB]).version
        store.change(version, [DeleteGroup("web")])
        assert store.open([WEB]).groups == {}

    def test_each_change_is_in_what_is_stored_and_raises_the_version(self, store: Store) -> None:
        at = store.open().version
        for change, expected in (
            (PutGroup(WEB), WEB),
            (PutServer("web", AS2), AnycastGroup("web", WEB.prefixes, {AS2.address: AS2})),
            (PutGroup(AnycastGroup("web", WEB.prefixes[:1])),
             AnycastGroup("web", WEB.prefixes[:1], {AS2.address: AS2})),
            (PutServer("web", Server(AS2.address)),
             AnycastGroup("web", WEB.prefixes[:1], {AS2.address: Server(AS2.address)})),
            (PutGroup(SET), replace(SET, servers={AS2.address: Server(AS2.address)})),
            (PutGroup(replace(SET, validity=GroupValidity(tcp_s=60))),
             replace(SET, validity=GroupValidity(tcp_s=60), servers={AS2.address: Server(AS2.address)})),
            (PutGroup(WEB), AnycastGroup("web", WEB.prefixes, {AS2.address: Server(AS2.address)})),
            (DeleteServer("web", AS2.address), WEB),
        ):  # fmt: skip
            later = store.change(at, [change])
            assert later > at
            assert store.open() == Stored(later, {"web": expected})
            at = later

    def test_drained_edges_are_stored_beside_the_groups(self, store: Store) -> None:
        drain = Drain("d1", 1.5e9, 60, at_deadline=AtDeadline.KEEP)
        at = store.change(store.open([WEB]).version, [DrainEdge("ars2", drain), DrainEdge("ars3", drain)])
        at = store.change(at, [DrainEdge("ars3", drain._replace(deadline_s=None)), PutServer("web", AS2)])
        web = replace(WEB, servers={AS2.address: AS2})
        assert store.open() == Stored(at, {"web": web}, {"ars2": drain, "ars3": drain._replace(deadline_s=None)})
        at = store.change(at, [ResumeEdge("ars2")])
        assert store.open().edges.keys() == {"ars3"}

    def test_several_changes_are_stored_as_one(self, store: Store) -> None:
        at = store.open().version
        store.change(at, [PutGroup(WEB), PutServer("web", AS2), DeleteGroup("web")])
        assert store.open().groups == {}

    def test_the_servers_of_a_deleted_group_do_not_come_back_with_it(self, store: Store) -> None:
        at = store.open([replace(WEB, servers={AS2.address: AS2})]).version
        at = store.change(at, [DeleteGroup("web")])
        store.change(at, [PutGroup(WEB)])
        assert store.open().groups == {"web": WEB}

    def test_a_group_can_be_deleted_and_enrolled_with_other_servers_in_one_change(self, store: Store) -> None:
        at = store.open([replace(WEB, servers={AS2.address: AS2, b"abcd": Server(b"abcd")})]).version
        store.change(at, [DeleteGroup("web"), PutGroup(SET), PutServer("web", Server(AS2.address, 9))])
        assert store.open().groups == {"web": replace(SET, servers={AS2.address: Server(AS2.address, 9)})}

    def test_a_change_of_a_thousand_servers_is_stored_as_one(self, store: Store) -> None:
        servers = {address: Server(address, 7) for address in (number.to_bytes(4, "big") for number in range(1000))}
        at = store.open([WEB]).version
        at = store.change(at, [PutServer("web", server) for server in servers.values()])
        assert store.open() == Stored(at, {"web": replace(WEB, servers=servers)})
        gone = list(servers)[:500]
        at = store.change(at, [*(DeleteServer("web", address) for address in gone), PutServer("web", AS2)])
        left = {address: server for address, server in servers.items() if address not in gone} | {AS2.address: AS2}
        assert store.open() == Stored(at, {"web": replace(WEB, servers=left)})
        at = store.change(at, [DeleteGroup("web")])
        assert store.open() == Stored(at, {})

    def test_a_change_of_an_outdated_version_changes_nothing_and_returns_what_is_stored(self, store: Store) -> None:
        at = store.open().version
        store.change(at, [PutGroup(WEB)])
        with pytest.raises(Outdated) as caught:
            store.change(at, [DeleteGroup("web")])
        assert caught.value.stored == store.open()
        assert store.open().groups == {"web": WEB}

    def test_own_changes_are_not_reported_to_the_watcher(self, store: Store) -> None:
        reported: list[object] = []
        store.watch(reported.append)
        store.change(store.open().version, [PutGroup(WEB)])
        assert reported == []

    def test_a_store_that_works_has_no_problem(self, store: Store) -> None:
        store.open()
        store.check()
        assert store.problem == ""

    def test_it_can_be_closed_twice(self, store: Store) -> None:
        store.open()
        store.close()
        store.close()


_ADDRESSES = [bytes([10, 2, 0, number]) for number in range(3)]
_CHANGES = st.one_of(
    st.builds(PutGroup, st.sampled_from([WEB, SET, replace(WEB, name="mail")])),
    st.builds(DeleteGroup, st.sampled_from(["web", "mail"])),
    st.builds(
        PutServer, st.sampled_from(["web", "mail"]), st.builds(Server, st.sampled_from(_ADDRESSES), st.integers(0, 9))
    ),
    st.builds(DeleteServer, st.sampled_from(["web", "mail"]), st.sampled_from(_ADDRESSES)),
    st.builds(ResumeEdge, st.just("ars2")),
)


@given(st.lists(_CHANGES, max_size=12))
def test_changes_that_are_made_together_lead_to_the_same_as_one_after_the_other(changes: list[Change]) -> None:
    together, one_by_one = MemoryStore(), MemoryStore()
    together.change(together.open([WEB]).version, changes)
    at = one_by_one.open([WEB]).version
    for change in changes:
        at = one_by_one.change(at, [change])
    assert together.open()[1:] == one_by_one.open()[1:]
