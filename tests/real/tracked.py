"""Figure 1 with its client edge inside the connection tracker."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge import run
from support import V4, V6, WEB, Family, Running, edited, running


@contextmanager
def tracked(directory: Path, settings: str = "") -> Iterator[Running]:
    """``settings``: of ``conntrack``.  as2 serves the group web by UDP and TCP."""
    edge = f"    client_edge:\n      engine: conntrack\n      conntrack: {{{settings}}}"
    changes = [("    client_edge:", edge), ("wait_ms: 500", "wait_ms: 10000")]  # the machine may be busy
    with running(edited("figure1.yaml", directory, *changes), directory) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_udp("as2")
        network.serve_tcp("as2")
        network.wait_for_servers("web")
        for family in (V4, V6):  # the client knows its gateway from now on
            network.ask("h1", family.web)
        yield network


def translated(network: Running, family: Family, port: int) -> str:
    """PR1X of the UDP connection from this port."""
    zone = network.testbed.zones[3 if family is V6 else 1]
    lines = run("ovs-appctl", "dpctl/dump-conntrack", f"zone={zone}").splitlines()
    (line,) = (line for line in lines if f"sport={port}," in line.partition("reply=")[0])
    found = re.search(r"reply=\(src=[^,]*,dst=([^,]*)", line)
    assert found
    return found.group(1)


def is_served(network: Running, address: str, *options: object, within_s: int = 10) -> bool:
    return network.ask("h1", address, "--answers", 1, "--wait", within_s, *options) == ["as2 hello"]
