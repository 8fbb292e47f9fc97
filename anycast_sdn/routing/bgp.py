"""BGP with OS-Ken's own speaker: one ``Speaker`` for each uplink that has a session.

OS-Ken's ``BGPSpeaker`` is one router per process, with one next hop for each prefix.  We stand for many
edges, and several of them announce the same ANY/n, each with its own address as the next hop.  So each
session gets a ``CoreService`` of its own, OS-Ken's speaker proper, which shares nothing with the others.
Nothing that one router says can reach another through us.

Rules that it keeps:
- Nothing listens.  The connection is made from here, from ``local_address`` and no other: where no
  interface has that address, nothing is sent.
- ``announce`` takes all that should be announced, and sends the difference.
- What a session has taught is forgotten when it ends.
- A session that ends because the controller does leaves the router's routes in place for ``RESTART_S``
  (graceful restart, RFC 4724): the switches go on forwarding without us.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

from os_ken.lib import hub, sockopt
from os_ken.lib.packet import bgp
from os_ken.services.protocols.bgp.bgpspeaker import BGPSpeaker
from os_ken.services.protocols.bgp.core import CoreService
from os_ken.services.protocols.bgp.info_base.base import Filter
from os_ken.services.protocols.bgp.info_base.ipv4 import Ipv4Path
from os_ken.services.protocols.bgp.info_base.ipv6 import Ipv6Path
from os_ken.services.protocols.bgp.rtconf.common import CommonConf
from os_ken.services.protocols.bgp.rtconf.neighbors import CONNECT_MODE_PASSIVE, NeighborConf, NeighborsConf
from os_ken.services.protocols.bgp.rtconf.vrfs import VrfsConf
from os_ken.services.protocols.bgp.signals.emit import BgpSignalBus

from anycast_sdn.core.exits import Route
from anycast_sdn.core.model import Address, BgpSession, Prefix, Uplink, packed, text

LOG = logging.getLogger(__name__)

BGP_PORT = 179
CONNECT_S = 5.0  # an attempt to connect takes no longer
RETRY_S = 2.0  # between attempts
OPEN_S = 20.0  # a router that accepts the connection and then says nothing is given up after this
RESTART_S = 120  # 1–4095; so long may the controller be away
END_OF_RIB_S = 1.0  # after the session is up: all that is announced at first has been sent
MAX_ROUTES = 100_000  # learned from one router

_FAMILIES = {False: bgp.RF_IPv4_UC, True: bgp.RF_IPv6_UC}
_RESTARTED, _FORWARDING_KEPT = 0x8, 0x80  # RFC 4724 §3


class NeighbourView(NamedTuple):
    """A session at one moment."""

    uplink: str
    edge: str
    neighbour: str
    neighbour_as: int
    state: str  # of RFC 4271 §8.2.2, in lower case
    announced: int
    learned: int


class Speaker:
    """The session of one uplink.  ``routes``: what it has taught, by prefix; ``changed``: since last asked."""

    def __init__(self, uplink: Uplink) -> None:
        assert uplink.bgp is not None
        self.uplink = uplink
        self.settings = uplink.bgp
        self.routes: dict[Prefix, Route] = {}
        self.changed = False
        self._announced: set[Prefix] = set()
        self._started = self._refusal_told = False
        self._router = _Neighbour.of(self.settings)
        self._core = _core(self.settings, self._router)
        self._peer = next(self._core.peer_manager.iterpeers)
        self._peer.in_filters = [_KeepOut(), _KeepOutV6()]
        bus = self._core.signal_bus
        bus.register_listener(BgpSignalBus.BGP_ADJ_UP, lambda *_: self._up())
        bus.register_listener(BgpSignalBus.BGP_ADJ_DOWN, lambda *_: self._down())
        bus.register_listener(BgpSignalBus.BGP_ADJ_RIB_IN_CHANGED, lambda _, data: self._heard(data["received_route"]))

    def start(self) -> None:
        """Begin to connect, and go on as long as the process lives."""
        if not self._started:
            self._started = True
            hub.spawn(self._connect)

    def announce(self, prefixes: Collection[Prefix]) -> None:
        """All that the router should have from us.  A family without an own address here is left out."""
        wanted = {prefix for prefix in prefixes if self.uplink.address(prefix.is_v6)}
        for prefix in self._announced - wanted:
            self._tell(prefix, is_withdraw=True)
        for prefix in wanted - self._announced:
            self._tell(prefix)
        self._announced = wanted

    def view(self) -> NeighbourView:
        return NeighbourView(
            self.uplink.name,
            self.uplink.edge,
            text(self.settings.neighbour),
            self.settings.neighbour_as,
            self._peer.state.bgp_state.lower(),
            len(self._announced),
            len(self.routes),
        )

    # ---------------------------------------------------------------- what we say

    def _tell(self, prefix: Prefix, is_withdraw: bool = False) -> None:
        next_hop = self.uplink.address(prefix.is_v6)
        assert next_hop is not None
        attributes = {
            bgp.BGP_ATTR_TYPE_ORIGIN: bgp.BGPPathAttributeOrigin(bgp.BGP_ATTR_ORIGIN_IGP),
            bgp.BGP_ATTR_TYPE_AS_PATH: bgp.BGPPathAttributeAsPath([[]]),
        }
        if self.settings.communities:
            communities = bgp.BGPPathAttributeCommunities(list(self.settings.communities))
            attributes[bgp.BGP_ATTR_TYPE_COMMUNITIES] = communities
        nlri = (bgp.IP6AddrPrefix if prefix.is_v6 else bgp.IPAddrPrefix)(prefix.length, text(prefix.network))
        path = (Ipv6Path if prefix.is_v6 else Ipv4Path)(
            None, nlri, 1, pattrs=attributes, nexthop=text(next_hop), is_withdraw=is_withdraw
        )
        self._core.table_manager.learn_path(path)

    def _end_of_rib(self) -> None:
        """The router may now drop what it kept from before and we have not said again (RFC 4724 §4)."""
        if self._peer.in_established():
            for family in _FAMILIES.values():
                self._peer.enque_end_of_rib(family)

    # ---------------------------------------------------------------- what we hear

    def _heard(self, received: Any) -> None:
        path = received.path
        prefix = Prefix.parse(f"{path.nlri.addr}/{path.nlri.length}")
        if path.is_withdraw:
            self.changed |= self.routes.pop(prefix, None) is not None
        elif len(self.routes) < MAX_ROUTES or prefix in self.routes:
            self.routes[prefix] = _route(path)
            self.changed = True
        else:
            LOG.warning("%s: more than %d routes: %s is ignored", self.uplink.name, MAX_ROUTES, prefix)

    def _up(self) -> None:
        LOG.info("BGP session of %s with %s is up", self.uplink.name, text(self.settings.neighbour))
        self._router.restarted = False
        hub.spawn_after(END_OF_RIB_S, self._end_of_rib)

    def _down(self) -> None:
        LOG.warning("BGP session of %s with %s is lost", self.uplink.name, text(self.settings.neighbour))
        self.changed |= bool(self.routes)
        self.routes.clear()

    # ---------------------------------------------------------------- connection

    def _connect(self) -> None:
        connection: socket.socket | None = None
        waited_s = 0.0
        while True:
            if self._peer.in_idle():
                connection, waited_s = self._try_to_connect(), 0.0
            elif connection and not self._peer.in_established():
                waited_s += RETRY_S
                if waited_s > OPEN_S:  # OS-Ken waits for the router's OPEN for ever
                    with suppress(OSError):  # closed by now
                        connection.shutdown(socket.SHUT_RDWR)
                    connection = None
            hub.sleep(RETRY_S)

    def _try_to_connect(self) -> socket.socket | None:
        try:
            connection = self._connection()
        except OSError as error:
            if not self._refusal_told:
                LOG.warning("%s: no BGP session with %s yet: %s",
                            self.uplink.name, text(self.settings.neighbour), error)  # fmt: skip
            self._refusal_told = True
            return None
        self._refusal_told = False
        self._core.start_protocol(connection)
        return connection

    def _connection(self) -> socket.socket:
        """A connection to the router.  Raises OSError, before anything is sent when the own address is missing."""
        v6 = len(self.settings.neighbour) == 16
        connection = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET)
        try:
            connection.settimeout(CONNECT_S)
            hops = (socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if v6 else (socket.IPPROTO_IP, socket.IP_TTL)
            connection.setsockopt(*hops, self.settings.ttl)
            if self.settings.password:
                sockopt.set_tcp_md5sig(connection, text(self.settings.neighbour), self.settings.password.encode())
            connection.bind((text(self.settings.local_address), 0))
            connection.connect((text(self.settings.neighbour), BGP_PORT))
            connection.settimeout(None)
        except OSError:
            connection.close()
            raise
        return connection


def _route(path: Any) -> Route:
    attributes = path.pathattr_map
    med = attributes.get(bgp.BGP_ATTR_TYPE_MULTI_EXIT_DISC)
    hops = attributes[bgp.BGP_ATTR_TYPE_AS_PATH].get_as_path_len()
    next_hop: Address = packed(path.nexthop)
    return Route(hops, attributes[bgp.BGP_ATTR_TYPE_ORIGIN].value, med.value if med else 0, next_hop)


# ------------------------------------------------------------------------------ OS-Ken's speaker, below its surface


class _Neighbour(NeighborConf):  # type: ignore[misc]
    """The router's settings, with graceful restart among what we offer."""

    restarted = True  # until the first session is up

    @classmethod
    def of(cls, settings: BgpSession) -> _Neighbour:
        _prepare()
        return cls(
            remote_as=settings.neighbour_as,
            ip_address=text(settings.neighbour),
            local_as=settings.local_as,
            rtc_as=settings.local_as,
            hold_time=settings.hold_s,
            multi_exit_disc=settings.med,
            connect_mode=CONNECT_MODE_PASSIVE,
            cap_mbgp_ipv4=True,
            cap_mbgp_ipv6=True,
            cap_four_octet_as_number=True,
        )

    def get_configured_capabilities(self) -> Any:
        capabilities = super().get_configured_capabilities()
        families = [(family.afi, family.safi, _FORWARDING_KEPT) for family in _FAMILIES.values()]
        restart = bgp.BGPOptParamCapabilityGracefulRestart(_RESTARTED * self.restarted, RESTART_S, families)
        capabilities[bgp.BGP_CAP_GRACEFUL_RESTART] = [restart]
        return capabilities


class _KeepOut(Filter):  # type: ignore[misc]
    """Nothing that is learned enters OS-Ken's own table: ``Speaker.routes`` has it.

    In that table a prefix that we withdraw while the router teaches it too would never be withdrawn.
    """

    prefix = "all"

    def evaluate(self, path: Any) -> tuple[int, bool]:
        return self.POLICY_DENY, True

    def clone(self) -> _KeepOut:
        return self


class _KeepOutV6(_KeepOut):
    ROUTE_FAMILY = bgp.RF_IPv6_UC


def _core(settings: BgpSession, router: _Neighbour) -> CoreService:
    # Another of our edges may be in the same AS.  We pass nothing on, so nothing can go round.
    common = CommonConf(
        local_as=settings.local_as,
        router_id=text(settings.router_id),
        bgp_server_port=0,  # do not listen
        allow_local_as_in_count=10,
    )
    neighbours = NeighborsConf()
    core = CoreService(common, neighbours, VrfsConf())
    neighbours.add_neighbor_conf(router)
    running = hub.Event()
    hub.spawn(core.start, waiter=running)
    running.wait()
    return core


@cache
def _prepare() -> BGPSpeaker:
    """OS-Ken's settings of neighbours ask the process's one ``BGPSpeaker`` for defaults: there has to be one.

    It has no neighbour and listens nowhere.
    """
    return BGPSpeaker(64512, "0.0.0.1", bgp_server_port=0)  # an AS number for private use
