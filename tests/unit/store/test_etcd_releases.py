"""EtcdStore: controllers of several releases, and what an earlier or a later one has written."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from anycast_sdn.etcd.client import Delete, Put
from anycast_sdn.store import encoding
from anycast_sdn.store.store import (
    DeleteGroup,
    Outdated,
    PutGroup,
    PutServer,
    StoreError,
)
from tests.unit.etcd.fake import FakeEtcd
from tests.unit.store.etcd_member import MAIL, ONE, PATH, TWO, WEB, Member, enrolled


@pytest.fixture
def etcd() -> FakeEtcd:
    return FakeEtcd()


class TestOfAnotherRelease:
    def test_a_later_schema_is_refused(self, etcd: FakeEtcd) -> None:
        Member(etcd).opened(WEB)
        etcd.put(PATH + "meta/schema", "3")
        with pytest.raises(StoreError, match="etcd: has schema version 3, this release reads up to 2: use the release"):
            Member(etcd).opened()

    @pytest.mark.parametrize("schema", ["1", "what?", "-1", "²"])
    def test_one_that_is_too_old_or_none_is_refused(self, etcd: FakeEtcd, schema: str) -> None:
        Member(etcd).opened(WEB)
        etcd.put(PATH + "meta/schema", schema)
        advice = "upgrade by way of an earlier release" if schema == "1" else "use the release that wrote it"
        with pytest.raises(StoreError, match=f"has schema version {re.escape(schema)}, this release reads .*{advice}"):
            Member(etcd, known=(2, 3)).opened()

    def test_a_later_release_runs_beside_this_one_until_the_schema_is_raised(self, etcd: FakeEtcd) -> None:
        one, later = Member(etcd, known=(1,)).opened(WEB), Member(etcd).opened()
        later.change(PutServer("web", ONE))
        one.catch_up()
        one.change(PutServer("web", TWO))
        etcd.put(PATH + "meta/schema", "2")
        etcd.put(PATH + "groups/web", '{"later": 1}')
        one.catch_up()
        assert one.groups() == {"web": enrolled(WEB, ONE, TWO)}
        with pytest.raises(StoreError, match="has schema version 2"):
            one.change(DeleteGroup("web"))

    def test_a_change_that_crosses_the_raising_of_the_schema_is_refused(self, etcd: FakeEtcd) -> None:
        one = Member(etcd, known=(1,)).opened(WEB)
        etcd.put(PATH + "meta/schema", "2")
        with pytest.raises((Outdated, StoreError)):
            one.change(DeleteGroup("web"))
        assert PATH + "groups/web" in etcd.values

    def test_a_setting_of_a_later_schema_waits_for_it(
        self, etcd: FakeEtcd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        earlier = Member(etcd, known=(1,)).opened(WEB)
        earlier_text = etcd.values[PATH + "groups/web"].text
        monkeypatch.setattr(encoding, "LATER", {encoding._Group: {"min_healthy": 2}})
        later = Member(etcd).opened()
        later.change(PutGroup(MAIL))
        assert "min_healthy" in earlier_text
        assert "min_healthy" not in etcd.values[PATH + "groups/mail"].text
        earlier.catch_up()
        assert earlier.groups() == later.groups() == {"mail": MAIL, "web": WEB}
        with pytest.raises(StoreError, match="min_healthy cannot be set yet: it needs schema 2 of etcd, which has 1"):
            later.change(PutGroup(replace(WEB, min_healthy=2)))
        assert later.groups()["web"] == WEB
        etcd.put(PATH + "meta/schema", "2")
        later.catch_up()
        later.change(PutGroup(replace(WEB, min_healthy=2)))
        assert "min_healthy" in etcd.values[PATH + "groups/web"].text
        assert Member(etcd).opened().groups() == later.groups()

    def test_an_etcd_that_was_rebuilt_gets_the_schema_that_it_had(self, etcd: FakeEtcd) -> None:
        Member(etcd, known=(1,)).opened(WEB)
        later = Member(etcd).opened()
        etcd.rebuild()
        later.catch_up()
        assert etcd.values[PATH + "meta/schema"].text == "1"
        etcd.rebuild()
        Member(etcd).opened(WEB)
        assert etcd.values[PATH + "meta/schema"].text == "2"

    def test_what_is_not_ours_replaces_nothing_and_is_named(self, etcd: FakeEtcd) -> None:
        one, other = Member(etcd).opened(WEB), Member(etcd).opened()
        etcd.transact((), [Put(PATH + "groups/web", "what?"), Put(PATH + "version", "x")])
        one.catch_up()
        assert (one.groups(), one.told) == ({"web": WEB}, [])
        assert "holds what is not ours: groups/web" in one.store.problem
        with pytest.raises(StoreError, match="holds what is not ours: groups/web"):
            Member(etcd).opened()
        etcd.transact((), [Delete(PATH + "groups/web"), Put(PATH + "version", "y")])
        other.catch_up()
        assert (other.groups(), other.store.problem) == ({}, "")
