"""Hosts are asked when it is time, a bounded number at once, however many are known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.control.neighbours import (
    LOOKED_FOR_AT_FIRST,
    LOOKED_FOR_S,
    MAX_QUESTIONS,
    MOST_QUESTIONS,
    QUESTIONS,
    REFRESH_S,
    RETRY_S,
    WATCHED_PER_S,
    WATCHED_REFRESH_S,
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


def silence(neighbours: Neighbours, count: int, until: float, late: Collection[float] = ()) -> dict[Address, float]:
    """As many watched hosts answer each question until then, and none afterwards → when each was found to be gone.

    ``late``: ticks that do not happen.
    """
    for number in range(count):
        neighbours.set_watched(host(number)[0], True)
        says(neighbours, number, 0.0)
    numbers = {host(number)[0]: number for number in range(count)}
    gone: dict[Address, float] = {}
    now = 0.0
    while len(gone) < count:
        now += TICK_S
        if now in late:
            continue
        replies = neighbours.tick(now)
        gone |= dict.fromkeys(replies.moved, now)
        for _, frame in replies.frames if now < until else ():
            says(neighbours, numbers[parse_arp(frame).target_ip], now)
    return gone


@given(st.integers(1, 100), st.integers(0, 40))
def test_the_silence_of_a_watched_host_is_noticed_within_2_5_s(count: int, quarter: int) -> None:
    died = quarter * TICK_S
    gone = silence(Neighbours(OWN, [SUBNET]), count, died)
    assert died < min(gone.values()) <= max(gone.values()) <= died + 2.5


def test_a_watched_host_is_not_gone_before_three_questions_are_unanswered() -> None:
    (gone,) = silence(Neighbours(OWN, [SUBNET]), 1, 1.25).values()
    assert gone == 1.0 + WATCHED_REFRESH_S + QUESTIONS * WATCHED_RETRY_S


def test_silence_is_excused_after_a_delay_of_the_controller() -> None:
    late = [2.75 + quarter * TICK_S for quarter in range(16)]  # the third question is out since 2.5
    (gone,) = silence(Neighbours(OWN, [SUBNET]), 1, 1.25, late).values()
    assert gone > late[-1] + 1.0


@pytest.mark.parametrize("pause_s", [TICK_S, 0.5, 0.7])
def test_a_host_whose_answers_are_read_late_is_not_gone(pause_s: float) -> None:
    neighbours, late = Neighbours(OWN, [SUBNET]), list[Address]()
    neighbours.set_watched(host(5)[0], True)
    says(neighbours, 5, 0.0)
    for tick in range(60):
        answered, late = late, questions(neighbours, tick * pause_s)
        for _ in answered:  # after the next tick
            says(neighbours, 5, tick * pause_s)
        assert neighbours.get(host(5)[0])


def noticed_at(is_heard: Callable[[float], bool], until: float = 60.0) -> float:
    """When a server that is silent from the beginning is found to be gone, if its switch is heard at these times."""
    neighbours = Neighbours(OWN, [SUBNET])
    says(neighbours, 5, 0.0)
    address, _ = host(5)
    neighbours.set_watched(address, True)
    for quarter in range(int(until / TICK_S)):
        if address in neighbours.tick(quarter * TICK_S, is_heard(quarter * TICK_S)).moved:
            return quarter * TICK_S
    return math.inf


def test_the_silence_of_a_server_means_nothing_while_its_switch_is_not_heard() -> None:
    assert noticed_at(lambda now: True) < 2.5
    assert 6.0 < noticed_at(lambda now: not 0.5 <= now < 6.0) < 8.5


def test_a_server_behind_a_switch_that_is_late_all_the_time_is_found_to_be_gone_after_half_a_minute() -> None:
    assert noticed_at(lambda now: False) == pytest.approx(MOST_QUESTIONS * WATCHED_RETRY_S, abs=1)


def test_whether_the_switch_answers_is_to_be_asked_once_when_a_server_does_not() -> None:
    neighbours = Neighbours(OWN, [SUBNET])
    says(neighbours, 5, 0.0)
    neighbours.set_watched(host(5)[0], True)
    doubted = []
    for quarter in range(40):
        neighbours.tick(quarter * TICK_S)
        doubted += [quarter * TICK_S] * neighbours.doubts_switch
    assert doubted == [WATCHED_RETRY_S]


def test_very_many_watched_hosts_are_asked_200_times_a_second() -> None:
    neighbours, count = Neighbours(OWN, [SUBNET]), 3000
    numbers = {host(number)[0]: number for number in range(count)}
    neighbours.watch(numbers)
    for number in range(count):
        says(neighbours, number, number / 200)
    asked = 0
    for quarter in range(int(count / 200 / TICK_S), int(60 / TICK_S)):
        for address in questions(neighbours, quarter * TICK_S):
            asked += 1
            says(neighbours, numbers[address], quarter * TICK_S)
    assert asked / (60 - count / 200) == pytest.approx(WATCHED_PER_S, rel=0.1)


def test_a_watched_host_is_asked_at_once_when_its_port_comes_up() -> None:
    neighbours = Neighbours(OWN, [SUBNET])
    address, _ = host(5)
    neighbours.set_watched(address, True)
    says(neighbours, 5, 0.0)
    assert not neighbours.port_up(1, 0.5).frames  # it was not down
    assert neighbours.port_down(1, 1.0).moved == [address]
    assert [parse_arp(frame).target_ip for _, frame in neighbours.port_up(1, 1.1).frames] == [address] * 2  # both ports
    assert not neighbours.port_up(2, 1.2).frames


def test_a_watched_host_that_was_never_known_is_reported_once() -> None:
    neighbours = Neighbours(OWN, [SUBNET])
    address, _ = host(5)
    neighbours.set_watched(address, True)
    missing = [(quarter * TICK_S, each) for quarter in range(100) for each in neighbours.tick(quarter * TICK_S).missing]
    assert missing == [(QUESTIONS * WATCHED_RETRY_S, address)]
