"""The same five fields, used again right after a reset: a new connection like any other (M19, M20)."""

from __future__ import annotations

import pytest
from support import PORT, V4, V6, WEB, Running, on_both_engines, program, until

pytestmark = on_both_engines

SILENCE_S = 8  # longer than tcp_closed_s, and than a reset connection's address needs to be another's


@pytest.mark.row("M20", "the same five fields right after a reset: the new connection has its full validity")
def test_a_connection_with_the_same_five_fields_has_the_full_validity(figure1: Running) -> None:
    figure1.enrol("web", WEB, [V4.as2, V6.as2])
    figure1.serve_tcp("as2")
    clients = [
        figure1.testbed.spawn("h1", program("tcp_again.py", family.web, PORT, 21300, SILENCE_S)) for family in (V4, V6)
    ]
    until(lambda: len([flow for flow in figure1.flows() if flow["client_port"] == 21300]) == 2, "both are there")
    until(lambda: None not in [client.process.poll() for client in clients], "both have ended", SILENCE_S + 15)
    assert [client.output() for client in clients] == ["answered\n", "answered\n"]
