"""Networks in which some switches play other makes, by the testbed's proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import WEB, Running, edited, running

SERVERS = ["10.2.0.10", "10.3.0.10", "2001:db8:2::10", "2001:db8:3::10"]


@contextmanager
def playing(directory: Path, **profiles: str) -> Iterator[Running]:
    """Figure 1 with servers behind ars2, which is nearer, and ars3; some switches have these profiles."""
    changes = [_plays(switch, profile) for switch, profile in profiles.items()]
    with running(edited("figure1.yaml", directory, *changes), directory) as network:
        network.serve_udp("as2", "as3")
        network.enrol("web", WEB, SERVERS)
        yield network


def _plays(switch: str, profile: str) -> tuple[str, str]:
    if switch.startswith("arh"):  # which stands in several lines
        return f"name: {switch}\n", f"name: {switch}\n    profile: {profile}\n"
    return f"name: {switch},", f"name: {switch}, profile: {profile},"


def roles(network: Running, switch: str) -> dict[str, Any]:
    return {each["role"]: each for each in network.call("GET", f"/v1/switches/{switch}")["roles"]}
