"""Notes: what the leader leaves to the one after it."""

from __future__ import annotations

from collections.abc import Collection

from anycast_sdn.cluster.etcd_notes import EtcdNotes
from anycast_sdn.etcd.mirror import Mirror
from tests.unit.etcd.fake import FakeClient, FakeEtcd, Fault, catch_up

PATH = "/anycast-sdn/test/"


class Member:
    def __init__(self, etcd: FakeEtcd, id: str) -> None:
        self.client: FakeClient = etcd.client()
        self.mirror = Mirror(self.client, PATH, lambda seconds: None)
        self.notes = EtcdNotes(self.mirror, id)
        self.told: list[str] = []
        self.notes.watch(self._changed)
        self.catch_up()

    def catch_up(self) -> None:
        catch_up(self.mirror)

    def _changed(self, keys: Collection[str]) -> None:
        self.told += keys


class Pair:
    """Two members, of which the first leads."""

    def __init__(self) -> None:
        self.etcd = FakeEtcd()
        self.lead("first")
        self.first, self.second = Member(self.etcd, "first"), Member(self.etcd, "second")

    def lead(self, member: str) -> None:
        self.etcd.put(f"{PATH}leader", member)

    def catch_up(self) -> None:
        for _ in range(2):
            self.first.catch_up()
            self.second.catch_up()


def test_what_the_leader_notes_is_known_to_it_at_once_and_to_the_others_soon() -> None:
    pair = Pair()
    pair.first.notes.put("links/a", "7")
    assert pair.first.notes.get("links/a") == "7"
    assert pair.first.notes.below("links/") == {"a": "7"}
    assert pair.second.notes.get("links/a") is None
    pair.first.notes.flush()
    assert pair.first.notes.get("links/a") == "7"  # before etcd has told of it
    pair.catch_up()
    assert pair.second.notes.below("links/") == {"a": "7"}
    assert "links/a" in pair.second.told
    pair.first.notes.put("links/a", None)
    pair.first.notes.flush()
    pair.catch_up()
    assert pair.first.notes.get("links/a") is pair.second.notes.get("links/a") is None


def test_what_is_so_already_is_not_written() -> None:
    pair = Pair()
    pair.first.notes.put("links/a", "7")
    pair.first.notes.flush()
    before = pair.etcd.revision
    pair.first.notes.put("links/a", "7")
    pair.first.notes.flush()
    pair.catch_up()
    pair.first.notes.put("links/a", "7")
    pair.first.notes.flush()
    assert pair.etcd.revision == before


def test_while_etcd_is_away_notes_wait() -> None:
    pair = Pair()
    pair.first.client.fault = Fault.UNREACHABLE
    pair.first.notes.put("links/a", "7")
    pair.first.notes.flush()
    pair.first.notes.put("links/a", "8")
    pair.first.notes.flush()
    assert pair.first.notes.get("links/a") == "8"
    pair.first.client.fault = None
    pair.first.notes.flush()
    pair.catch_up()
    assert pair.second.notes.get("links/a") == "8"


def test_an_answer_that_was_lost_makes_no_difference() -> None:
    for fault in (Fault.APPLIED, Fault.NOT_APPLIED):
        pair = Pair()
        pair.first.client.fail(fault)
        pair.first.notes.put("links/a", "7")
        pair.first.notes.flush()
        pair.first.notes.flush()
        pair.catch_up()
        assert pair.second.notes.get("links/a") == "7"


def test_a_former_leader_writes_nothing_and_forgets_what_it_wanted_to() -> None:
    pair = Pair()
    pair.first.notes.put("links/a", "7")
    pair.lead("second")  # the first has not heard of it
    pair.first.notes.flush()
    assert f"{PATH}links/a" not in pair.etcd.values
    pair.catch_up()
    pair.second.notes.put("links/a", "9")
    pair.second.notes.flush()
    pair.first.notes.flush()
    pair.catch_up()
    assert pair.first.notes.get("links/a") == pair.second.notes.get("links/a") == "9"


def test_many_notes_take_several_transactions() -> None:
    pair = Pair()
    for number in range(250):
        pair.first.notes.put(f"announced/{number}", "[]")
    pair.first.notes.flush()
    pair.catch_up()
    assert len(pair.second.notes.below("announced/")) == 250


def test_who_does_not_lead_keeps_its_notes_until_it_is_known_who_does() -> None:
    pair = Pair()
    pair.etcd.rebuild()
    pair.catch_up()
    pair.first.notes.put("links/a", "7")
    pair.first.notes.flush()
    assert pair.first.notes.get("links/a") == "7"
    pair.lead("first")
    pair.catch_up()
    pair.first.notes.flush()
    assert pair.etcd.values[f"{PATH}links/a"].text == "7"
