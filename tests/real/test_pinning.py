"""Who may pin a flow, and that it stays pinned whatever happens (M17, M20)."""

from __future__ import annotations

import pytest
from support import PORT, V4, V6, WEB, Family, Running, in_both_families, on_both_engines

pytestmark = on_both_engines

TO_AS3, TO_AS4, UNKNOWN_TO_EACH = PORT + 10, PORT + 20, PORT + 30  # ports of as2's servers that hand over
CORE_TO_ARS2 = "/v1/topology/links/core:11"


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    """as2 and as3 are in group web, as4 in another; as2 hands requests over to as3, or to as4."""
    figure1.enrol("web", WEB, [V4.as2, V6.as2, V4.as3, V6.as3])
    figure1.serve_udp("as2", "as3", "as4")
    figure1.serve_tcp("as2", "as3", "as4")
    for port, other in ((TO_AS3, "as3"), (TO_AS4, "as4")):
        figure1.serve_udp("as2", port=port, pass_to=[getattr(family, other) for family in (V4, V6)])
        figure1.serve_udp(other, port=port)
    return figure1


@pytest.mark.row("M17", "hand-over: the request reaches AS2, AS3 answers from its own address: pinned to AS3")
@pytest.mark.row("M14", "after the hand-over, packets go straight to AS3")
@in_both_families
def test_the_server_that_answers_pins_the_flow(network: Running, family: Family) -> None:
    requests = network.testbed.capture("as2", 0, f"{family.ip} and udp dst port {TO_AS3}")
    with requests:
        assert network.ask("h1", family.web, "--source-port", 20301, port=TO_AS3) == ["as3 hello"]
        assert network.flow(family.h1, 20301)["server"] == family.as3
        answers = network.ask("h1", family.web, "--source-port", 20301, "--count", 5, port=TO_AS3)
        assert answers == ["as3 hello"] * 5
    assert len(requests.packets()) == 1


@pytest.mark.row("M17", "a reply from a host that is enrolled nowhere is dropped in the switch, counted")
@in_both_families
def test_a_stranger_cannot_pin(network: Running, family: Family) -> None:
    with network.counts("arh1", "unknown_translated", 3):
        answers = network.ask("h1", family.web, "--source-port", 20302, "--count", 3, "--wait", 0, port=TO_AS4)
    assert answers == []
    flow = network.flow(family.h1, 20302)
    assert (flow["state"], flow["server"]) == ("unanswered", None)


@pytest.mark.row("M17", "a reply from a server of another group is dropped by the controller, counted")
@in_both_families
def test_a_server_of_another_group_cannot_pin(network: Running, family: Family) -> None:
    service = "198.18.9.1/32" if family is V4 else "2001:db8:a:9::1/128"
    network.enrol("other4" if family is V4 else "other6", [service], [family.as4])
    with network.counts("arh1", "stranger_reply", 3):
        answers = network.ask("h1", family.web, "--source-port", 20303, "--count", 3, "--wait", 0, port=TO_AS4)
    assert answers == []
    assert network.flow(family.h1, 20303)["state"] == "unanswered"


@pytest.mark.row("M17", "once pinned, another server of the group is a stranger")
@in_both_families
def test_a_pinned_flow_hears_its_server_alone(network: Running, family: Family) -> None:
    """as2 answers first; then as3 answers a request that as2 hands over, as it were by mistake."""
    assert network.ask("h1", family.web, "--source-port", 20304) == ["as2 hello"]
    translated = network.flow(family.h1, 20304)["translated"]
    with network.counts("arh1", "stranger_reply"):
        network.ask("as2", family.as3, "--text", f"{translated} 20304 intruder", "--answers", 0, port=PORT + 1)
    assert network.ask("h1", family.web, "--source-port", 20304) == ["as2 hello"]
    assert network.flow(family.h1, 20304)["server"] == family.as2


@pytest.mark.row("M20", "a TCP transfer stays with its server and arrives whole: costs, members and states change, "
                 "its server is removed; new flows go elsewhere meanwhile")  # fmt: skip
@pytest.mark.row("M23", "while the costs change, new flows follow them")
@in_both_families
def test_a_connection_keeps_its_server_whatever_happens(network: Running, family: Family) -> None:
    server = f"/v1/groups/web/servers/{family.as2}"
    with network.transfer("h2", family.web, "as2") as source_port:
        pinned = network.flow(family.h2, source_port)
        network.call("PATCH", CORE_TO_ARS2, {"cost": 9})
        assert network.ask("h1", family.web) == ["as3 hello"]
        network.call("PATCH", CORE_TO_ARS2, {"cost": 1})
        assert network.ask("h1", family.web) == ["as2 hello"]
        network.call("PUT", f"/v1/groups/web/servers/{family.as4}", {"weight": 5})
        network.call("PATCH", server, {"state": "draining"})
        assert network.ask("h1", family.web)[0] in ("as3 hello", "as4 hello")
        network.call("DELETE", server)
        assert network.ask("h1", family.web)[0] in ("as3 hello", "as4 hello")
        for other in (family.as3, family.as4):
            network.call("DELETE", f"/v1/groups/web/servers/{other}")
        during = network.flow(family.h2, source_port)
    assert (during["server"], during["translated"]) == (family.as2, pinned["translated"])
    network.enrol("web", WEB, [V4.as2, V6.as2, V4.as3, V6.as3])
