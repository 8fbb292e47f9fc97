"""What a BGP session announces and learns.  OS-Ken's core, which needs a router, is a recorder here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from os_ken.lib.packet import bgp
from os_ken.services.protocols.bgp.info_base.ipv4 import Ipv4Path
from os_ken.services.protocols.bgp.signals.emit import BgpSignalBus

from anycast_sdn.core.model import Prefix, packed
from anycast_sdn.core.network_events import BgpDown, BgpRouteIgnored, BgpUp
from anycast_sdn.description import reading
from anycast_sdn.description.model import BgpSession, Uplink
from anycast_sdn.fabric.egress import Route
from anycast_sdn.routing import bgp as routing
from anycast_sdn.routing.bgp import Speaker

ROOT = Path(__file__).parents[3]
ANY, ANY6 = Prefix.parse("198.18.0.0/24"), Prefix.parse("2001:db8:ffff::/64")
NEAR, FAR = Prefix.parse("192.0.2.0/25"), Prefix.parse("192.0.2.128/25")
ROUTER = "198.51.100.2"


class Recorder:
    """Instead of OS-Ken's core: records what is advertised, and reports what a router would send."""

    def __init__(self, settings: BgpSession, router: object, lost: Callable[[str], None]) -> None:
        self.lost = lost
        self.advertised: list[tuple[str, bool]] = []  # (prefix, is it withdrawn?)
        self.paths: list[Any] = []
        self.signal_bus = BgpSignalBus()
        self.peer = SimpleNamespace(
            adj_rib_in={}, state=SimpleNamespace(bgp_state="Established"), in_established=lambda: True
        )

    def advertise(self, path: Any) -> None:
        self.paths.append(path)
        self.advertised.append((path.nlri.formatted_nlri_str, path.is_withdraw))

    def end_of_rib(self) -> None:
        pass


class Session:
    """A speaker of the uplink in topologies/legacy-core.yaml."""

    def __init__(self) -> None:
        network = reading.load(ROOT / "topologies/legacy-core.yaml")
        self.uplink: Uplink = next(uplink for uplink in network.uplinks if uplink.bgp)
        self.speaker = Speaker(self.uplink)
        self.core: Recorder = self.speaker._core

    def learns(self, prefix: str, withdrawn: bool = False, **others: Any) -> None:
        """The router advertises a route, or withdraws it."""
        address, _, length = prefix.partition("/")
        nlri = bgp.IPAddrPrefix(int(length), address)
        received = Ipv4Path(None, nlri, 1, pattrs=attributes(**others), nexthop=ROUTER, is_withdraw=withdrawn)
        self.core.peer.adj_rib_in[nlri.formatted_nlri_str] = received
        self.core.signal_bus.adj_rib_in_changed(self.core.peer, SimpleNamespace(path=received))


def attributes(
    segments: list[Any] | None = None, origin: int = bgp.BGP_ATTR_ORIGIN_IGP, med: int | None = None
) -> dict[int, Any]:
    made: dict[int, Any] = {
        bgp.BGP_ATTR_TYPE_ORIGIN: bgp.BGPPathAttributeOrigin(origin),
        bgp.BGP_ATTR_TYPE_AS_PATH: bgp.BGPPathAttributeAsPath(segments or [[65000]]),
    }
    if med is not None:
        made[bgp.BGP_ATTR_TYPE_MULTI_EXIT_DISC] = bgp.BGPPathAttributeMultiExitDisc(med)
    return made


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    monkeypatch.setattr(routing, "Core", Recorder)
    monkeypatch.setattr("anycast_sdn.routing.bgp.Router.of", lambda settings: SimpleNamespace(restarted=True))
    monkeypatch.setattr("anycast_sdn.routing.bgp.hub.spawn_after", lambda *arguments: None)
    return Session()


# ------------------------------------------------------------------------------ announcing


def test_only_what_differs_is_advertised(session: Session) -> None:
    session.speaker.announce([NEAR, FAR])
    assert sorted(session.core.advertised) == [(str(NEAR), False), (str(FAR), False)]
    session.core.advertised.clear()
    session.speaker.announce([FAR, ANY])
    assert session.core.advertised == [(str(NEAR), True), (str(ANY), False)]
    session.core.advertised.clear()
    session.speaker.announce([ANY, FAR])
    assert session.core.advertised == []
    assert session.speaker.view().announced == 2


def test_a_prefix_is_advertised_with_the_edges_own_address_as_its_next_hop(session: Session) -> None:
    session.speaker.announce([ANY])
    session.speaker.announce([ANY, ANY6])
    assert [path.nexthop for path in session.core.paths] == ["10.9.1.1", "2001:db8:9:1::1"]
    for path in session.core.paths:
        assert path.pathattr_map[bgp.BGP_ATTR_TYPE_AS_PATH].get_as_path_len() == 0
        assert path.pathattr_map[bgp.BGP_ATTR_TYPE_COMMUNITIES].communities == [*session.speaker.settings.communities]


def test_a_family_without_an_own_address_at_the_uplink_is_left_out(session: Session) -> None:
    only_v4 = tuple(address for address in session.uplink.addresses if len(address.address) == 4)
    session.speaker.uplink = Uplink(
        session.uplink.name, session.uplink.edge, session.uplink.port, only_v4, session.uplink.routers
    )
    session.speaker.announce([ANY, ANY6])
    assert session.core.advertised == [(str(ANY), False)]


# ------------------------------------------------------------------------------ learning


def test_a_route_has_what_the_choice_among_routers_needs(session: Session) -> None:
    session.learns(str(NEAR), segments=[[65000, 65001]], med=7)
    session.learns(str(FAR), segments=[[65000], {1, 2, 3}], origin=bgp.BGP_ATTR_ORIGIN_INCOMPLETE)
    assert session.speaker.routes == {
        NEAR: Route(2, bgp.BGP_ATTR_ORIGIN_IGP, 7, packed(ROUTER)),
        FAR: Route(2, bgp.BGP_ATTR_ORIGIN_INCOMPLETE, 0, packed(ROUTER)),  # a set counts as one (RFC 4271 §9.1.2.2)
    }


def test_changed_routes_are_handed_on_once(session: Session) -> None:
    assert session.speaker.pop_changed() is None
    session.learns(str(NEAR))
    handed_on = session.speaker.pop_changed()
    assert handed_on is not None
    assert list(handed_on) == [NEAR]
    assert session.speaker.pop_changed() is None
    session.learns(str(FAR), withdrawn=True)  # it was never advertised
    assert session.speaker.pop_changed() is None
    session.learns(str(NEAR), withdrawn=True)
    assert session.speaker.pop_changed() == {}
    assert list(handed_on) == [NEAR]  # a copy


def test_bits_beyond_the_length_of_a_prefix_say_nothing(session: Session) -> None:
    session.learns("192.0.2.77/25")
    assert list(session.speaker.routes) == [NEAR]
    session.learns("192.0.2.3/25", withdrawn=True)
    assert not session.speaker.routes


def test_routes_beyond_the_limit_are_ignored_counted_and_forgotten(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "MAX_ROUTES", 1)
    session.learns(str(NEAR))
    session.learns(str(FAR))
    session.learns("203.0.113.0/24")
    assert list(session.speaker.routes) == [NEAR]
    assert session.speaker.view().ignored == 2
    assert list(session.core.peer.adj_rib_in) == [str(NEAR)]
    [event] = session.speaker.pop_events()  # of the first of them
    assert isinstance(event, BgpRouteIgnored)
    session.learns(str(NEAR), med=9)  # a known route may change
    assert session.speaker.routes[NEAR].med == 9


def test_a_route_of_another_family_is_ignored(session: Session) -> None:
    other = SimpleNamespace(
        route_family=bgp.RF_IPv4_VPN, nlri=SimpleNamespace(formatted_nlri_str="1:1:192.0.2.0/25"), is_withdraw=False
    )
    session.core.signal_bus.adj_rib_in_changed(session.core.peer, SimpleNamespace(path=other))
    assert not session.speaker.routes
    assert session.speaker.view().ignored == 1


# ------------------------------------------------------------------------------ sessions


def test_what_a_session_has_learned_goes_with_it(session: Session) -> None:
    session.core.signal_bus.adj_up(session.core.peer)
    session.learns(str(NEAR))
    assert session.speaker.pop_changed()
    session.core.signal_bus.adj_down(session.core.peer)
    assert session.speaker.pop_changed() == {}
    assert session.core.peer.adj_rib_in == {}
    assert session.speaker.view().learned == 0


def test_the_reason_why_there_is_no_session_is_reported_once_and_shown(session: Session) -> None:
    assert session.speaker.view().problem == "not tried yet"
    assert session.speaker.pop_events() == []
    for _ in range(3):
        session.core.lost("connection refused")
    place = session.uplink.edge, session.uplink.name, packed(ROUTER)
    assert session.speaker.pop_events() == [BgpDown(*place, "connection refused", was_up=False)]
    assert session.speaker.pop_events() == []
    assert session.speaker.view().problem == "connection refused"
    session.core.signal_bus.adj_up(session.core.peer)
    assert session.speaker.view().problem == ""


def test_a_session_that_is_up_and_one_that_is_lost_are_reported_once(session: Session) -> None:
    place = session.uplink.edge, session.uplink.name, packed(ROUTER)
    session.core.signal_bus.adj_up(session.core.peer)
    assert session.speaker.pop_events() == [BgpUp(*place)]
    session.core.signal_bus.adj_down(session.core.peer)
    session.core.lost("hold timer expired")
    assert session.speaker.pop_events() == [BgpDown(*place, "hold timer expired", was_up=True)]
    assert session.speaker.pop_events() == []
