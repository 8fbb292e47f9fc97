"""``topology --without``: what would be different, in words."""

from __future__ import annotations

from typing import Any

from anycast_sdn.cli.topology import differences

WEB = {"group": "web", "prefix": "198.18.0.1/32", "prefixes": 1, "site": "arh1", "from": "ars2", "to": "ars3",
       "flows_losing_server": 4, "note": "no path to ars2"}  # fmt: skip


def said(*rows: dict[str, Any], left_out: int = 0, **more: list[dict[str, Any]]) -> list[str]:
    totals = {
        "moves": sum(row["from"] != row["to"] for row in rows),
        "flows_losing_server": sum(row["flows_losing_server"] for row in rows),
        "rows_left_out": left_out,
    }
    answer = {"difference": list(rows), "difference_totals": totals, "loads": [], "pools": [], **more}
    heading, *lines = differences(answer, ["c1-c2", "ars2"])
    assert heading == "What would be different without c1-c2, ars2:"
    return [line.strip() for line in lines]


def test_nothing_would_be_different() -> None:
    assert said() == ["Nothing: no service moves, no flow loses its server."]


def test_a_line_says_who_moves_from_where_to_where_and_how_many_flows_lose_their_server() -> None:
    assert said(WEB) == [
        "web from arh1: ars2 → ars3 (198.18.0.1/32); 4 flows lose their server: no path to ars2"
    ]


def test_services_without_an_edge_and_flows_alone_are_told_too() -> None:
    nobody = WEB | {"to": None, "flows_losing_server": 0, "note": "", "prefixes": 1201}
    alone = WEB | {"to": "ars2", "flows_losing_server": 1, "note": "10.22.0.10 is left out"}
    deleted = alone | {"prefix": None, "from": None, "to": None}
    assert said(nobody, alone, deleted, left_out=2000) == [
        "web from arh1: ars2 → nobody (198.18.0.1/32 and 1,200 more)",
        "web from arh1: ars2 stays (198.18.0.1/32); 1 flow loses its server: 10.22.0.10 is left out",
        "web from arh1: the group is deleted; 1 flow loses its server: 10.22.0.10 is left out",
        "… and 2,000 more such lines",
        "In all 1 move, 2 flows lose their server.",
    ]


def test_the_load_of_servers_that_are_left_is_told() -> None:
    load = {"group": "web", "family": "ipv4", "sessions": 1841, "capacity": 4000, "load": 0.46, "limit": 0.8}
    loads = [load, load | {"capacity": 2000, "load": 0.92}, load | {"capacity": 1500, "load": 1.227}]
    assert said(WEB, loads=loads)[1:] == [
        "web: 1,841 IPv4 sessions for servers with a capacity of 4,000: a load of 46%.",
        "web: 1,841 IPv4 sessions for servers with a capacity of 2,000: a load of 92%, over the limit of 80%.",
        "web: 1,841 IPv4 sessions for servers with a capacity of 1,500: more than they can hold.",
    ]


def test_pools_that_would_be_exhausted_are_told() -> None:
    pool = {"edge": "arh1", "family": "ipv4", "free": 1087, "new_connections": 371, "fills": False}
    few = pool | {"free": 87, "fills": True}
    assert said(WEB, pools=[pool, few])[1:] == [
        "371 connections of arh1 would be opened anew; 1,087 IPv4 addresses are free: that is enough.",
        "371 connections of arh1 would be opened anew; 87 IPv4 addresses are free: the pool is exhausted.",
    ]
