"""Tables of slots on Open vSwitch: who moves when shares change, and servers behind other edges (M9, M10, M26)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from support import PORT, V4, V6, WEB, Family, Running, edited, in_both_families, program, running, until

FLOWS = 1000


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Figure 1 where flows that nobody answers keep their PR1X, and so their slot, for minutes."""
    directory = tmp_path_factory.mktemp("slots")
    with running(edited("figure1.yaml", directory, ("unanswered_s: 30 ", "unanswered_s: 600 ")), directory) as network:
        network.serve_udp("as2", "as3", "as4")
        network.serve_tcp("as2", "as3", port=PORT + 1)
        yield network


def enrol_all(network: Running, *names: str) -> None:
    network.enrol("web", WEB, [getattr(family, name) for name in names for family in (V4, V6)])


def set_weights(network: Running, as3: int, as4: int) -> None:
    """When this returns, ars3 has the slots that follow from the weights."""
    for address, weight in ((V6.as3, as3), (V6.as4, as4)):
        network.call("PATCH", f"/v1/groups/web/servers/{address}", {"weight": weight})
    wanted = [64 * weight // (as3 + as4) for weight in (as3, as4)]

    def are_there() -> bool:
        return [slots(network, "ars3").count(each) for each in (V6.as3, V6.as4)] == wanted

    until(are_there, f"slots {wanted}", timeout_s=60)


def slots(network: Running, switch: str) -> list[str]:
    """The IPv6 server of each slot, as the switch shows it."""
    buckets = network.testbed.ofctl("dump-groups", switch).split("bucket=")
    return [bucket.split("->ipv6_dst")[0].split("set_field:")[-1] for bucket in buckets if "->ipv6_dst" in bucket]


def who_gets(network: Running, first: int) -> dict[int, str]:
    """A thousand flows that nobody answers: source port → the server that gets them.  Sent twice: one may be lost."""
    at_as3, at_as4 = (network.testbed.capture(name, 0, "ip6 and udp dst port 7000") for name in ("as3", "as4"))
    got: dict[int, set[str]] = {}

    def all_are_there() -> bool:
        for name, capture in (("as3", at_as3), ("as4", at_as4)):
            for packet in capture.packets():
                got.setdefault(packet.key.source_port, set()).add(name)
        return len(got) == FLOWS

    with at_as3, at_as4:
        options = ("--apart", 0.001, "--count", 2, "--text", "quiet", "--answers", 0, "--wait", 0)
        network.run("h1", *program("udp_client.py", V6.web, PORT, "--flows", FLOWS, "--first-port", first, *options))
        until(all_are_there, "each flow has reached a server")
    assert all(len(servers) == 1 for servers in got.values())
    return {port: next(iter(servers)) for port, servers in got.items()}


@pytest.mark.row("M10", "4 of 64 slots go from as3 to as4: of 1,000 flows only those of these slots move")
def test_only_flows_of_the_slots_that_change_move(network: Running) -> None:
    """63 are expected to move; 5 standard deviations of the hash are 38."""
    enrol_all(network, "as3", "as4")
    set_weights(network, 8, 8)
    before, table = who_gets(network, 20000), slots(network, "ars3")
    set_weights(network, 7, 9)
    changed = [pair for pair in zip(table, slots(network, "ars3"), strict=True) if pair[0] != pair[1]]
    assert changed == [(V6.as3, V6.as4)] * 4
    after = who_gets(network, 20000)
    moved = {port for port in before if before[port] != after[port]}
    assert {before[port] for port in moved} == {"as3"}
    assert 25 <= len(moved) <= 101


def any_distance(network: Running, *names: str) -> None:
    """Each edge of these servers spreads over all of them, wherever they are."""
    enrol_all(network, *names)
    network.call("PATCH", "/v1/groups/web", {"selection": {"distance": "any"}})
    until(lambda: len(set(slots(network, "ars2"))) == len(names), "ars2 has slots of all servers", timeout_s=60)


@pytest.mark.row("M26", "slots of ars2 lead to as3 behind ars3: it answers, is pinned, and serves TCP, too")
@in_both_families
def test_an_edge_spreads_over_servers_behind_other_edges(network: Running, family: Family) -> None:
    """All of these flows enter at ars2, which is nearer; packets to as3 go back by the port where they came in."""
    any_distance(network, "as2", "as3")
    answers = Counter(answer.split()[0] for answer in network.ask("h1", family.web, "--flows", 60))
    assert sum(answers.values()) == 60
    assert min(answers["as2"], answers["as3"]) >= 10
    for _ in range(6):  # each is one connection; half of them are as3's
        network.run("h1", *program("tcp_client.py", family.web, PORT + 1, "--bytes", 200_000))
    served = {flow["server"] for flow in network.flows("group=web") if flow["protocol"] == "tcp"}
    assert served <= {family.as2, family.as3}
    assert not [flow for flow in network.flows("group=web") if flow["protocol"] == "tcp" and not flow["server"]]


@pytest.mark.row("M20", "a new controller finds the tables of slots on the switches, and leaves them as they are")
def test_a_restart_of_the_controller_moves_no_slot(network: Running) -> None:
    """Other weights before have left tables that the present ones alone would not give."""

    def groups() -> dict[str, set[str]]:
        """In no order: a group that the new controller tries and deletes may change it."""
        lists = {switch: network.testbed.ofctl("dump-groups", switch) for switch in ("ars2", "ars3")}
        return {switch: set(text.splitlines()[1:]) for switch, text in lists.items()}

    any_distance(network, "as2", "as3", "as4")
    for weight in (3, 1):
        network.call("PATCH", f"/v1/groups/web/servers/{V6.as4}", {"weight": weight})
        about = (64 * weight // (2 + weight), 64 * weight // (2 + weight) + 1)
        until(lambda about=about: slots(network, "ars2").count(V6.as4) in about, f"{about} slots", timeout_s=90)
    before = groups()
    network.controller.kill()
    network.controller.start()
    network.wait_for_servers("web")
    assert groups() == before
    assert len(network.ask("h1", V6.web, "--flows", 10)) == 10
    assert groups() == before
