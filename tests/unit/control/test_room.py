"""Room: what is counted, what is concluded from a refusal, and when that ends."""

from __future__ import annotations

from anycast_sdn.control.installed import Installed
from anycast_sdn.control.room import Room
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.row import Kind, Table
from anycast_sdn.openflow.sizes import Sizes
from anycast_sdn.openflow.tables import Tables

RULES = list(entries.constant())
OTHER = Lack(Ability.NEXT_HOP, None, "bad action")


def room_of(rules: int, says: int = 0, tables: int = 5, flows: int = 0) -> tuple[Room, Installed]:
    installed = Installed(lambda prefix, port: entries.route(prefix, port, 0))
    installed.found(Tables.of(RULES[:rules]), {})
    features = Features(tables=tables, sizes=Sizes(((0, says),) if says else ()))
    return Room(installed, lambda: features, lambda: flows), installed


def test_rules_are_counted_in_the_tables_that_carry_them() -> None:
    room, _ = room_of(len(RULES), tables=1)
    assert room.needs() == {0: len(RULES)}
    room, _ = room_of(len(RULES), tables=5)
    assert sum(room.needs().values()) == len(RULES)
    assert room.needs().keys() == {0, 1, 2, 3, 4}


def test_a_refusal_counts_for_all_that_its_table_carries() -> None:
    room, _ = room_of(len(RULES), tables=3)
    room.refused(Kind.UNKNOWN_TRANSLATED, 0)
    assert {lack.logical for lack in room.among(())} == {Table.CLIENT_OUT, Table.CLIENT_IN}


def test_where_flows_may_have_filled_the_table_nothing_is_concluded() -> None:
    room, _ = room_of(len(RULES), tables=1, flows=1)
    room.refused(Kind.HOST, 0)
    assert room.among((OTHER,)) == (OTHER,)
    room, _ = room_of(len(RULES), says=3, tables=1, flows=1)
    room.refused(Kind.HOST, 0)
    assert len(room.among((OTHER,))) > 1, "the rest alone is more than there is room for"


def test_flows_fill_no_tables_but_their_own() -> None:
    room, _ = room_of(len(RULES), tables=5, flows=1)
    room.refused(Kind.ROUTE, 0)
    assert {lack.logical for lack in room.among(())} == {Table.ROUTES}
    room.refused(None, 0)
    assert {lack.ability for lack in room.among(())} == {Ability.ROOM, Ability.ROOM_FOR_GROUPS}
    room, _ = room_of(len(RULES), tables=2, flows=1)
    room.refused(None, 0)
    assert not room.among(()), "known flows need groups of next hops there"


def test_it_is_tried_again_at_growing_intervals_and_whatever_is_needed_meanwhile() -> None:
    """Less is needed because the roles are gone."""
    room, installed = room_of(len(RULES), tables=1)
    now, tries = 0.0, []
    while now < 20000:
        if not room.among(()):
            tries.append(now)
            room.refused(Kind.TAGGED, now)
            assert f"needs {len(RULES)}, " in room.among(())[0].why
        if now == 30:
            installed.remove(RULES[0])
            room.tick(now)
            assert f"needs {len(RULES)}, " in room.among(())[0].why
            installed.add(RULES[0])
        now += 30
        room.tick(now)
    assert tries == [0, 60, 180, 420, 900, 1860, 3780, 7380, 10980, 14580, 18180]


def test_a_switch_that_connects_anew_may_have_room() -> None:
    room, _ = room_of(len(RULES), tables=1)
    room.refused(Kind.TAGGED, 0)
    room.connected()
    assert room.among((OTHER,)) == (OTHER,)


def test_a_hint_counts_until_all_rules_were_found() -> None:
    room, installed = room_of(len(RULES) - 1, says=3, tables=1)
    assert [short[1:] for short in room.shortages()] == [(len(RULES) - 1, 3)]
    room.all_found()
    assert not room.shortages()
    installed.add(RULES[-1])
    assert room.shortages(), "one more may be too many"
