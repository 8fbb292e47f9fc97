"""How the testbed names what it makes of a network file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from plan import IFNAMSIZ, Plan
from routers import bgp_interface, control_interface

from anycast_sdn.description import reading
from anycast_sdn.description.model import Network, Port
from tests.unit.network_files import VALID

TOPOLOGIES = Path(__file__).parents[3] / "topologies"

HOSTS = ("h1", "h2", "s1")  # of VALID
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", fullmatch=True).filter(lambda name: name.lower() not in HOSTS)
# Names that collide: with the same beginning, or equal to the name of another's port.
CLOSE = st.sampled_from(["a", "a-eth1", "a-eth10", "a_1", "a_2", "Frankfurt-Edge-1", "Frankfurt-Edge-2", "Frankf_1"])


def network(*names: str, port: int = 10) -> Network:
    """VALID with other names of switches, and another port of the first."""
    text = VALID.replace("west:10", f"west:{port}")
    for old, new in zip(("west", "core", "east"), names, strict=True):
        text = text.replace(old, f"<{new}>")
    return reading.parse(text.replace("<", "").replace(">", ""), "net.yaml")


def in_the_machine(plan: Plan) -> list[str]:
    """Everything that needs a name in the root namespace."""
    return [*plan.bridges(), *(plan.interface(*port) for port in plan.ports())]


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_names_that_fit_are_kept(path: object) -> None:
    plan = Plan(reading.load(str(path)))
    assert list(plan.bridges()) == [switch.name for switch in plan.network.switches]
    assert all(plan.interface(*port) == f"{port.switch}-eth{port.number}" for port in plan.ports())


def test_a_name_that_does_not_fit_gets_its_beginning_and_its_place() -> None:
    plan = Plan(network("Frankfurt-Edge-1.lab", "core", "Frankfurt-Edge-2.lab", port=65279))
    assert list(plan.bridges()) == ["Fran_1", "core", "Frankfu_3"]
    assert plan.interface("Frankfurt-Edge-1.lab", 65279) == "Fran_1-eth65279"
    assert plan.interface("core", 1) == "core-eth1"


def test_a_switch_with_the_name_of_anothers_port_gets_a_short_name() -> None:
    plan = Plan(network("core-eth1", "core", "east"))
    assert len(set(in_the_machine(plan))) == len(in_the_machine(plan))


@examples(deadline=None, max_examples=50)
@given(names=st.lists(NAMES | CLOSE, min_size=3, max_size=3, unique=True), port=st.integers(3, 65279))
def test_whatever_the_names_every_interface_has_one_that_fits(names: list[str], port: int) -> None:
    plan = Plan(network(*names, port=port))
    made = in_the_machine(plan)
    assert len(set(made)) == len(made)
    assert all(len(name) <= IFNAMSIZ for name in (*made, *map(plan.interface, ("h1", "h2", "s1"))))
    assert made == in_the_machine(Plan(network(*names, port=port)))


def test_routers_have_interfaces_for_their_sessions_too() -> None:
    text = (TOPOLOGIES / "legacy-core.yaml").read_text().replace("r1", "router-one")
    plan = Plan(reading.parse(text, "legacy-core.yaml"))
    short = plan.short("router-one")
    assert max(map(len, (bgp_interface(short, 0), control_interface(short, 0), f"{short}-eth0"))) <= IFNAMSIZ
    assert plan.interface("router-one", 0) == f"{short}-eth0" != "router-one-eth0"


def test_hosts_on_one_port_share_an_unmanaged_switch() -> None:
    text = VALID.replace("h2, subnet: desks, port: 2", "h2, subnet: desks, port: 1")
    plan = Plan(reading.parse(text, "net.yaml"))
    (unmanaged,) = plan.unmanaged
    joined = {(cable.a.switch, cable.b.switch) for cable in plan.cables}
    assert {(unmanaged, "west"), ("h1", unmanaged), ("h2", unmanaged), ("s1", "east")} <= joined
    assert list(plan.bridges()) == ["west", "core", "east", "west1_4"]
    assert plan.bridge(unmanaged) == "west1_4"
    assert Port("west", 1) in set(plan.ports())


def test_a_hosts_commands_give_it_both_families() -> None:
    commands = Plan(reading.parse(VALID, "net.yaml")).host_commands("h1")
    assert commands == [
        "ip address add 10.1.0.10/24 dev h1-eth0",
        "ip address add 2001:db8:1::10/64 dev h1-eth0",
        "ip route add default via 10.1.0.1 dev h1-eth0",
        "ip route add default via 2001:db8:1::1 dev h1-eth0",
        "ethtool -K h1-eth0 tx off",
    ]
