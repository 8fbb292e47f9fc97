"""Hosts are asked when it is time, a bounded number at once, however many are known."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.control.neighbours import (
    LOOKED_FOR_AT_FIRST,
    LOOKED_FOR_S,
    MAX_QUESTIONS,
    QUESTIONS,
    REFRESH_S,
    RETRY_S,
    WATCHED_RETRY_S,
    Neighbours,
)
from anycast_sdn.core.model import Address, Gateway, Neighbour, packed
from anycast_sdn.core.roles import Side, Subnet
from anycast_sdn.openflow.frames import Arp, parse_arp

OWN = bytes.fromhex("020000000001")
SUBNET = Subnet("desks", "west", Side.CLIENT, (Gateway.parse("10.1.0.1/16"),), (1, 2))
TICK_S = 0.25


def host(number: int) -> tuple[Address, Neighbour]:
    address = packed(f"10.1.{1 + (number >> 8)}.{number & 255}")
    return address, Neighbour(b"\x06\0" + address, 1)


def says(neighbours: Neighbours, number: int, now: float) -> None:
    address, (mac, port) = host(number)
    neighbours.arp(Arp(mac, 1, mac, address, bytes(6), packed("10.1.0.1")), port, now)


def questions(neighbours: Neighbours, now: float) -> list[Address]:
    return [parse_arp(frame).target_ip for _, frame in neighbours.tick(now).frames]


def test_a_silent_host_is_asked_and_then_forgotten() -> None:
    neighbours = Neighbours(OWN, [SUBNET])
    says(neighbours, 5, 0.0)
    address, _ = host(5)
    asked = Counter[float]()
    for quarter in range(int(4 * (REFRESH_S + QUESTIONS * RETRY_S)) + 1):
        now = quarter * TICK_S
        asked[now] += len(questions(neighbours, now))
    # the first question goes to the host's port, the others to the whole subnet
    assert +asked == {REFRESH_S: 1, REFRESH_S + RETRY_S: 2, REFRESH_S + 2 * RETRY_S: 2}
    assert neighbours.get(address) is None


def test_a_server_that_is_away_is_asked_for_periodically() -> None:
    neighbours = Neighbours(OWN, [SUBNET])
    address, _ = host(5)
    neighbours.set_watched(address, True)
    times = [now / 4 for now in range(40) if questions(neighbours, now / 4)]
    at_first = [WATCHED_RETRY_S * number for number in range(QUESTIONS + LOOKED_FOR_AT_FIRST)]
    assert times == [*at_first, at_first[-1] + LOOKED_FOR_S]
    neighbours.set_watched(address, False)
    for quarter in range(60):
        neighbours.tick(10 + quarter * TICK_S)
    assert not questions(neighbours, 60)


def test_when_a_port_goes_down_its_hosts_alone_are_forgotten() -> None:
    neighbours = Neighbours(OWN, [SUBNET])
    places = {host(number)[0]: Neighbour(host(number)[1].mac, 1 + number % 2) for number in range(6)}
    for address, neighbour in places.items():
        neighbours.adopt(address, neighbour, 0.0)
    gone = [address for address, neighbour in places.items() if neighbour.port == 1]
    assert neighbours.port_down(1, 1.0).moved == gone
    assert dict(neighbours.known()) == {address: place for address, place in places.items() if address not in gone}
    assert neighbours.port_down(1, 1.0).moved == []


def test_after_a_restart_all_hosts_are_asked_a_limited_number_at_once() -> None:
    neighbours = Neighbours(OWN, [SUBNET])
    hosts = [host(number) for number in range(3 * MAX_QUESTIONS)]
    for address, neighbour in hosts:
        neighbours.adopt(address, neighbour, 0.0)
    asked: list[Address] = []
    for tick in range(3):
        some = questions(neighbours, tick * TICK_S)
        assert len(some) == MAX_QUESTIONS
        asked += some
    assert sorted(asked) == sorted(address for address, _ in hosts)


def test_a_host_that_is_heard_all_the_time_takes_no_more_memory() -> None:
    neighbours = Neighbours(OWN, [SUBNET])
    for quarter in range(1000):
        for number in range(10):
            says(neighbours, number, quarter * TICK_S)
        assert not questions(neighbours, quarter * TICK_S)
    assert len(neighbours._due) <= 10


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.25, 1.0, 2.0, 9.0, 31.0])), max_size=20))
def test_hosts_that_are_heard_stay_known_and_silent_hosts_are_forgotten(history: list[tuple[int, float]]) -> None:
    neighbours, now, heard = Neighbours(OWN, [SUBNET]), 0.0, dict[int, float]()
    for number, pause in history:
        says(neighbours, number, now)
        heard[number] = now
        for _ in range(int(pause / TICK_S)):
            now += TICK_S
            neighbours.tick(now)
        for each, when in heard.items():
            assert (neighbours.get(host(each)[0]) is not None) is (now - when < REFRESH_S + QUESTIONS * RETRY_S)
