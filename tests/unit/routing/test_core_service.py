"""What differs from OS-Ken's BGP core, on a connection over loopback to nobody who answers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from os_ken.lib.packet import bgp
from os_ken.services.protocols.bgp.info_base.base import Filter

from anycast_sdn.routing.core_service import SHORTEST_HOLD_S, _KeepOut, _KeepOutV6, _Protocol

ROUTER_AS = 65000


class Conversation:
    """A connection to a router, as OS-Ken sees it once the router is known."""

    def __init__(self, connection: socket.socket) -> None:
        self.lost: list[str] = []
        self.handled: list[Any] = []
        self.protocol: Any = _Protocol(self.lost.append, connection, SimpleNamespace(bgp_notification_received=print))
        self.protocol._peer = SimpleNamespace(
            remote_as=ROUTER_AS,
            state=SimpleNamespace(bgp_state="Established"),
            handle_msg=self.handled.append,
            connection_lost=lambda reason: None,
        )


@pytest.fixture
def conversation() -> Iterator[Conversation]:
    with (
        socket.create_server(("127.0.0.1", 0)) as router,
        socket.create_connection(router.getsockname()) as connection,
        router.accept()[0],
    ):
        yield Conversation(connection)


def opening(hold_s: int) -> Any:
    return bgp.BGPOpen(my_as=ROUTER_AS, bgp_identifier="192.0.2.1", hold_time=hold_s, version=4)


@pytest.mark.parametrize("hold_s", [0, 1, SHORTEST_HOLD_S - 1])
def test_a_hold_time_that_is_too_short_or_none_is_refused(conversation: Conversation, hold_s: int) -> None:
    with pytest.raises(bgp.UnacceptableHoldTime):
        conversation.protocol._validate_open_msg(opening(hold_s))


def test_the_shortest_hold_time_is_accepted_from_the_right_as_alone(conversation: Conversation) -> None:
    conversation.protocol._validate_open_msg(opening(SHORTEST_HOLD_S))
    conversation.protocol._peer.remote_as = ROUTER_AS + 1
    with pytest.raises(bgp.BadPeerAs):
        conversation.protocol._validate_open_msg(opening(SHORTEST_HOLD_S))


def test_a_refresh_of_a_family_that_the_session_does_not_have_is_ignored(conversation: Conversation) -> None:
    known, unknown = bgp.BGPRouteRefresh(1, 1), bgp.BGPRouteRefresh(1, 128)
    conversation.protocol._handle_msg(unknown)
    conversation.protocol._handle_msg(known)
    assert conversation.handled == [known]


def test_the_reason_for_a_connections_end_is_passed_on_once(conversation: Conversation) -> None:
    conversation.protocol.connection_lost("the router has closed it")
    conversation.protocol.connection_lost("again")
    assert conversation.lost == ["the router has closed it"]


def test_the_routers_own_reason_counts_more_than_that_it_closed_the_connection(conversation: Conversation) -> None:
    conversation.protocol._handle_msg(bgp.BGPNotification(6, 2))
    conversation.protocol.connection_lost("closed")
    (reason,) = conversation.lost
    assert reason.startswith("the router has ended it: ")
    assert reason.endswith("(6/2)")


@pytest.mark.parametrize("keep_out", [_KeepOut(), _KeepOutV6()])
def test_no_learned_route_enters_os_kens_table(keep_out: Any) -> None:
    assert keep_out.clone().evaluate(object()) == (Filter.POLICY_DENY, True)
