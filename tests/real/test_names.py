"""A network file as an operator may write it: long names, a datapath id with colons, two hosts on one port."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import edited, running

SWITCH = "Frankfurt_Edge-1.lab"
CHANGES = [
    ("name: edge\n", f"name: {SWITCH}\n"),
    ("edge: edge", f"edge: {SWITCH}"),
    ("dpid: 0x1\n", "dpid: 00:00:00:00:00:00:00:01\n"),
    ("name: c1,", "name: Client-of-the-first-floor,"),
    (
        "hosts:\n",
        "hosts:\n  - {name: c2, subnet: clients, port: 1, addresses: [10.1.0.11, 2001:db8:1::11]}\n",
    ),
]


@pytest.mark.row("M28", "long names, a datapath id with colons; two clients behind one port ask ANY, and each other")
def test_long_names_and_two_hosts_on_one_port(tmp_path: Path) -> None:
    with running(edited("one-switch.yaml", tmp_path, *CHANGES), tmp_path) as network:
        network.serve_udp("s1", "s2", "c2")
        network.wait_for_servers("web")
        for host, address in (("Client-of-the-first-floor", "10.1.0.10"), ("c2", "10.1.0.11")):
            (answer,) = network.ask(host, "198.18.0.1", "--source-port", 20801)
            flow = network.flow(address, 20801)
            assert answer.split()[0] == {"10.2.0.10": "s1", "10.2.0.11": "s2"}[flow["server"]]
            assert flow["edge"] == SWITCH
            assert len(network.rules_of(flow)) == 2
        assert network.ask("Client-of-the-first-floor", "10.1.0.11") == ["c2 hello"]
        assert network.ask("c2", "2001:db8:a::1")
        assert network.edge(SWITCH)["connected"]
