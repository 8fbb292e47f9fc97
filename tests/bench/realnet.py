"""The real network of tables 2, 3 and 4: one client, ARh, ARs, one server, on Open vSwitch in namespaces.

    h1 ── arh1 ── ars2 ── as2

The product stands there once for each engine of its client edge (``ENGINES``), in turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zones
from contenders import ENGINES, Product, Textbook
from flows import SERVICE
from programs import wait_until
from tables import progress
from testbed import Testbed

from anycast_sdn.core.roles import FIRST_ZONE, ZONES
from anycast_sdn.description import reading

TRACKER_ZONES = range(FIRST_ZONE, FIRST_ZONE + ZONES)  # of the file's first switch
SERVER = {4: "172.31.0.10", 6: "2001:db8:0:5::10"}
# The switch's meters are set so high that they limit nothing: otherwise they would be what is measured.
LIMITS = {"first_packets": 1_000_000, "neighbours": 10_000}


def network(engine: str) -> dict[str, Any]:
    """The network file, with this engine at ARh."""
    prefixes = ["100.64.0.0/10", "2001:db8:0:f000::/64"]
    return {
        "name": "bench-real",
        "limits": LIMITS,
        "anycast_prefixes": ["198.18.0.0/16", "2001:db8:a::/48"],
        "switches": [
            {"name": "arh1", "dpid": 1, "client_edge": {"translation_prefixes": prefixes, **ENGINES[engine]},
             "ovsdb": "unix:/var/run/openvswitch/db.sock"},
            {"name": "ars2", "dpid": 2, "server_edge": True},
        ],
        "links": [{"ends": ["arh1:10", "ars2:10"]}],
        "subnets": [
            {"name": "n1", "edge": "arh1", "side": "client", "gateways": ["10.0.0.1/12", "2001:db8:0:c000::1/64"],
             "ports": [1]},
            {"name": "n2", "edge": "ars2", "side": "server", "gateways": ["172.31.0.1/24", "2001:db8:0:5::1/64"],
             "ports": [1]},
        ],
        "hosts": [
            {"name": "h1", "subnet": "n1", "port": 1, "addresses": ["10.0.0.10", "2001:db8:0:c000::10"]},
            {"name": "as2", "subnet": "n2", "port": 1, "addresses": [*SERVER.values()]},
        ],
    }  # fmt: skip


@contextmanager
def testbed(directory: Path, engines: Sequence[str]) -> Iterator[tuple[Testbed, list[Product]]]:
    """The running network, and the product with each of these engines, which is not started yet."""
    products = []
    for engine in engines:
        (place := directory / engine.replace(" ", "-")).mkdir()
        products.append(product := Product(network(engine), place, [*SERVER.values()]))
        product.name = engine
        product.openflow_port = products[0].openflow_port  # the switches look for their controller there
    with Testbed(reading.load(products[0].network_file), products[0].openflow_port, alone=True) as bed:
        try:
            yield bed, products
        finally:
            zones.clear(TRACKER_ZONES)


def textbook(bed: Testbed, product: Product, directory: Path) -> Textbook:
    """The textbook application for the same network; its routes are ready-made, for IPv4."""
    mac = str(bed.host("as2").MAC())
    service = {"eth_type": 0x0800, "ipv4_dst": SERVICE[4]}
    to_server = {"match": service, "set": {"ipv4_dst": SERVER[4], "eth_dst": mac}, "port": 1}
    configuration = {
        "services": [SERVICE[4]],
        "servers": [SERVER[4]],
        "switches": {
            1: {"prefixes": ["100.64.0.0/10"], "routes": [{"match": service, "set": {}, "port": 10}]},
            2: {"routes": [to_server]},
        },
    }
    application = Textbook(configuration, directory)
    application.openflow_port = product.openflow_port  # the switches look for their controller there
    return application


@contextmanager
def controlled(bed: Testbed, contender: Product | Textbook) -> Iterator[None]:
    """The contender at work on switches that held nothing before."""
    for switch in ("arh1", "ars2"):
        bed.ofctl("del-flows", switch)
        bed.ofctl("del-groups", switch)
        bed.ofctl("del-meters", switch)
    zones.clear(TRACKER_ZONES)
    try:
        with contender:
            if isinstance(contender, Product):
                contender.await_enrolled()
            wait_until(lambda: _serves(bed), f"{contender.name}'s rules on the switches")
            yield
    except Exception:
        progress(f"the last lines of {contender.name}:\n{contender.log()[-2000:]}")
        raise


def _serves(bed: Testbed) -> bool:
    """Both switches have a route to the service."""
    return all(SERVICE[4] in bed.ofctl("dump-flows", switch) for switch in ("arh1", "ars2"))
