"""BGP with OS-Ken's own speaker: one ``Speaker`` for each uplink that has a session.

OS-Ken's ``BGPSpeaker`` is one router per process, with one next hop for each prefix.  The controller speaks
for many edges, and several of them announce the same ANY/n, each with its own address as the next hop.  So
each session gets a speaker of its own (``core_service``), which shares nothing with the others.  No route of
one router is passed on to another.

Rules that it keeps:
- The speaker does not listen.  It connects to the router, from ``local_address`` only: where no interface
  has that address, nothing is sent.
- ``announce`` takes all prefixes that should be announced, and sends the difference.
- Routes that a session has learned are removed when it ends.
- Where several controllers have sessions with the router, all announce the same, and the leader's routes have the
  lowest MED: when it ends, those of another are there already.
- A route that cannot be used is ignored and counted, and the session goes on (as RFC 7606 has it).
- When a session ends because the controller ends, the router keeps its routes for ``RESTART_S`` (graceful
  restart, RFC 4724), because the switches go on forwarding without the controller.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection
from contextlib import suppress
from typing import Any, NamedTuple

from os_ken.lib import hub, sockopt
from os_ken.lib.packet import bgp
from os_ken.services.protocols.bgp.info_base.ipv4 import Ipv4Path
from os_ken.services.protocols.bgp.info_base.ipv6 import Ipv6Path
from os_ken.services.protocols.bgp.signals.emit import BgpSignalBus

from anycast_sdn.core.events import Event
from anycast_sdn.core.model import Address, Gateway, Prefix, packed, text
from anycast_sdn.core.network_events import BgpDown, BgpRouteIgnored, BgpUp
from anycast_sdn.description.model import Uplink
from anycast_sdn.fabric.egress import Route
from anycast_sdn.routing.core_service import FAMILIES, Core, Router

LOG = logging.getLogger(__name__)

BGP_PORT = 179
CONNECT_S = 5.0  # an attempt to connect takes no longer
RETRY_S = 2.0  # between attempts
OPEN_S = 20.0  # a connection on which the router sends no OPEN is closed after this
NOT_TRIED = "not tried yet"
END_OF_RIB_S = 1.0  # from the session's start until all initial routes have been sent
MAX_ROUTES = 10_000  # learned from one router


class NeighbourView(NamedTuple):
    """A session at one moment."""

    uplink: str
    edge: str
    neighbour: str
    neighbour_as: int
    state: str  # of RFC 4271 §8.2.2, in lower case
    announced: int  # prefixes announced to the router
    learned: int
    ignored: int  # routes of this session that could not be used, or were too many
    problem: str  # why there is no session; "" while there is one


class Speaker:
    """The session of one uplink.  ``routes``: those that the router advertises now, by prefix."""

    def __init__(self, uplink: Uplink) -> None:
        assert uplink.bgp is not None
        self.uplink = uplink
        self.settings = uplink.bgp
        self.routes: dict[Prefix, Route] = {}
        self._changed = False
        self._announced: set[Prefix] = set()
        self._rank = 0
        self._run = 0  # which green thread keeps it connected; 0: none yet
        self._started = False
        self._connection: socket.socket | None = None
        self._ignored = 0
        self._problem = NOT_TRIED
        self._is_up = False
        self._told = (False, NOT_TRIED)  # whether it was up, and the problem, when that was reported last
        self._events: list[Event] = []
        self._router = Router.of(self.settings)
        self._core = Core(self.settings, self._router, self._failed)
        self._peer = self._core.peer
        bus = self._core.signal_bus
        bus.register_listener(BgpSignalBus.BGP_ADJ_UP, lambda *_: self._up())
        bus.register_listener(BgpSignalBus.BGP_ADJ_DOWN, lambda *_: self._down())
        bus.register_listener(BgpSignalBus.BGP_ADJ_RIB_IN_CHANGED, lambda _, data: self._learn(data["received_route"]))

    @property
    def is_started(self) -> bool:
        return self._started

    def start(self) -> None:
        """Begin to connect, and go on until ``stop``."""
        if not self._started:
            self._started = True
            self._run += 1
            hub.spawn(self._keep_connected, self._run)

    def stop(self) -> None:
        """Another controller speaks with the router from now on: it keeps the routes until then (``RESTART_S``)."""
        self._started = False
        self._close()

    def announce(self, prefixes: Collection[Prefix], rank: int = 0) -> None:
        """These prefixes, and no others, are announced now.  A family without an own address here is left out.

        ``rank``: of this controller among those that announce the same; routers prefer the lowest.
        """
        if rank != self._rank:
            self._rank = rank
            self._router.set_rank(self.settings.med, rank)
        wanted = {prefix for prefix in prefixes if self.uplink.address(prefix.is_v6)}
        for prefix in self._announced - wanted:
            self._advertise(prefix, is_withdraw=True)
        for prefix in wanted - self._announced:
            self._advertise(prefix)
        self._announced = wanted

    def pop_changed(self) -> dict[Prefix, Route] | None:
        """A copy of ``routes``, once after each change; None when they are the same as at the last call."""
        changed, self._changed = self._changed, False
        return dict(self.routes) if changed else None

    def pop_events(self) -> list[Event]:
        """What has become of the session since the last call; a loss that is over by now is none."""
        events, self._events = self._events, []
        (was_up, told), now = self._told, (self._is_up, self._problem)
        if now == (was_up, told):
            return events
        self._told = now
        place = self.uplink.edge, self.uplink.name, self.settings.neighbour
        if self._is_up:
            return [*events, *([] if was_up else [BgpUp(*place)])]
        return [*events, BgpDown(*place, self._problem, was_up)]

    def view(self) -> NeighbourView:
        return NeighbourView(
            self.uplink.name,
            self.uplink.edge,
            text(self.settings.neighbour),
            self.settings.neighbour_as,
            self._peer.state.bgp_state.lower(),
            len(self._announced) if self._peer.in_established() else 0,
            len(self.routes),
            self._ignored,
            self._problem,
        )

    # ---------------------------------------------------------------- advertising

    def _advertise(self, prefix: Prefix, is_withdraw: bool = False) -> None:
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
        self._core.advertise(path)

    # ---------------------------------------------------------------- learning

    def _learn(self, received: Any) -> None:
        """``received``: OS-Ken's ``ReceivedRoute``."""
        path = received.path
        if path.route_family not in FAMILIES:
            self._ignore(path, f"has an address family that this session does not use: {path.route_family}")
            return
        # Bits beyond its length are irrelevant (RFC 4271 §4.3).
        prefix = Gateway.parse(f"{path.nlri.addr}/{path.nlri.length}").prefix
        if path.is_withdraw:
            self._changed |= self.routes.pop(prefix, None) is not None
        elif len(self.routes) < MAX_ROUTES or prefix in self.routes:
            self.routes[prefix] = _route(path)
            self._changed = True
        else:
            self._ignore(path, f"is more than {MAX_ROUTES} routes")

    def _ignore(self, path: Any, reason: str) -> None:
        self._ignored += 1
        if self._ignored == 1:
            neighbour = self.settings.neighbour
            event = BgpRouteIgnored(self.uplink.edge, self.uplink.name, neighbour, str(path.nlri), reason)
            self._events.append(event)
        self._peer.adj_rib_in.pop(path.nlri.formatted_nlri_str, None)

    def _up(self) -> None:
        self._is_up, self._problem = True, ""
        self._router.restarted = False
        hub.spawn_after(END_OF_RIB_S, self._core.end_of_rib)

    def _down(self) -> None:
        self._is_up = False
        self._changed |= bool(self.routes)
        self.routes.clear()
        self._peer.adj_rib_in.clear()  # OS-Ken keeps it
        self._ignored = 0

    # ---------------------------------------------------------------- connection

    def _failed(self, problem: str) -> None:
        """An attempt to connect has failed, or a session has ended."""
        self._problem = problem

    def _keep_connected(self, run: int) -> None:
        waited_s = 0.0
        while self._started and run == self._run:
            try:
                if self._peer.in_idle():
                    self._connection, waited_s = self._connect(), 0.0
                    if not self._started:
                        self._close()
                elif self._connection and not self._peer.in_established():
                    waited_s += RETRY_S
                    if waited_s > OPEN_S:  # OS-Ken waits for the router's OPEN for ever
                        self._close()
            except OSError as error:
                self._failed(str(error))
            except Exception:
                LOG.exception("%s: internal error with BGP; the controller goes on", self.uplink.name)
            hub.sleep(RETRY_S)

    def _close(self) -> None:
        if self._connection:
            with suppress(OSError):  # closed by now
                self._connection.shutdown(socket.SHUT_RDWR)
        self._connection = None

    def _connect(self) -> socket.socket:
        """Connect to the router and begin a session.  Raises OSError.

        When no interface has ``local_address``, it does so before anything is sent.
        """
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
            self._core.start_protocol(connection)
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
