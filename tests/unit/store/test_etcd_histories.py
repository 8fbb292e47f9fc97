"""EtcdStore: whatever happens to requests and to etcd, controllers agree in the end, and no change is lost."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from anycast_sdn.core.model import AnycastGroup, Prefix, Server
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.store.etcd import EtcdStore
from anycast_sdn.store.memory import MemoryStore
from anycast_sdn.store.store import (
    Change,
    DeleteGroup,
    DeleteServer,
    Outdated,
    PutGroup,
    PutServer,
    Stored,
    StoreError,
)
from tests.unit.etcd.fake import FakeEtcd, Fault, catch_up

WEB = AnycastGroup("web", (Prefix.parse("198.18.0.1/32"),))
MAIL = AnycastGroup("mail", (Prefix.parse("198.18.0.2/32"),))
MANY = [Server(number.to_bytes(4, "big"), 7) for number in range(1, 200)]
FEW = [Server(number.to_bytes(4, "big"), 3) for number in (1, 2, 1000)]

CHANGES: dict[str, list[Change]] = {
    "put one": [PutServer("web", FEW[0])],
    "put another": [PutServer("web", FEW[1]), PutServer("mail", FEW[2])],
    "remove one": [DeleteServer("web", FEW[0].address)],
    "put many": [PutServer("web", server) for server in MANY],
    "remove many": [DeleteServer("web", server.address) for server in MANY[:150]],
    "remove a group": [DeleteGroup("web")],
    "put a group": [PutGroup(WEB)],
    "put both groups anew": [DeleteGroup("web"), PutGroup(WEB), PutGroup(MAIL), PutServer("web", FEW[2])],
}
FAULTS = st.lists(st.sampled_from([None, *Fault]), max_size=4)
STEPS: st.SearchStrategy[tuple[int, str, list[Fault | None]]] = st.one_of(
    st.tuples(st.integers(0, 2), st.sampled_from(sorted(CHANGES)), FAULTS),
    st.tuples(st.integers(0, 2), st.sampled_from(["follow", "check", "late"]), st.just([])),
    st.tuples(st.integers(0, 2), st.sampled_from(["rebuild", "restart"]), FAULTS),
)


class Member:
    """``stored``: as its registry has it."""

    def __init__(self, etcd: FakeEtcd) -> None:
        self.client = etcd.client()
        self.mirror = Mirror(self.client, "/anycast-sdn/pair/", etcd.advance, lambda: etcd.now)
        self.store = EtcdStore(self.mirror, "etcd")
        self.store.watch(self._take)
        self.stored = self.store.open([WEB, MAIL])

    def change(self, changes: list[Change]) -> None:
        version = self.store.change(self.stored.version, changes)
        if version > self.stored.version:
            self._take(Stored(version, after(self.stored, changes).groups))

    def _take(self, stored: Stored) -> None:
        assert stored.version > self.stored.version
        self.stored = stored


def after(stored: Stored, changes: list[Change]) -> Stored:
    memory = MemoryStore()
    at = memory.open(stored.groups.values()).version
    memory.change(at, changes)
    return memory.open()


@settings(max_examples=60, derandomize=True)
@given(st.lists(STEPS, max_size=25))
def test_in_the_end_all_controllers_have_what_was_stored(  # noqa: C901
    steps: list[tuple[int, str, list[Fault | None]]],
) -> None:
    etcd = FakeEtcd()
    members = [Member(etcd) for _ in range(3)]
    wanted = members[0].stored

    def follow(*which: Member) -> None:
        for _ in range(4):
            etcd.put("/anycast-sdn/pair/canary/x", "")
            for member in which:
                catch_up(member.mirror)
                member.store.check()

    for who, what, faults in steps:
        member = members[who]
        member.client.fail(*faults)
        match what:
            case "follow":
                catch_up(member.mirror)
            case "check":
                member.store.check()
            case "late":
                etcd.late()
            case "restart":
                etcd.restart()
            case "rebuild":
                member.client.reset()
                etcd.late()
                follow(member)  # it knows all, and perhaps it alone
                etcd.rebuild()
                follow(*(each for each in members if each is not member))
                for each in members:
                    each.client.reset()
                follow(*members)
            case _:
                try:
                    member.change(CHANGES[what])
                    wanted = after(wanted, CHANGES[what])
                except Outdated as outdated:
                    if outdated.stored.version > member.stored.version:
                        member.stored = outdated.stored
                except StoreError:
                    pass
    for member in members:
        member.client.reset()
    etcd.late()
    follow(*members)
    for member in (*members, Member(etcd)):
        assert member.store.problem == ""
        assert member.stored.groups == member.store.open().groups == wanted.groups
    assert "/anycast-sdn/pair/pending" not in etcd.values
    members[0].change([PutServer("mail", replace(FEW[0], weight=9))])
