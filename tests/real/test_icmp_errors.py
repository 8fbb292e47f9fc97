"""ICMP errors reach those whom they are about, translated together with the packet that they quote."""

from __future__ import annotations

import pytest
from support import PORT, V4, V6, WEB, Family, Running, in_both_families, on_both_engines, program, until

pytestmark = on_both_engines

CLOSED = PORT + 50


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, [V4.as2, V6.as2])
    figure1.serve_udp("as2")
    return figure1


@pytest.mark.row("M18", "a closed UDP port behind ANY: the client gets ECONNREFUSED, from ANY; the flow is not pinned")
@in_both_families
def test_a_closed_port_is_refused_at_the_first_packet(network: Running, family: Family) -> None:
    with network.testbed.capture("h1", 0, "icmp or icmp6") as at_client:
        answers = network.ask("h1", family.web, "--source-port", 20401, port=CLOSED)
    assert answers == ["error ECONNREFUSED"]
    unreachable = (3, 3) if family is V4 else (1, 4)  # port unreachable
    (error,) = [packet for packet in at_client.packets() if tuple(packet.payload[:2]) == unreachable]
    assert (error.source, error.destination) == (family.web, family.h1)
    assert network.flow(family.h1, 20401)["state"] == "unanswered"


@pytest.mark.row("M18", "a pinned flow's server goes away: the client's next packet gets ECONNREFUSED")
@in_both_families
def test_a_closed_port_is_refused_in_a_pinned_flow(network: Running, family: Family) -> None:
    port = PORT + (60 if family is V4 else 70)
    (server,) = network.serve_udp("as2", port=port)
    assert network.ask("h1", family.web, "--source-port", 20402, port=port) == ["as2 hello"]
    server.stop()
    assert network.ask("h1", family.web, "--source-port", 20402, port=port) == ["error ECONNREFUSED"]
    assert network.flow(family.h1, 20402)["server"] == family.as2


@pytest.mark.row("M18", "a closed TCP port behind ANY: curl is refused at once, by the server's own RST")
@in_both_families
def test_a_closed_tcp_port_is_refused(network: Running, family: Family) -> None:
    host = f"[{family.web}]" if family is V6 else family.web
    done = network.testbed.run("h1", ["curl", "-gsS", "-m", "5", f"http://{host}:{CLOSED}/"])
    assert done.returncode == 7, done.stderr  # could not connect; 28 would be a timeout


@pytest.mark.row("M18", "a client's own ICMP error about a reply reaches the server as one about PR1X")
@in_both_families
def test_a_client_that_has_left_refuses_a_late_reply(network: Running, family: Family) -> None:
    unreachable = (3, 3) if family is V4 else (1, 4)
    errors = "icmp" if family is V4 else "icmp6 and ip6[40] = 1"  # not ND: the switch asks whether as2 is there
    with network.testbed.capture("as2", 0, errors) as at_server:
        text = "repeat 2 0.5"  # the second answer comes when the client's port is closed
        network.ask("h1", family.web, "--source-port", 20403, "--text", text)
        error = at_server.first(lambda packet: tuple(packet.payload[:2]) == unreachable)
    translated = network.flow(family.h1, 20403)["translated"]
    assert (error.source, error.destination) == (translated, family.as2)


@pytest.mark.row("M18", "path MTU discovery: 'packet too big' about PR1X → ASg lowers the client's MTU towards ANY")
@in_both_families
def test_path_mtu_discovery_works_through_the_translation(network: Running, family: Family) -> None:
    """as2 plays the narrow router, and quotes a packet as it was captured there."""
    words = ("--source-port", 20404, "--text", "repeat 2 9", "--answers", 2, "--wait", 12)
    with network.testbed.capture("as2", 0, f"{family.ip} and udp and dst host {family.as2}") as at_server:
        client = network.testbed.spawn("h1", program("udp_client.py", family.web, PORT, *words))
        until(client.output, "the first answer has come")
        request = at_server.first()
    network.run("as2", *program("too_big.py", request.source, 1300, request.frame[14:].hex()))
    until(lambda: "error EMSGSIZE" in client.output(), "the client's socket is told")
    assert "mtu 1300" in network.run("h1", "ip", "route", "get", family.web)
