"""The registry: what is refused, what is stored, and what the switches get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from anycast_sdn.control import registry as registry_module
from anycast_sdn.control.registry import AlreadyExists, LimitReached
from anycast_sdn.core.model import (
    Affinity,
    AnycastGroup,
    ConfigurationError,
    GroupValidity,
    NotFound,
    Prefix,
    Server,
    ServerState,
    packed,
)
from anycast_sdn.description import enrolment
from anycast_sdn.store.memory import MemoryStore
from anycast_sdn.store.store import Change, Outdated, PutGroup, Stored, StoreError
from tests.unit.operators import AS2, AS2_V6, WEB, Operator, network, service

# ------------------------------------------------------------------------------ changes


def test_a_new_group_and_its_server_are_in_the_snapshot_that_the_switches_get(operator: Operator) -> None:
    assert operator.registry.put_group(WEB) == (WEB, True)
    assert operator.registry.put_server("web", AS2) == (AS2, True)
    assert len(operator.sent) == 2
    assert operator.sent[-1] is operator.registry.groups
    expected = AnycastGroup("web", WEB.prefixes, {AS2.address: AS2})
    assert operator.sent[-1].covering(packed("198.18.0.1")) == expected


def test_putting_what_is_enrolled_already_writes_nothing_and_calls_no_subscriber(enrolled: Operator) -> None:
    before = enrolled.registry.groups
    enrolled.store.close()  # a write would now fail
    assert enrolled.registry.put_group(WEB)[1] is False
    assert enrolled.registry.put_server("web", AS2) == (AS2, False)
    assert enrolled.registry.groups is before
    assert enrolled.sent == []


def test_a_change_leaves_the_earlier_snapshot_as_it_was(enrolled: Operator) -> None:
    before = enrolled.registry.groups
    draining = Server(AS2.address, 7, ServerState.DRAINING)
    assert enrolled.registry.put_server("web", draining) == (draining, False)
    assert before.get("web").servers == {AS2.address: AS2}  # type: ignore[union-attr]
    assert enrolled.registry.server("web", AS2.address) == draining


def test_a_groups_prefixes_change_while_it_keeps_its_servers(enrolled: Operator) -> None:
    group, created = enrolled.registry.put_group(service("web", Prefix.parse("198.18.7.0/24")))
    assert not created
    assert group.servers == {AS2.address: AS2}
    assert enrolled.registry.groups.covering(packed("198.18.0.1")) is None


def test_settings_of_a_group_change_while_it_keeps_its_servers(enrolled: Operator) -> None:
    wanted = replace(WEB, affinity=Affinity.CLIENT, validity=GroupValidity(udp_s=10))
    expected = replace(wanted, servers={AS2.address: AS2})
    assert enrolled.registry.put_group(wanted) == (expected, False)
    assert enrolled.registry.put_group(wanted) == (expected, False)
    assert [groups.get("web") for groups in enrolled.sent] == [expected]
    again = enrolled.restarted()
    assert again.registry.group("web") == expected
    again.store.close()


def test_a_group_that_exists_with_other_settings_is_not_created_anew(enrolled: Operator) -> None:
    with pytest.raises(AlreadyExists):
        enrolled.registry.put_group(replace(WEB, affinity=Affinity.CLIENT), anew=True)
    assert enrolled.registry.group("web").affinity is Affinity.FLOW
    assert enrolled.sent == []


@pytest.mark.parametrize("seconds", [0, -1, 65536])
@pytest.mark.parametrize("prefixes", [WEB.prefixes, WEB.prefixes[:1]], ids=["the same prefixes", "others"])
def test_a_validity_that_no_switch_can_have_is_refused(
    enrolled: Operator, prefixes: tuple[Prefix, ...], seconds: int
) -> None:
    for name in ("web", "dns"):
        with pytest.raises(enrolment.InvalidValidity) as refused:
            enrolled.registry.put_group(AnycastGroup(name, prefixes, validity=GroupValidity(5, other_s=seconds)))
        assert refused.value.where == "validity.other_s"
    assert enrolled.sent == []


def test_a_group_that_is_changed_is_the_present_one(enrolled: Operator) -> None:
    changed = enrolled.registry.change_group("web", lambda web: replace(web, affinity=Affinity.CLIENT))
    assert changed == replace(WEB, servers={AS2.address: AS2}, affinity=Affinity.CLIENT)
    assert enrolled.registry.group("web") == changed
    with pytest.raises(NotFound):
        enrolled.registry.change_group("dns", lambda dns: dns)


def test_a_groups_prefixes_cannot_lose_the_family_of_one_of_its_servers(enrolled: Operator) -> None:
    with pytest.raises(enrolment.WrongFamily):
        enrolled.registry.put_group(service("web", Prefix.parse("2001:db8:ffff::1/128")))
    assert enrolled.registry.group("web").prefixes == WEB.prefixes
    assert enrolled.sent == []


def test_deleting_a_server_leaves_the_others_and_deleting_a_group_takes_them_along(
    enrolled: Operator,
) -> None:
    enrolled.registry.put_server("web", AS2_V6)
    enrolled.registry.delete_server("web", AS2.address)
    assert enrolled.registry.group("web").servers == {AS2_V6.address: AS2_V6}
    enrolled.registry.delete_group("web")
    assert len(enrolled.sent[-1]) == 0
    enrolled.registry.put_group(WEB)
    assert enrolled.restarted().registry.group("web").servers == {}


@pytest.mark.parametrize(
    ("server", "error"),
    [
        ("10.1.0.10", enrolment.ServerInClientSubnet),  # M5
        ("192.0.2.1", enrolment.ServerOutsideEdges),
        ("10.2.0.1", enrolment.NotAHostAddress),
    ],
)
def test_a_refused_server_is_neither_stored_nor_sent(
    enrolled: Operator, server: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        enrolled.registry.put_server("web", Server(packed(server)))
    assert enrolled.sent == []
    assert enrolled.restarted().registry.group("web").servers == {AS2.address: AS2}


@pytest.mark.parametrize("weight", [-1, 1001])
def test_a_weight_outside_its_range_is_refused(enrolled: Operator, weight: int) -> None:
    with pytest.raises(enrolment.InvalidWeight):
        enrolled.registry.put_server("web", Server(AS2.address, weight))


def test_a_group_that_overlaps_another_is_refused(enrolled: Operator) -> None:
    with pytest.raises(enrolment.Overlap):
        enrolled.registry.put_group(service("dns", Prefix.parse("198.18.0.0/24")))


def test_what_does_not_exist_cannot_be_removed_or_served(enrolled: Operator) -> None:
    registry = enrolled.registry
    for change in (
        lambda: registry.delete_group("dns"),
        lambda: registry.delete_server("dns", AS2.address),
        lambda: registry.delete_server("web", AS2_V6.address),
        lambda: registry.put_server("dns", AS2),
    ):
        with pytest.raises(NotFound):
            change()
    assert enrolled.sent == []


def test_the_limits_hold_for_new_entries_only(enrolled: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "MAX_GROUPS", 1)
    monkeypatch.setattr(registry_module, "MAX_SERVERS", 1)
    with pytest.raises(LimitReached):
        enrolled.registry.put_group(service("dns", Prefix.parse("198.18.0.2/32")))
    with pytest.raises(LimitReached):
        enrolled.registry.put_server("web", AS2_V6)
    enrolled.registry.put_server("web", Server(AS2.address, 2))
    enrolled.registry.put_group(service("web", Prefix.parse("198.18.0.2/32")))


def test_what_could_not_be_stored_is_neither_in_the_snapshot_nor_sent(enrolled: Operator) -> None:
    enrolled.store.close()
    before = enrolled.registry.groups
    for change in (
        lambda: enrolled.registry.put_server("web", AS2_V6),
        lambda: enrolled.registry.delete_server("web", AS2.address),
        lambda: enrolled.registry.put_group(service("dns", Prefix.parse("198.18.0.2/32"))),
        lambda: enrolled.registry.delete_group("web"),
    ):
        with pytest.raises(StoreError, match=r"enrolments\.db"):
            change()
    assert enrolled.registry.groups is before
    assert enrolled.sent == []


# ------------------------------------------------------------------------------ restarts


def test_everything_enrolled_is_there_after_a_restart(enrolled: Operator) -> None:
    enrolled.registry.put_server("web", Server(AS2_V6.address, 9, ServerState.DRAINING))
    enrolled.registry.put_group(service("dns", Prefix.parse("198.18.9.0/24"), Prefix.parse("198.18.8.0/24")))
    before = list(enrolled.registry.groups)
    again = enrolled.restarted()
    assert sorted(before, key=lambda group: group.name) == list(again.registry.groups)
    assert again.sent == []


def test_the_network_files_groups_enter_a_fresh_database_only(tmp_path: Path) -> None:
    first = network(groups=(AnycastGroup("web", WEB.prefixes, {AS2.address: AS2}),))
    operator = Operator(tmp_path / "db", first)
    assert operator.registry.group("web").servers == {AS2.address: AS2}
    operator.registry.delete_group("web")
    assert len(operator.restarted(first).registry.groups) == 0


def test_a_stored_group_that_a_changed_network_file_excludes_is_named_at_start(enrolled: Operator) -> None:
    with pytest.raises(ConfigurationError, match=r"enrolments\.db: group web.*does not fit the network pair"):
        enrolled.restarted(network(anycast="198.19.0.0/16"))


# ------------------------------------------------------------------------------ with other controllers


def shared_by_two() -> tuple[Operator, Operator]:
    one = MemoryStore()
    return Operator(one, network()), Operator(MemoryStore(one), network())


def test_what_another_controller_enrols_is_in_the_snapshot_that_our_switches_get() -> None:
    here, there = shared_by_two()
    there.registry.put_group(WEB)
    there.registry.put_server("web", AS2)
    assert here.registry.server("web", AS2.address) == AS2
    assert [len(groups) for groups in here.sent] == [1, 1]


def test_a_change_decided_on_what_is_outdated_is_decided_once_more_and_overwrites_nothing() -> None:
    here, there = shared_by_two()
    here.store.watch(lambda stored: None)  # deaf: it learns of others' changes only when it makes one itself
    there.registry.put_group(WEB)
    with pytest.raises(enrolment.Overlap):
        here.registry.put_group(replace(WEB, name="mail"))
    here.registry.put_server("web", AS2)
    assert there.registry.server("web", AS2.address) == AS2


def test_settings_that_two_controllers_change_at_once_are_both_kept() -> None:
    here, there = shared_by_two()
    here.registry.put_group(WEB)
    here.store.watch(lambda stored: None)  # deaf, as above
    there.registry.change_group("web", lambda web: replace(web, affinity=Affinity.CLIENT))
    here.registry.change_group("web", lambda web: replace(web, validity=GroupValidity(udp_s=10)))
    expected = replace(WEB, affinity=Affinity.CLIENT, validity=GroupValidity(udp_s=10))
    assert here.registry.group("web") == there.registry.group("web") == here.store.open().groups["web"] == expected


def test_what_others_change_before_our_change_has_returned_is_kept() -> None:
    here, there = shared_by_two()
    here.registry.put_group(WEB)

    class Slow(MemoryStore):
        def change(self, at: int, changes: Sequence[Change]) -> int:
            version = super().change(at, changes)
            there.registry.put_server("web", replace(AS2, weight=9))  # after ours, and told before ours has returned
            return version

    assert isinstance(there.store, MemoryStore)
    slow = Operator(Slow(there.store), network())
    slow.registry.put_server("web", AS2)
    assert slow.registry.server("web", AS2.address) == here.registry.server("web", AS2.address)
    slow.registry.put_server("web", replace(AS2, weight=3))


def test_a_prefix_that_another_controller_moves_between_groups_is_that_of_the_later_one() -> None:
    here, there = shared_by_two()
    there.registry.put_group(WEB)
    at = there.store.open().version
    mail = replace(WEB, name="mail")
    there.store.change(at, [PutGroup(replace(WEB, prefixes=())), PutGroup(mail)])
    assert here.registry.groups.owner(WEB.prefixes[0]) == mail


class Contended(MemoryStore):
    """Somebody else is always faster."""

    def change(self, at: int, changes: Sequence[Change]) -> int:
        raise Outdated(Stored(at + 1, {}))


def test_a_change_that_others_outrun_again_and_again_is_given_up_and_said() -> None:
    operator = Operator(Contended(), network())
    with pytest.raises(StoreError, match="try again"):
        operator.registry.put_group(WEB)
    assert len(operator.registry.groups) == 0
