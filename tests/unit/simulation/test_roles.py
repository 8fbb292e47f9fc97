"""Roles of controllers at a simulated switch, as Open vSwitch 3.1 was seen to do it."""

from __future__ import annotations

import pytest

from anycast_sdn.openflow.rules import DeleteEverything, ReportExpired
from anycast_sdn.simulation.roles import NO_GENERATION, IsSlave, Role, Roles, Stale
from anycast_sdn.simulation.switch import SimulatedSwitch


@pytest.fixture
def roles() -> Roles:
    roles = Roles()
    for controller in ("a", "b"):
        roles.connected(controller)
    return roles


def test_a_new_connection_is_equal_and_may_write(roles: Roles) -> None:
    assert roles.of("a") is Role.EQUAL
    roles.check_write("a")
    assert roles.ask("a", Role.NOCHANGE) == (Role.EQUAL, NO_GENERATION)


def test_a_new_master_makes_a_slave_of_the_one_before(roles: Roles) -> None:
    roles.ask("a", Role.MASTER, 1)
    assert roles.ask("b", Role.MASTER, 2) == (Role.MASTER, 2)
    assert (roles.of("a"), roles.master) == (Role.SLAVE, "b")
    with pytest.raises(IsSlave):
        roles.check_write("a")


def test_an_earlier_generation_is_stale_and_an_equal_one_is_not(roles: Roles) -> None:
    roles.ask("a", Role.MASTER, 7)
    with pytest.raises(Stale):
        roles.ask("b", Role.MASTER, 6)
    assert (roles.master, roles.generation) == ("a", 7)
    roles.ask("b", Role.MASTER, 7)
    assert roles.master == "b"


@pytest.mark.parametrize(
    ("before", "after", "is_later"),
    [
        ((1 << 64) - 1, 0, True),
        (0, (1 << 64) - 1, False),
        (0, (1 << 63) - 1, True),
        (0, 1 << 63, False),
    ],
)
def test_which_generation_is_earlier_wraps(roles: Roles, before: int, after: int, is_later: bool) -> None:
    roles.ask("a", Role.MASTER, before)
    if is_later:
        roles.ask("b", Role.SLAVE, after)
    else:
        with pytest.raises(Stale):
            roles.ask("b", Role.SLAVE, after)


def test_the_generation_outlives_all_connections(roles: Roles) -> None:
    roles.ask("a", Role.MASTER, 7)
    for controller in ("a", "b"):
        roles.disconnected(controller)
    roles.connected("c")
    with pytest.raises(Stale):
        roles.ask("c", Role.MASTER, 6)


def test_a_switch_refuses_what_a_slave_writes() -> None:
    switch = SimulatedSwitch()
    switch.roles.connected("a")
    switch.apply_from("a", DeleteEverything(), 0.0)
    switch.roles.ask("a", Role.SLAVE, 1)
    switch.apply_from("a", ReportExpired(True), 0.0)
    with pytest.raises(IsSlave):
        switch.apply_from("a", DeleteEverything(), 0.0)
