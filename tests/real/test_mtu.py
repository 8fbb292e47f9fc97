"""A link that takes smaller packets than hosts send: path MTU discovery of real hosts (RFC 1191, RFC 8201)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from support import V4, V6, WEB, Family, Running, edited, in_both_families, running

MTU = 1400
SIZE = 3_000_000


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Figure 1, whose link from the core to ars2 is a tunnel, say; a file to fetch from as2."""
    directory = tmp_path_factory.mktemp("mtu")
    links = ("ends: [core:11, ars2:10], cost: 1", f"ends: [core:11, ars2:10], cost: 1, mtu: {MTU}")
    with running(edited("figure1.yaml", directory, links), directory) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        (directory / "file").write_bytes(bytes(SIZE))
        network.testbed.spawn("as2", ["python3", "-m", "http.server", "-b", "::", "-d", str(directory), "7200"])
        network.testbed.wait_listening("as2", 7200)
        yield network


def fetch(network: Running, address: str, *options: str) -> list[str]:
    host = f"[{address}]" if ":" in address else address
    return network.run("h1", "curl", "-gsS", "-m", "10", *options, f"http://{host}:7200/file").split()


@pytest.mark.row("M20", "a link of the core with mtu 1400: 3 MB come through ANY, and by unicast, in both families")
@in_both_families
def test_a_large_file_comes_through_a_narrow_link(network: Running, family: Family) -> None:
    with network.testbed.capture("as2", 0, "icmp or icmp6") as at_server:
        before = network.drops("ars2", "too_large")
        for address in (family.web, family.as2):
            assert fetch(network, address, "-o", "/dev/null", "-w", "%{size_download}") == [str(SIZE)]
    too_big = [packet for packet in at_server.packets() if packet.payload[:1] == (b"\x03" if family is V4 else b"\x02")]
    assert too_big
    assert all(int.from_bytes(packet.payload[4:8], "big") == MTU for packet in too_big)
    counted = network.drops("ars2", "too_large") - before
    assert len(too_big) <= counted < 500  # and not the thousands of packets that did fit


@pytest.mark.row("M1", "ping -M do -s 1450 through a narrow link says 'message too long', by unicast and to ANY")
@in_both_families
def test_ping_says_that_its_packet_is_too_long(network: Running, family: Family) -> None:
    for address in (family.as2, family.web):
        done = network.testbed.run("h1", ["ping", "-M", "do", "-s", "1450", "-c", "2", "-i", "0.3", "-W", "2", address])
        said = (done.stdout + done.stderr).lower()
        assert f"mtu={MTU}" in said or f"mtu = {MTU}" in said, said
        assert network.run("h1", "ping", "-M", "do", "-s", "1340", "-c", "1", "-W", "2", address)


@pytest.mark.row("M20", "iperf3 through a narrow link in the core: what a client sends to ANY arrives")
@in_both_families
def test_a_large_upload_arrives(network: Running, family: Family) -> None:
    port = 7300 + (family is V6)  # that of the other family's server may still be in use
    network.testbed.spawn("as2", ["iperf3", "--server", "-1", "-p", str(port)])
    network.testbed.wait_listening("as2", port)
    said = network.run("h1", "iperf3", "-c", family.web, "-p", str(port), "-t", "1", "--json")
    assert json.loads(said)["end"]["sum_received"]["bytes"] > 500_000  # what fits while the first ones are too large
