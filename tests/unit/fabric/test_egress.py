"""Egress: the next hop to each prefix, and which routes are ignored."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from anycast_sdn.control.removed_servers import RemovedServers
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.decided import Decided
from anycast_sdn.core.model import Gateway, Prefix, packed
from anycast_sdn.description.model import Network, Switch, Uplink
from anycast_sdn.fabric.egress import MOST_NEXT_HOPS, Route, next_hops

R1, R2 = packed("10.9.1.2"), packed("10.9.2.2")
NEAR = Uplink("near", "e", 1, (Gateway.parse("10.9.1.1/30"), Gateway.parse("2001:db8:9::1/64")), (R1,))
FAR = Uplink("far", "e", 2, (Gateway.parse("10.9.2.1/30"),), (R2,))
THERE = Prefix.parse("10.7.0.0/16")
SESSION = packed("198.51.100.2")  # the router's address of the session, not on the uplink


def route(as_hops: int = 1, origin: int = 0, med: int = 0, next_hop: bytes = SESSION) -> Route:
    return Route(as_hops, origin, med, next_hop)


def test_a_next_hop_on_the_link_is_used() -> None:
    third = packed("2001:db8:9::77")
    prefix = Prefix.parse("2001:db8:7::/48")
    assert next_hops([NEAR], {"near": {prefix: route(next_hop=third)}}) == {prefix: (third,)}


def test_any_other_next_hop_stands_for_the_router_at_the_uplink() -> None:
    assert next_hops([NEAR], {"near": {THERE: route()}}) == {THERE: (R1,)}


def test_a_route_of_a_family_without_a_router_is_no_egress_route() -> None:
    assert next_hops([NEAR], {"near": {Prefix.parse("2001:db8:7::/48"): route()}}) == {}


def test_static_routes_come_first_then_the_shorter_path_then_the_lower_origin_and_med() -> None:
    static = replace(FAR, routes=(THERE,))
    assert next_hops([NEAR, static], {"near": {THERE: route()}}) == {THERE: (R2, R1)}
    by_hops, by_origin = (route(as_hops=1), route(as_hops=2)), (route(origin=0), route(origin=2))
    for better, worse in (by_hops, by_origin, (route(med=0), route(med=5))):
        learned = {"near": {THERE: worse}, "far": {THERE: better}}
        assert next_hops([NEAR, FAR], learned) == {THERE: (R2, R1)}


def test_the_link_itself_is_no_egress_route() -> None:
    assert next_hops([NEAR], {"near": {Prefix.parse("10.9.1.0/30"): route()}}) == {}


def test_routes_to_what_no_router_forwards_are_ignored() -> None:
    some = ["224.0.0.0/4", "127.0.0.0/8", "169.254.1.0/24", "255.255.255.255/32", "fe80::/64", "ff05::/16", "::1/128"]
    assert next_hops([NEAR], {"near": {Prefix.parse(prefix): route() for prefix in some}}) == {}
    default = Prefix.parse("0.0.0.0/0")
    assert next_hops([NEAR], {"near": {default: route()}}) == {default: (R1,)}


def test_the_number_of_next_hops_on_a_link_is_limited_and_the_edges_own_address_is_none() -> None:
    hops = [packed(f"2001:db8:9::{number:x}") for number in range(1, 200)]
    near = replace(NEAR, routers=(R1, packed("2001:db8:9::ffff")))
    learned = {Prefix.host(packed(f"2001:db8:7::{number:x}")): route(next_hop=hop) for number, hop in enumerate(hops)}
    used = {next_hop for hops in next_hops([near], {"near": learned}).values() for next_hop in hops}
    assert len(used) == MOST_NEXT_HOPS + 1
    assert NEAR.addresses[1].address not in used


def test_after_each_advertisement_the_changed_prefixes_alone_give_the_same_result_as_all() -> None:
    """Advertisements one after another, with next hops that come and go."""
    draw = Random(7)
    uplinks = (replace(NEAR, routers=(R1, packed("2001:db8:9::ffff"))), replace(FAR, routes=(THERE,)))
    network = Network("one", (), (Switch("e", 1),), (), (), uplinks=uplinks)
    yes, no = lambda *asked: True, lambda *asked: False
    edge = ManagedSwitch(network.switches[0], network, draw, RemovedServers(set), Decided(yes, yes, no, lambda *_: ()))
    some = [Prefix.parse(f"2001:db8:7:{number:x}::/64") for number in range(30)]
    prefixes = [THERE, Prefix.parse("127.0.0.0/9"), *some]
    hops = [packed(f"2001:db8:9::{number:x}") for number in range(2, 40)]
    for _ in range(100):
        learned = {
            uplink.name: {
                prefix: route(draw.randrange(3), next_hop=draw.choice([SESSION, *hops[: draw.choice((3, 38))]]))
                for prefix in draw.sample(prefixes, draw.randrange(len(prefixes)))
            }
            for uplink in uplinks
        }
        others = sorted({
            prefix for uplink in uplinks for prefix in edge.egress.set_learned(uplink, learned[uplink.name])
        })  # fmt: skip
        while others:
            edge.egress.find(others[:5])
            del others[:5]
        assert edge.egress._next_hops == next_hops(uplinks, learned)
