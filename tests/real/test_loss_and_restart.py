"""A server dies while the controller is away (M20, M32)."""

from __future__ import annotations

import pytest
from support import Running
from test_server_loss import AGAIN_S, WITHIN_S, check, gaps_when_as2_dies, serve_what_is_polled

pytestmark = pytest.mark.alone("it measures gaps in answers")

STARTS_WITHIN_S = 6.0  # the controller, on a busy machine


@pytest.mark.row("M20", "the controller is killed, a server dies, the controller starts: its flows but TCP go on, "
                 "each keeps its PR1X, and flows of other servers do not notice")  # fmt: skip
def test_a_server_that_dies_while_the_controller_is_away_is_replaced(figure1: Running) -> None:
    network = serve_what_is_polled(figure1)
    cut = ("ip", "link", "set", network.testbed.interface("as2"), "down")
    check(gaps_when_as2_dies(network, *cut, without_controller=True), STARTS_WITHIN_S + WITHIN_S, 2 * AGAIN_S)
