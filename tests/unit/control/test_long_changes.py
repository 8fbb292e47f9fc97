"""A group of very many prefixes: others have their turn while it is judged, and what they change then counts, too."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.control.registry import AlreadyExists, LimitReached, Registry
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import FEW, Affinity, AnycastGroup, NotFound, Prefix, Server, packed
from anycast_sdn.description.enrolment import Overlap, WrongFamily
from anycast_sdn.store.sqlite import SqliteStore
from tests.unit.operators import service
from tests.unit.rest_client import NETWORK

MANY = [Prefix.parse(f"198.18.{number >> 8}.{number & 255}/32") for number in range(40)]
AS2, AS2_V6 = Server(packed("10.2.0.10")), Server(packed("2001:db8:2::10"))
V6 = Prefix.parse("2001:db8:ffff::1/128")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = SqliteStore(str(tmp_path / "db"))
    sent: list[Groups] = []
    registry = Registry(NETWORK, store, sent.append)
    registry.sent = sent  # type: ignore[attr-defined]
    registry.put_group(service("web", *MANY[:2], V6))
    registry.put_server("web", AS2)
    yield registry
    stored = store.open().groups
    assert stored == {group.name: group for group in registry.groups}
    assert registry.sent[-1] is registry.groups  # type: ignore[attr-defined]
    store.close()


def at_turn(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """Somebody else acts in this turn, and in no other."""
    turns = itertools.count(1)
    return lambda: (act(), None)[1] if next(turns) == number else None


def turns_of(registry: Registry) -> int:
    """How many turns others have while ``MANY`` are judged."""
    turns = itertools.count()
    registry.put_group(service("try", *MANY[2:]), lambda: (next(turns), None)[1])
    registry.delete_group("try")
    return next(turns)


def test_others_have_a_turn_between_any_two_prefixes(registry: Registry) -> None:
    assert turns_of(registry) >= len(MANY)


def test_prefixes_that_stay_are_not_judged_again_when_settings_change(registry: Registry) -> None:
    registry.put_group(service("many", *MANY[2:]))
    turns = itertools.count()
    registry.put_group(replace(service("many", *MANY[2:]), affinity=Affinity.CLIENT), lambda: (next(turns), None)[1])
    assert next(turns) == 1  # the one before it is handed on


@pytest.mark.parametrize("turn", [1, 30, 70])
def test_settings_that_others_change_meanwhile_are_kept_by_a_change_of_prefixes(registry: Registry, turn: int) -> None:
    others = at_turn(turn, lambda: registry.change_group("web", lambda web: replace(web, affinity=Affinity.CLIENT)))
    changed = registry.change_group("web", lambda web: replace(web, prefixes=(*MANY, V6)), others)
    assert (changed.affinity, changed.prefixes) == (Affinity.CLIENT, (*MANY, V6))
    assert registry.group("web") == changed


def test_a_group_that_goes_while_it_is_changed_stays_away(registry: Registry) -> None:
    with pytest.raises(NotFound):
        registry.change_group(
            "web", lambda web: replace(web, prefixes=(*MANY, V6)), at_turn(9, lambda: registry.delete_group("web"))
        )
    assert registry.groups.get("web") is None


@pytest.mark.parametrize("turn", [1, 30, 70])
def test_a_prefix_that_another_group_takes_meanwhile_is_refused(registry: Registry, turn: int) -> None:
    others = at_turn(turn, lambda: registry.put_group(service("dns", Prefix.parse("198.18.0.8/29"))))
    with pytest.raises(Overlap, match=r"198\.18\.0\.8/32 overlaps 198\.18\.0\.8/29 of group dns") as refused:
        registry.put_group(service("many", *MANY[2:]), others)
    assert refused.value.where == "prefixes[6]"
    assert registry.groups.get("many") is None


def test_servers_that_are_enrolled_meanwhile_stay(registry: Registry) -> None:
    others = at_turn(9, lambda: registry.put_server("web", AS2_V6))
    group, created = registry.put_group(service("web", *MANY, V6), others)
    assert (list(group.servers), created) == ([AS2.address, AS2_V6.address], False)
    with pytest.raises(WrongFamily):
        registry.put_group(service("web", *MANY), lambda: None)
    registry.delete_server("web", AS2_V6.address)
    with pytest.raises(WrongFamily, match="2001:db8:2::10"):
        registry.put_group(service("web", *MANY), at_turn(9, lambda: registry.put_server("web", AS2_V6)))


def test_a_group_that_goes_meanwhile_is_made_anew_without_servers(registry: Registry) -> None:
    group, created = registry.put_group(service("web", *MANY), at_turn(9, lambda: registry.delete_group("web")))
    assert (dict(group.servers), created) == ({}, True)


def test_the_same_group_that_comes_meanwhile_is_there_already(registry: Registry) -> None:
    others = at_turn(9, lambda: registry.put_group(service("many", *MANY[2:])))
    assert registry.put_group(service("many", *MANY[2:]), others)[1] is False
    registry.delete_group("many")
    others = at_turn(9, lambda: registry.put_group(service("many", *MANY[2:])))
    with pytest.raises(AlreadyExists):
        registry.put_group(service("many", *MANY[2:]), others, anew=True)


def test_the_limit_holds_for_what_comes_meanwhile(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anycast_sdn.control.registry.MAX_GROUPS", 2)
    others = at_turn(9, lambda: registry.put_group(service("dns", *MANY[2:3])))
    with pytest.raises(LimitReached):
        registry.put_group(service("many", *MANY[3:]), others)


def test_the_switches_get_the_latest_enrolments_last_when_another_change_comes_between(registry: Registry) -> None:
    """What is stored is handed on in a turn of its own."""
    last = turns_of(registry)
    registry.put_group(service("many", *MANY[2:]), at_turn(last, lambda: registry.delete_server("web", AS2.address)))
    assert registry.groups.get("many") is not None
    assert not registry.group("web").servers
    registry.delete_group("many", at_turn(1, lambda: registry.put_server("web", AS2)))
    assert registry.groups.get("many") is None
    assert registry.group("web").servers == {AS2.address: AS2}


_NAMES = st.sampled_from(["a", "b", "c"])
_PREFIXES = st.lists(st.integers(0, 79), max_size=3 * FEW, unique=True)


@given(st.lists(st.tuples(_NAMES, _PREFIXES), max_size=8))
def test_groups_that_changed_one_by_one_are_those_that_are_made_at_once(changes: list[tuple[str, list[int]]]) -> None:
    """Each group has prefixes of its own, some of one address and some of more, of both families."""
    groups, wanted = Groups(), {}
    for name, numbers in changes:
        prefixes = tuple(_prefix(name, number) for number in numbers)
        if prefixes:
            wanted[name] = AnycastGroup(name, prefixes, {AS2.address: AS2} if len(prefixes) % 2 else {})
            groups = groups.replaced(wanted[name])
        else:
            wanted.pop(name, None)
            groups = groups.without(name)
        at_once = Groups(wanted)
        for part in ("_by_name", "_owners", "_lengths", "_sorted", "_active"):
            assert getattr(groups, part) == getattr(at_once, part)
        assert {a: set(names) for a, names in groups._memberships.items()} == {
            a: set(names) for a, names in at_once._memberships.items()
        }


def _prefix(name: str, number: int) -> Prefix:
    place = "abc".index(name)
    if number % 3:
        return Prefix.parse(f"198.{18 + place}.{number}.0/{32 if number % 2 else 24}")
    return Prefix.parse(f"2001:db8:{place}:{number:x}::/{128 if number % 2 else 64}")
