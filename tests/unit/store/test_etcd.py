"""EtcdStore: several controllers, and an etcd that is away, does not answer, was rebuilt or restored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.model import AnycastGroup, Prefix, Server
from anycast_sdn.etcd.client import Condition, DeleteBelow, Done, EtcdError, Operation, Put
from anycast_sdn.etcd.mirror import DEAF_S
from anycast_sdn.store import etcd_keys
from anycast_sdn.store.etcd import AWAY_S
from anycast_sdn.store.store import (
    DeleteGroup,
    DeleteServer,
    Outdated,
    PutGroup,
    PutServer,
    StoreError,
)
from tests.unit.etcd import fake
from tests.unit.etcd.fake import FakeClient, FakeEtcd, Fault, catch_up
from tests.unit.store.etcd_member import MAIL, ONE, PATH, TWO, WEB, Member, enrolled

LARGE = AnycastGroup("g", tuple(Prefix(number.to_bytes(4, "big"), 32) for number in range(100)))
MANY = [Server(number.to_bytes(4, "big"), 7) for number in range(1, 400)]


@pytest.fixture
def etcd() -> FakeEtcd:
    return FakeEtcd()


class TestSeveralControllers:
    def test_a_change_by_another_one_is_told_and_ones_own_is_not(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(WEB), Member(etcd).opened()
        one.change(PutServer("web", ONE))
        for each in (one, other):
            each.catch_up()
        assert one.told == []
        assert [each.groups for each in other.told] == [{"web": enrolled(WEB, ONE)}]

    def test_a_change_of_what_another_one_has_changed_meanwhile_is_refused_with_what_is_stored(
        self, etcd: FakeEtcd
    ) -> None:
        one, other = Member(etcd).opened(WEB), Member(etcd).opened()
        one.change(PutServer("web", ONE))
        with pytest.raises(Outdated) as caught:
            other.change(DeleteGroup("web"))
        assert caught.value.stored.groups == {"web": enrolled(WEB, ONE)}
        other.at = caught.value.stored.version
        other.change(PutServer("web", TWO))
        one.catch_up()
        assert one.groups() == {"web": enrolled(WEB, ONE, TWO)}

    def test_what_another_one_has_changed_back_before_the_mirror_had_it_is_seen(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(WEB), Member(etcd).opened()
        one.change(PutServer("web", ONE))
        other.catch_up()
        other.change(DeleteServer("web", ONE.address))
        with pytest.raises(Outdated) as caught:  # it reads all anew, and nothing of it has changed for its mirror
            one.change(PutGroup(MAIL))
        assert caught.value.stored.groups == {"web": WEB}

    def test_groups_that_have_not_changed_are_the_same_values(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(WEB, MAIL), Member(etcd).opened()
        before = other.groups()
        one.change(PutServer("web", ONE))
        other.catch_up()
        assert other.groups()["mail"] is before["mail"]

    def test_first_enrolments_enter_once_where_two_start_at_the_same_time(self, etcd: FakeEtcd) -> None:
        one = Member(etcd)
        group = enrolled(WEB, *MANY)

        class Second(FakeClient):
            """Before its third request another controller opens the store, and an operator removes a server."""

            def transact(
                self, conditions: Sequence[Condition], operations: Sequence[Operation], otherwise: Sequence[str] = ()
            ) -> Done:
                if self.requests == 3:
                    one.opened(group)
                    one.change(DeleteServer("web", MANY[0].address))
                return super().transact(conditions, operations, otherwise)

        other = Member(etcd, Second(etcd)).opened(group)
        assert other.groups() == one.groups() == {"web": enrolled(WEB, *MANY[1:])}

    def test_first_enrolments_that_were_interrupted_enter_at_the_next_start(self, etcd: FakeEtcd) -> None:
        broken = Member(etcd)
        broken.client.fail(None, None, Fault.UNREACHABLE)
        with pytest.raises(StoreError):
            broken.opened(enrolled(MAIL, *MANY))
        assert Member(etcd).opened(WEB).groups() == {"web": WEB}


class TestLargeChanges:
    def test_others_see_all_of_it_or_nothing(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(WEB), Member(etcd).opened()
        one.client.fail(None, None, None, Fault.UNREACHABLE)  # stored; while its keys follow, the connection breaks
        one.change(*(PutServer("web", server) for server in MANY))
        other.catch_up()
        assert [each.groups for each in other.told] == [{"web": enrolled(WEB, *MANY)}]
        assert PATH + "pending" in etcd.values
        assert Member(etcd).opened().groups() == other.groups()

    def test_another_controller_completes_it_before_it_changes_anything(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(WEB), Member(etcd).opened()
        one.client.fail(None, None, None, Fault.UNREACHABLE)
        one.change(*(PutServer("web", server) for server in MANY))
        other.catch_up()
        other.change(DeleteServer("web", MANY[0].address))
        assert PATH + "pending" not in etcd.values
        one.store.check()
        one.catch_up()
        assert one.groups() == other.groups() == Member(etcd).opened().groups() == {"web": enrolled(WEB, *MANY[1:])}

    def test_the_check_completes_it(self, etcd: FakeEtcd) -> None:
        one = Member(etcd).opened(WEB)
        one.client.fail(None, None, None, Fault.UNREACHABLE)
        one.change(*(PutServer("web", server) for server in MANY))
        one.catch_up()
        one.store.check()
        assert PATH + "pending" not in etcd.values
        assert len([key for key in etcd.values if "/servers/web/" in key]) == len(MANY)

    def test_a_group_with_its_servers_is_one_operation(self, etcd: FakeEtcd) -> None:
        one = Member(etcd).opened(enrolled(WEB, *MANY))
        before = etcd.revision
        one.change(DeleteGroup("web"))
        assert etcd.revision == before + 1
        assert not [key for key in etcd.values if "/web" in key]


    def test_many_bytes_are_put_in_parts_too(self, etcd: FakeEtcd, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(etcd_keys, "MOST_BYTES", 20_000)
        monkeypatch.setattr(fake, "MOST_BYTES", 30_000)
        large = [replace(LARGE, name=f"g{number}") for number in range(60)]  # 70 kB in all
        one = Member(etcd).opened(*large)
        other = Member(etcd).opened()
        assert len(other.groups()) == 60
        one.change(*(PutGroup(replace(each, min_healthy=2)) for each in large))
        other.catch_up()
        assert {each.min_healthy for each in other.groups().values()} == {2}
        assert one.groups() == other.groups() == Member(etcd).opened().groups()
        etcd.rebuild()
        one.catch_up()
        assert one.store.problem == ""
        assert Member(etcd).opened().groups() == one.groups()

    def test_what_etcd_cannot_take_is_refused_with_its_limit_and_nothing_is_changed(
        self, etcd: FakeEtcd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = Member(etcd).opened(WEB)
        before = etcd.saved()
        prefixes = tuple(Prefix((0x20010DB8 << 96 | number).to_bytes(16, "big"), 128) for number in range(60_000))
        with pytest.raises(StoreError, match=r"groups/mail: its settings have 1,\d+,\d+ bytes, and etcd takes 1,0"):
            one.change(PutGroup(replace(MAIL, prefixes=prefixes)))
        monkeypatch.setattr(etcd_keys, "MOST_BYTES", 1000)
        with pytest.raises(StoreError, match=r"of 399 groups and servers has 1,\d+ bytes, compressed, and etcd takes"):
            one.change(*(PutServer("web", server) for server in MANY))
        assert etcd.saved() == before
        assert one.groups() == {"web": WEB}
        one.change(PutServer("web", ONE))

    def test_an_etcd_that_takes_less_refuses_it_and_nothing_is_changed(
        self, etcd: FakeEtcd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = Member(etcd).opened(WEB)
        monkeypatch.setattr(fake, "MOST_BYTES", 1000)
        with pytest.raises(StoreError, match="request is too large"):
            one.change(*(PutServer("web", server) for server in MANY))
        assert (one.groups(), one.store.problem) == ({"web": WEB}, "")
        one.change(PutServer("web", ONE))


class TestUnanswered:
    @pytest.mark.parametrize("fault", [Fault.APPLIED, Fault.NOT_APPLIED, Fault.LATE])
    def test_a_change_that_is_not_answered_is_made_once(self, etcd: FakeEtcd, fault: Fault) -> None:
        one = Member(etcd).opened(WEB)
        one.client.fail(fault)
        one.change(PutServer("web", ONE))
        one.change(PutServer("web", TWO))
        etcd.late()
        one.catch_up()
        assert (one.groups(), one.told) == ({"web": enrolled(WEB, ONE, TWO)}, [])

    def test_it_is_found_behind_what_others_have_changed_since(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(WEB), Member(etcd).opened()

        class Meanwhile:
            def __call__(self, seconds: float) -> None:
                if not other.told:
                    other.catch_up()
                    other.change(PutGroup(MAIL))
                    other.change(DeleteGroup("mail"))

        one.mirror.pause = Meanwhile()
        one.client.fail(Fault.APPLIED)
        one.change(PutServer("web", ONE))
        one.catch_up()
        assert one.groups() == {"web": enrolled(WEB, ONE)}

    def test_it_is_refused_where_others_were_first(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(WEB), Member(etcd).opened()
        one.mirror.pause = lambda seconds: None if other.at > one.at else other.change(PutServer("web", TWO))
        one.client.fail(Fault.LATE)
        with pytest.raises(Outdated) as caught:
            one.change(PutServer("web", ONE))
        etcd.late()
        assert caught.value.stored.groups == one.groups() == {"web": enrolled(WEB, TWO)}

    def test_an_etcd_that_never_answers_is_given_up_after_some_seconds_and_what_was_stored_is_told_later(
        self, etcd: FakeEtcd
    ) -> None:
        one = Member(etcd).opened(WEB)
        one.client.fault = Fault.APPLIED
        began = etcd.now
        with pytest.raises(StoreError, match="it is not known whether the change was stored"):
            one.change(PutServer("web", ONE))
        assert 2 <= etcd.now - began <= 3
        one.client.fault = None
        one.catch_up()
        assert [each.groups for each in one.told] == [{"web": enrolled(WEB, ONE)}]

    @given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([None, *Fault]), st.integers(0, 5)), max_size=12))
    def test_whatever_becomes_of_requests_nothing_is_lost_or_made_twice(
        self, tries: list[tuple[int, Fault | None, int]]
    ) -> None:
        etcd = FakeEtcd()
        members = [Member(etcd).opened(WEB), Member(etcd).opened()]
        wanted: dict[bytes, Server] = {}
        for number, (who, fault, late) in enumerate(tries):
            server = Server(bytes([10, 2, 0, number]), number)
            if fault:
                members[who].client.fail(fault)
            try:
                members[who].change(PutServer("web", server))
                wanted[server.address] = server
            except Outdated as outdated:
                members[who].at = outdated.stored.version
            except StoreError:
                assert fault is Fault.UNREACHABLE
            if late == 0:
                etcd.late()
        etcd.late()
        for member in members:
            member.catch_up()
            assert member.groups() == {"web": replace(WEB, servers=wanted)}


class TestAway:
    def test_a_change_is_refused_and_nothing_is_changed(self, etcd: FakeEtcd) -> None:
        one = Member(etcd).opened(WEB)
        one.client.fail(Fault.UNREACHABLE)
        with pytest.raises(StoreError, match="etcd: fake: Connection refused"):
            one.change(PutServer("web", ONE))
        assert one.groups() == {"web": WEB}
        one.change(PutServer("web", TWO))

    def test_while_it_is_away_changes_are_refused_at_once_and_the_problem_is_said(self, etcd: FakeEtcd) -> None:
        one = Member(etcd).opened(WEB)
        etcd.lose_quorum()
        one.catch_up()
        assert one.store.problem == "etcd: fake: timed out"
        etcd.advance(AWAY_S)
        began, requests = etcd.now, one.client.requests
        with pytest.raises(StoreError, match="etcd: fake: timed out"):
            one.change(PutServer("web", ONE))
        assert (etcd.now, one.client.requests) == (began, requests)

    def test_an_etcd_that_is_full_is_said_as_long_as_it_is(self, etcd: FakeEtcd) -> None:
        one = Member(etcd).opened(WEB)
        etcd.is_full = True
        for _ in range(2):
            with pytest.raises(StoreError, match="database space exceeded"):
                one.change(PutServer("web", ONE))
            one.mirror.load()  # it can be read
            assert "database space exceeded" in one.store.problem
        etcd.is_full = False
        one.client.transact((), [Put(PATH + "canary/one", "1")])  # as each member does all the time
        assert not one.store.problem
        one.change(PutServer("web", ONE))
        assert one.groups() == {"web": enrolled(WEB, ONE)}

    def test_a_change_waits_for_an_etcd_that_has_just_gone(self, etcd: FakeEtcd) -> None:
        one = Member(etcd).opened(WEB)
        etcd.restart()
        catch_up(one.mirror)
        assert one.store.problem

        def pause(seconds: float) -> None:
            etcd.advance(seconds)
            catch_up(one.mirror)

        one.mirror.pause = pause
        one.change(PutServer("web", ONE))
        assert one.groups() == {"web": enrolled(WEB, ONE)}

    def test_a_deaf_watch_is_noticed(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(WEB), Member(etcd).opened()
        other.client.is_deaf = True
        one.change(PutServer("web", ONE))
        etcd.advance(DEAF_S + 0.1)
        other.catch_up()
        assert other.groups() == {"web": enrolled(WEB, ONE)}


class TestRebuilt:
    def test_enrolments_that_vanish_go_on_and_are_written_back(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(enrolled(WEB, *MANY)), Member(etcd).opened()
        etcd.rebuild()
        one.catch_up()
        other.catch_up()
        for each in (one, other, Member(etcd).opened(MAIL)):
            assert (each.groups(), each.store.problem) == ({"web": enrolled(WEB, *MANY)}, "")
        other.change(PutGroup(MAIL))
        one.catch_up()
        one.change(DeleteGroup("web"))
        other.catch_up()
        assert one.groups() == other.groups() == {"mail": MAIL}

    def test_until_that_succeeds_it_says_so_and_refuses_changes(self, etcd: FakeEtcd) -> None:
        one = Member(etcd).opened(WEB)
        etcd.rebuild()
        one.client.fail(None, Fault.UNREACHABLE)
        one.catch_up()
        assert "holds no enrolments any more: this controller goes on with those that it has" in one.store.problem
        with pytest.raises(StoreError, match="holds no enrolments any more"):
            one.change(PutServer("web", ONE))
        one.store.check()
        assert one.store.problem == ""
        one.change(PutServer("web", ONE))

    def test_writing_back_is_tried_again_when_it_was_not_answered(
        self, etcd: FakeEtcd, caplog: pytest.LogCaptureFixture
    ) -> None:
        one = Member(etcd).opened(WEB)
        etcd.rebuild()
        one.client.fail(None, None, None)  # it reads, begins and writes a group; the last answer never comes
        one.client.fault = Fault.NOT_APPLIED
        one.catch_up()
        one.store.check()
        assert "internal error" not in caplog.text
        one.client.fault = None
        one.catch_up()
        one.store.check()
        assert (one.store.problem, Member(etcd).opened(MAIL).groups()) == ("", {"web": WEB})

    def test_one_controller_writes_back_and_another_one_completes_it(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(enrolled(WEB, *MANY)), Member(etcd).opened()
        etcd.rebuild()
        one.client.fail(None, None, None, Fault.UNREACHABLE)  # it reads, begins, and then its connection breaks
        one.catch_up()
        one.client.fault = Fault.UNREACHABLE
        other.catch_up()
        assert PATH + "version" not in etcd.values
        other.store.check()
        one.client.fault = None
        assert other.store.problem == ""
        for each in (one, other, Member(etcd).opened(MAIL)):
            each.catch_up()
            assert (each.groups(), each.store.problem) == ({"web": enrolled(WEB, *MANY)}, "")

    def test_one_that_knows_more_than_was_written_back_writes_that(self, etcd: FakeEtcd) -> None:
        one, behind = Member(etcd).opened(enrolled(WEB, *MANY)), Member(etcd).opened()
        behind.client.fault = Fault.UNREACHABLE
        behind.catch_up()
        one.change(DeleteServer("web", MANY[0].address), PutServer("web", ONE))
        one.catch_up()
        etcd.rebuild()
        behind.client.fault = None
        behind.catch_up()
        one.catch_up()
        behind.catch_up()
        for each in (one, behind, Member(etcd).opened(MAIL)):
            assert (each.groups(), each.store.problem) == ({"web": enrolled(WEB, *MANY[1:], ONE)}, "")

    def test_a_controller_that_starts_meanwhile_waits_for_what_is_written_back(self, etcd: FakeEtcd) -> None:
        one, joining = Member(etcd).opened(WEB), Member(etcd)
        etcd.rebuild()
        one.client.fail(None, None, Fault.UNREACHABLE)
        one.catch_up()

        def pause(seconds: float) -> None:
            etcd.advance(seconds)
            one.store.check()

        joining.mirror.pause = pause
        assert joining.opened(MAIL).groups() == {"web": WEB}

    def test_keys_that_were_deleted_by_hand_are_written_back(self, etcd: FakeEtcd) -> None:
        one = Member(etcd).opened(WEB)
        etcd.transact((), [DeleteBelow(PATH)])
        one.catch_up()
        assert Member(etcd).opened(MAIL).groups() == {"web": WEB}

    def test_enrolments_of_another_origin_replace_nothing(self, etcd: FakeEtcd) -> None:
        one = Member(etcd).opened(WEB)
        etcd.rebuild()
        Member(etcd).opened(MAIL)
        one.catch_up()
        assert (one.groups(), one.told) == ({"web": WEB}, [])
        assert "holds enrolments of another origin" in one.store.problem
        with pytest.raises(StoreError, match="another origin"):
            one.change(PutServer("web", ONE))
        assert Member(etcd).opened().groups() == {"mail": MAIL}

    def test_an_older_state_counts_and_is_told(self, etcd: FakeEtcd, caplog: pytest.LogCaptureFixture) -> None:
        one = Member(etcd).opened(WEB)
        saved = etcd.saved()
        one.change(PutServer("web", ONE))
        one.change(PutGroup(MAIL))
        one.catch_up()
        etcd.restore(saved)
        one.catch_up()
        assert [each.groups for each in one.told] == [{"web": WEB}]
        assert "restored from an older state: 1 group and 0 servers now, 2 groups and 1 server before" in caplog.text
        one.change(PutServer("web", TWO))
        assert Member(etcd).opened().groups() == {"web": enrolled(WEB, TWO)}


def test_an_etcd_that_cannot_be_read_at_the_start_is_an_error(etcd: FakeEtcd) -> None:
    one = Member(etcd)
    one.client.fault = Fault.UNREACHABLE
    with pytest.raises(StoreError, match="Connection refused"):
        one.opened()
    with pytest.raises(EtcdError):
        one.mirror.load()
