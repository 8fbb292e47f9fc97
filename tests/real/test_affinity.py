"""Programs that use several flows between the same two ends, with two servers behind one edge and behind two (M31)."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from affinity_hosts import IKE_INSIDE, WIREGUARD_INSIDE, Tunnels, serve_all
from support import PROGRAMS, TOPOLOGIES, Running, is_userspace, on_both_engines, rules_alone, running, until

pytestmark = on_both_engines

SERVERS = {"as2": ("10.2.0.10", "2001:db8:2::10"), "as3": ("10.3.0.10", "2001:db8:3::10"),
           "as4": ("10.3.0.11", "2001:db8:3::11")}  # fmt: skip


class Service(NamedTuple):
    """A group whose clients are bound as a whole, in one family."""

    address: str
    hosts: tuple[str, ...]
    client: str  # a host that uses no other service of this family
    name: str

    @property
    def is_v6(self) -> bool:
        return ":" in self.address

    @property
    def in_url(self) -> str:
        return f"[{self.address}]" if self.is_v6 else self.address


ONE_EDGE, TWO_EDGES = ("as3", "as4"), ("as2", "as3")
SERVICES = [
    Service("198.18.0.1", ONE_EDGE, "h1", "IPv4, behind one edge"),
    Service("2001:db8:a::1", ONE_EDGE, "h1", "IPv6, behind one edge"),
    Service("198.18.0.2", TWO_EDGES, "h1", "IPv4, behind two"),
    Service("2001:db8:a::2", TWO_EDGES, "h1", "IPv6, behind two"),
]
ONCE = rules_alone("where the servers are makes no difference")
CASES = [
    pytest.param(service, id=service.name, marks=[ONCE] if number in (1, 2) else [])
    for number, service in enumerate(SERVICES)
]
everywhere = pytest.mark.parametrize("service", CASES)
in_ipv6 = pytest.mark.parametrize("service", CASES[1::2])
in_ipv4 = pytest.mark.parametrize("service", CASES[::2])


@pytest.fixture(scope="module")
def network(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(TOPOLOGIES / "figure1.yaml", tmp_path_factory.mktemp("figure1"), engine=engine) as made:
        directory = tmp_path_factory.mktemp("hosts")
        for host in SERVERS:
            serve_all(made, host, SERVERS[host], directory / host)
        for name, number, hosts in (("one", 1, ONE_EDGE), ("two", 2, TWO_EDGES)):
            prefixes = [f"198.18.0.{number}/32", f"2001:db8:a::{number}/128"]
            made.call("PUT", f"/v1/groups/{name}", {"prefixes": prefixes, "affinity": "client"})
            for host in hosts:
                for address in SERVERS[host]:
                    made.call("PUT", f"/v1/groups/{name}/servers/{address}", {})
        made.wait_for_servers("one", "two")
        yield made


@pytest.fixture(scope="module")
def tunnels(network: Running, tmp_path_factory: pytest.TempPathFactory) -> Tunnels:
    made = Tunnels(network, tmp_path_factory.mktemp("tunnels"))
    for host in SERVERS:
        made.serve(host)
    return made


def bound_to(network: Running, service: Service) -> str:
    """The server of the client's only binding with this service."""
    (flow,) = [flow for flow in network.flows() if flow["service"] == service.address]
    assert (flow["protocol"], flow["client_port"], flow["service_port"]) == ("any", 0, 0)
    assert flow["state"] == "pinned"
    (host,) = [host for host, addresses in SERVERS.items() if flow["server"] in addresses]
    assert host in service.hosts
    return host


@pytest.mark.row("M31", "FTP: control and data connections, extended passive and passive")
@everywhere
def test_ftp_passive(network: Running, service: Service) -> None:
    for options in ([], [] if service.is_v6 else ["--disable-epsv"], []):
        words = ["curl", "-gsS", "-m", "10", *options, f"ftp://{service.in_url}/name"]
        assert network.run(service.client, *words) == bound_to(network, service)


@pytest.mark.row("M31", "TFTP: the server answers from another port")
@everywhere
def test_tftp(network: Running, service: Service) -> None:
    for _ in range(3):
        got = network.run(service.client, "curl", "-gsS", "-m", "10", f"tftp://{service.in_url}/name")
        assert got == bound_to(network, service)


@pytest.mark.row("M31", "ping with echoes of 8,000 bytes, in fragments")
@everywhere
def test_a_large_ping(network: Running, service: Service) -> None:
    said = network.run(service.client, "ping", "-s", "8000", "-c", "5", "-i", "0.1", "-W", "2", service.address)
    assert "5 packets transmitted, 5 received, 0% packet loss" in said


@pytest.mark.row("M31", "QUIC: the connection goes on when its client changes its port")
@everywhere
def test_quic_with_a_client_that_changes_its_port(network: Running, service: Service) -> None:
    words = [sys.executable, str(PROGRAMS / "quic_peer.py"), "ask", service.address, "8"]
    answers = network.run(service.client, *words).splitlines()
    server = bound_to(network, service)
    assert answers == [f"{server} question {number}" for number in range(8)]


@pytest.mark.row("M31", "SNMP: a bulk walk")
@everywhere
def test_snmp_bulk_walk(network: Running, service: Service) -> None:
    agent = f"udp6:{service.in_url}:161" if service.is_v6 else service.address
    words = ["snmpbulkwalk", "-v2c", "-c", "public", "-r", "0", "-t", "5", "-Cr8", agent, "1.3.6.1.2.1.1"]
    walked = network.run(service.client, *words)
    assert f'STRING: "{bound_to(network, service)}"' in walked
    assert len(walked.splitlines()) > 20


@pytest.mark.row("M31", "SNMP and DNS: answers in fragments, where the datapath leaves them as they are")
@in_ipv6
def test_answers_in_fragments(network: Running, service: Service) -> None:
    words = ["snmpbulkget", "-v2c", "-c", "public", "-r", "0", "-t", "5", "-Cr100", f"udp6:{service.in_url}:161"]
    with network.testbed.capture(service.client, 0, "ip6 proto 44") as fragments:
        assert len(network.run(service.client, *words, "1.3.6.1.2.1").splitlines()) == 100
        big = network.run(service.client, "dig", "+notcp", "+ignore", "+bufsize=4096", "+tries=1", "+time=5",
                          f"@{service.address}", "big.example", "TXT")  # fmt: skip
    assert big.count("x" * 250) == 12
    assert "(UDP)" in big
    assert len(fragments.packets()) >= 4


@rules_alone("the tracker's translation spoils none")
@pytest.mark.row("M31", "fragments of UDP over IPv4 that userspace Open vSwitch would spoil are dropped and counted")
@in_ipv4
def test_fragments_that_the_switch_would_spoil(network: Running, service: Service) -> None:
    if not is_userspace():
        pytest.skip("only userspace Open vSwitch spoils fragments")
    before = network.drops("arh1", "spoiled_fragment")  # which translates answers
    asked = network.testbed.run(service.client, ["dig", "+notcp", "+ignore", "+bufsize=4096", "+tries=1", "+time=1",
                                                 f"@{service.address}", "big.example", "TXT"])  # fmt: skip
    assert asked.returncode != 0
    until(lambda: network.drops("arh1", "spoiled_fragment") > before, "the client edge counts them")


@pytest.mark.row("M31", "SIP, and RTP beside it")
@everywhere
def test_sip_with_rtp(network: Running, service: Service) -> None:
    here = "2001:db8:1::10" if service.is_v6 else "10.1.0.10"
    called = ["sipp", "-sn", "uac", service.in_url, "-i", here, "-m", "3", "-r", "10", "-nostdin",
              "-timeout", "10s", "-d", "100"]  # fmt: skip
    done = network.testbed.run(service.client, called)
    assert done.returncode == 0, done
    assert re.search(r"Successful call\s+\|\s+\d+\s+\|\s+3", done.stdout), done.stdout
    media = network.ask(service.client, service.address, "--count", 5, "--answers", 5, "--text", "audio #", port=6000)
    assert media == [f"audio {number}" for number in range(5)]
    bound_to(network, service)


@pytest.mark.row("M31", "IKEv2: ports 500 and 4500, traffic, and new keys for both of its parts; three times")
@everywhere
def test_ike(network: Running, service: Service, tunnels: Tunnels) -> None:
    # charon may lose what it has in hand when keys change.
    ask = ["ping", "-c", "3", "-i", "0.1", "-W", "2", IKE_INSIDE]
    for _ in range(3):
        with tunnels.ike(service.client, service.address) as swanctl:
            swanctl("--initiate", "--child", "net", "--timeout", "10")
            server = bound_to(network, service)
            for words in ([], ["--rekey", "--child", "net"], ["--rekey", "--ike", "service"]):
                if words:
                    swanctl(*words)
                until(lambda: "3 received" in network.testbed.run(service.client, ask).stdout, "the tunnel goes on")
            assert bound_to(network, service) == server


@pytest.mark.row("M31", "WireGuard goes on when its client changes its port")
@everywhere
def test_wireguard_with_a_client_that_roams(network: Running, service: Service, tunnels: Tunnels) -> None:
    ask = ["ping", "-c", "1", "-W", "1", WIREGUARD_INSIDE]  # wireguard-go loses what it has in hand when it moves
    with tunnels.wireguard(service.client, f"{service.in_url}:51820") as move:
        for port in (40001, 40002, 40003, 40004):
            move(port)
            until(lambda: network.testbed.run(service.client, ask).returncode == 0, "the tunnel goes on")
        bound_to(network, service)


@pytest.mark.row("M31", "a controller that starts again takes such clients over: a tunnel goes on, with the same PR1X")
def test_a_restart_of_the_controller(network: Running, tunnels: Tunnels) -> None:
    service = SERVICES[0]
    with tunnels.wireguard(service.client, f"{service.in_url}:51820") as move:
        network.run(service.client, "ping", "-c", "1", "-W", "5", WIREGUARD_INSIDE)
        (before,) = [flow for flow in network.flows() if flow["service"] == service.address]
        network.controller.stop()
        said = network.run(service.client, "ping", "-c", "3", "-i", "0.1", "-W", "2", WIREGUARD_INSIDE)
        assert "3 packets transmitted, 3 received" in said
        network.controller.start()
        move(40009)
        network.run(service.client, "ping", "-c", "3", "-i", "0.1", "-W", "2", WIREGUARD_INSIDE)
    (after,) = [flow for flow in network.flows() if flow["service"] == service.address]
    assert {**after, "since": None} == {**before, "since": None}


# Not CLIENT_ERROR: a client that has what it wanted answers what a busy server sends once more by an ICMP error.
PUNTING = {"FIRST_PACKET": 0x12, "SYN": 0x17, "FIRST_REPLY": 0x32, "ICMP_ERROR": 0x31, "TCP_END": 0x48}


def sent_up(network: Running) -> Counter[str]:
    """How many packets of flows the client edge has sent to the controller, by why, but for errors of clients."""
    dumped, sent = network.testbed.ofctl("dump-flows", "arh1"), Counter[str]()
    for why, kind in PUNTING.items():
        sent[why] = sum(map(int, re.findall(rf" cookie=0xa17c{kind:02x}.* n_packets=(\d+)", dumped)))
    return sent


@rules_alone("each of its connections begins at the controller")
@pytest.mark.row("M31", "whatever a client does, the controller sees its first packet and the first reply")
@everywhere
def test_the_controller_sees_two_packets(network: Running, service: Service) -> None:
    before = sent_up(network)
    for _ in range(2):
        network.run("h2", "curl", "-gsS", "-m", "10", f"ftp://{service.in_url}/name")
        network.run("h2", "curl", "-gsS", "-m", "10", f"tftp://{service.in_url}/name")
        network.run("h2", "ping", "-c", "3", "-i", "0.1", "-W", "2", service.address)
    assert (sent_up(network) - before).total() == 2, (before, sent_up(network))
