"""A controller begins anew, with very many servers: each step is short, and at the end it is as after its start."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from random import Random

import pytest

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.pace import Pace
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, Neighbour, Prefix, Server, packed
from anycast_sdn.description import reading
from tests.unit.network_files import edited

EAST, TOLD = 3, 20
NETWORK = reading.parse(edited({}), "net.yaml")
SERVERS = [packed(f"10.2.0.{number}") for number in range(10, 210)]
SERVICES = [Prefix.parse(f"198.18.1.{number}/32") for number in range(3)]


def groups(servers: list[Address]) -> Groups:
    """Three groups; each server is in two of them."""
    made = Groups()
    for number, prefix in enumerate(SERVICES):
        some = {address: Server(address) for at, address in enumerate(servers) if at % 3 != number}
        made = made.replaced(AnycastGroup(f"g{number}", (prefix,), some))
    return made


@pytest.fixture
def controller() -> Controller:
    return Controller(NETWORK, groups(SERVERS), Random(1), Pace(told=TOLD))


def told(controller: Controller) -> Iterator[int]:
    """Of how many servers their edge knows, after each slice."""
    while controller.is_busy():
        controller.work(1.0)
        yield len([*controller.switches[EAST].serving.enrolled])


def test_edges_are_told_of_their_servers_in_slices(controller: Controller) -> None:
    controller.begin_anew()
    steps = [0, *told(controller)]
    assert max(after - before for before, after in pairwise(steps)) <= TOLD
    assert steps[-1] == len(SERVERS)


def test_it_is_as_after_its_start(controller: Controller) -> None:
    before = {edge: {*switch.serving.enrolled} for edge, switch in controller.by_name.items()}
    announced = dict(controller.announcements.announcers)
    controller.begin_anew()
    while controller.is_busy():
        controller.work(1.0)
    assert {edge: {*switch.serving.enrolled} for edge, switch in controller.by_name.items()} == before
    assert controller.announcements.announcers == announced
    assert all(prefix in announced for prefix in SERVICES)


def test_what_is_enrolled_and_removed_before_all_are_told_is_as_enrolled_last(controller: Controller) -> None:
    fewer = SERVERS[50:150]
    for some in (fewer, SERVERS, [], fewer):
        controller.set_groups(groups(some), 1.0)
    assert controller.updating()
    while controller.is_busy():
        controller.work(1.0)
    assert {*controller.switches[EAST].serving.enrolled} == {*fewer}


def test_servers_that_were_found_before_their_edge_was_told_of_them_are_there(controller: Controller) -> None:
    controller.begin_anew()
    for address in SERVERS:
        controller.switches[EAST].neighbours.adopt(address, Neighbour(b"\x02\0" + address, 1), 0.0)
    controller.health.edge_is_back(controller.switches[EAST], 1.0)
    while controller.is_busy():
        controller.work(1.0)
    assert {controller.health.status("g0", each) for at, each in enumerate(SERVERS) if at % 3} == {HealthStatus.PASSING}
