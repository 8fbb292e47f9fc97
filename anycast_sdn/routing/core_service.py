"""OS-Ken's BGP core, one instance for each session, with corrections.

What differs from OS-Ken:
- A withdrawal is always sent.  OS-Ken sends it only to peers that were sent the announcement, and does not count
  announcements that are still in its queues.
- A hold time of less than 3 s is refused (RFC 4271 §4.2 demands it for 1 and 2): OS-Ken would send keepalives
  in a loop.  A hold time of 0 is refused too: without keepalives a dead router would never be detected.
- ROUTE-REFRESH is answered also when no MED is set, and ignored for address families that the session does not have.
- The capability of graceful restart is sent (RFC 4724).
- No learned route enters OS-Ken's own table.
- The reason why a connection has ended is passed on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from os_ken.lib import hub
from os_ken.lib.packet import bgp
from os_ken.services.protocols.bgp.bgpspeaker import BGPSpeaker
from os_ken.services.protocols.bgp.core import CoreService
from os_ken.services.protocols.bgp.info_base.base import Filter
from os_ken.services.protocols.bgp.model import OutgoingRoute
from os_ken.services.protocols.bgp.rtconf.common import CommonConf
from os_ken.services.protocols.bgp.rtconf.neighbors import CONNECT_MODE_PASSIVE, NeighborConf, NeighborsConf
from os_ken.services.protocols.bgp.rtconf.vrfs import VrfsConf
from os_ken.services.protocols.bgp.speaker import BgpProtocol

from anycast_sdn.core.model import text
from anycast_sdn.description.model import BgpSession

SHORTEST_HOLD_S = 3
RANK_MED = 10  # from one controller to the next
MOST_MED = 2**32 - 1
RESTART_S = 120  # 1–4095; how long the router keeps our routes while the controller is away
FAMILIES = (bgp.RF_IPv4_UC, bgp.RF_IPv6_UC)
_RESTARTED, _FORWARDING_KEPT = 0x8, 0x80  # RFC 4724 §3


class Router(NeighborConf):  # type: ignore[misc]
    """The router's settings, with the capability of graceful restart."""

    restarted = True  # until the first session is up

    @classmethod
    def of(cls, settings: BgpSession) -> Router:
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

    def set_rank(self, med: int | None, rank: int) -> None:
        """What has been advertised is advertised again if the MED is another than before."""
        self.multi_exit_disc = min((med or 0) + RANK_MED * rank, MOST_MED) if rank else med

    def get_configured_capabilities(self) -> Any:
        capabilities = super().get_configured_capabilities()
        families = [(family.afi, family.safi, _FORWARDING_KEPT) for family in FAMILIES]
        restart = bgp.BGPOptParamCapabilityGracefulRestart(_RESTARTED * self.restarted, RESTART_S, families)
        capabilities[bgp.BGP_CAP_GRACEFUL_RESTART] = [restart]
        return capabilities


class Core(CoreService):  # type: ignore[misc]
    """OS-Ken's speaker for one session.  ``lost`` is called with the reason why a connection has ended."""

    def __init__(self, settings: BgpSession, router: Router, lost: Callable[[str], None]) -> None:
        # Another of our edges may be in the same AS.  No route is passed on, so none can loop.
        common = CommonConf(
            local_as=settings.local_as,
            router_id=text(settings.router_id),
            bgp_server_port=0,  # do not listen
            allow_local_as_in_count=10,
        )
        neighbours = NeighborsConf()
        super().__init__(common, neighbours, VrfsConf())
        neighbours.add_neighbor_conf(router)
        self.peer = next(self.peer_manager.iterpeers)
        self.peer.in_filters = [_KeepOut(), _KeepOutV6()]
        self.peer_manager.resend_sent = self._resend
        self._lost = lost
        running = hub.Event()
        hub.spawn(self.start, waiter=running)
        running.wait()

    def protocol(self, *arguments: Any, **options: Any) -> BgpProtocol:
        return _Protocol(self._lost, *arguments, **options)

    def advertise(self, path: Any) -> None:
        """Advertise a route to the router, or withdraw it."""
        self.table_manager.learn_path(path)
        self._bgp_processor._process_dest()
        if path.is_withdraw and self.peer.in_established():
            self.peer.enque_outgoing_msg(OutgoingRoute(path))

    def end_of_rib(self) -> None:
        """End-of-RIB: all initial routes have been advertised (RFC 4724 §2)."""
        for family in FAMILIES:
            if self.peer.in_established() and self.peer.is_mbgp_cap_valid(family):
                self.peer.enque_end_of_rib(family)

    def _resend(self, family: Any, peer: Any) -> None:
        """The router has requested all routes of a family again (RFC 2918)."""
        for destination in self.table_manager.get_global_table_by_route_family(family).values():
            for sent in destination.sent_routes or ():
                peer.enque_outgoing_msg(OutgoingRoute(sent.path, for_route_refresh=True))


class _Protocol(BgpProtocol):  # type: ignore[misc]
    """One connection."""

    def __init__(self, lost: Callable[[str], None], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._lost = lost
        self._refusal = ""

    def _validate_open_msg(self, message: Any) -> None:
        super()._validate_open_msg(message)
        if message.hold_time < SHORTEST_HOLD_S:
            raise bgp.UnacceptableHoldTime

    def _handle_msg(self, message: Any) -> None:
        if message.type == bgp.BGP_MSG_NOTIFICATION:
            code, subcode = message.error_code, message.error_subcode
            self._refusal = f"the router has ended it: {message.reason or 'unknown'} ({code}/{subcode})"
        known = [(family.afi, family.safi) for family in FAMILIES]
        if message.type != bgp.BGP_MSG_ROUTE_REFRESH or (message.afi, message.safi) in known:  # RFC 2918 §4
            super()._handle_msg(message)

    def send_notification(self, code: int, subcode: int) -> None:
        self._refusal = f"the router was refused: {bgp.BGPNotification(code, subcode).reason} ({code}/{subcode})"
        super().send_notification(code, subcode)

    def connection_lost(self, reason: str) -> None:
        if self._peer:  # the first of several calls
            self._lost(self._refusal or reason)
        super().connection_lost(reason)


class _KeepOut(Filter):  # type: ignore[misc]
    """Keeps received routes out of OS-Ken's table: there, a prefix that both sides advertise is never withdrawn."""

    prefix = "all"

    def evaluate(self, path: Any) -> tuple[int, bool]:
        return self.POLICY_DENY, True

    def clone(self) -> _KeepOut:
        return self


class _KeepOutV6(_KeepOut):
    ROUTE_FAMILY = bgp.RF_IPv6_UC


@cache
def _prepare() -> BGPSpeaker:
    """OS-Ken's settings of neighbours get defaults from the process's one ``BGPSpeaker``: there has to be one.

    It has no neighbour and listens nowhere.
    """
    return BGPSpeaker(64512, "0.0.0.1", bgp_server_port=0)  # an AS number for private use
