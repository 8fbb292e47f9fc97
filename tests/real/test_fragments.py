"""Packets in fragments, to a service and back, with a client edge inside the connection tracker (M12 to M18)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import CONNTRACK, V4, V6, WEB, Family, Running, edited, in_both_families, running, with_conntrack

pytestmark = with_conntrack

SMALL = ("198.18.53.0/24", "2001:db8:a:53::/112")  # a service prefix, of two servers behind one edge
ONE = {V4: "198.18.53.7", V6: "2001:db8:a:53::7"}  # one of its addresses


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("fragments")
    with running(edited("figure1.yaml", directory, CONNTRACK), directory) as made:
        made.enrol("web", WEB, [V4.as2, V6.as2])
        made.enrol("small", SMALL, [V4.as3, V4.as4, V6.as3, V6.as4])
        made.serve_udp("as2", "as3", "as4")
        yield made


def fill(size: int) -> tuple[str, str]:
    return "--text", f"fill {size}"


@pytest.mark.row("M18", "a small question, answers of 4,000 bytes in fragments, the first reply and a later one")
@in_both_families
def test_a_large_answer_to_a_small_question(network: Running, family: Family) -> None:
    for _ in range(2):
        (answer,) = network.ask("h1", family.web, "--source-port", 21001, *fill(4000))
        assert answer == "as2 fill 4000".ljust(4000, ".")
    assert network.flow(family.h1, 21001)["server"] == family.as2


@pytest.mark.row("M13", "a first packet in fragments, to one of two servers; later packets of any size go there, too")
@in_both_families
def test_a_first_packet_in_fragments(network: Running, family: Family) -> None:
    for port in (21002, 21003):
        servers = set()
        for text in ("a" * 4000, "b" * 3000, "c", "d" * 4000):
            (answer,) = network.ask("h1", ONE[family], "--source-port", port, "--text", text)
            server, said = answer.split(" ")
            assert said == text
            servers.add(server)
        assert len(servers) == 1
        (server,) = servers
        flow = network.flow(family.h1, port)
        assert flow["state"] == "pinned"
        assert flow["server"] == getattr(family, server)


@pytest.mark.row("M14", "fragments of a flow that whole packets have begun and pinned, and again after it was ended")
@in_both_families
def test_fragments_after_whole_packets(network: Running, family: Family) -> None:
    asked = ("h1", ONE[family], "--source-port", 21004, "--text")
    (first,) = network.ask(*asked, "small")
    server = first.removesuffix(" small")
    assert network.ask(*asked, "e" * 4000) == [f"{server} {'e' * 4000}"]
    flow = network.flow(family.h1, 21004)
    network.call("DELETE", f"/v1/flows/{flow['edge']}/{flow['number']}")
    (again,) = network.ask(*asked, "f" * 4000)
    assert again.endswith("f" * 4000)
    assert network.flow(family.h1, 21004)["number"] != flow["number"]


@pytest.mark.row("M12", "ping with echoes of 4,000 bytes, in fragments")
@in_both_families
def test_a_large_ping(network: Running, family: Family) -> None:
    said = network.run("h2", "ping", "-s", "4000", "-c", "3", "-i", "0.2", "-W", "2", family.web)
    assert "3 packets transmitted, 3 received, 0% packet loss" in said
