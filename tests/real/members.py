"""Several controllers of one network, and the etcd in which they agree; all of it on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import controllers
from controllers import Controllers, EtcdMember, Member
from support import Turn

from anycast_sdn.description import reading

if TYPE_CHECKING:  # where Mininet is not installed, this file must still be readable to say so
    from testbed import Testbed


class Etcd(controllers.Etcd):
    """One member alone."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, 1)

    @property
    def program(self) -> EtcdMember:
        return self.members[0]


class Members(NamedTuple):
    testbed: Testbed
    etcd: controllers.Etcd
    members: list[Member]


def decides(member: Member) -> bool:
    """Does it lead, and has it all switches?"""
    shown = member.rest("GET", "/healthz").body
    return shown["role"] == "leader" and all(switch["connected"] for switch in shown["switches"].values())


def follows(member: Member) -> bool:
    shown = member.rest("GET", "/healthz").body
    return bool(shown["role"] == "follower" and all(switch["connected"] for switch in shown["switches"].values()))


@contextmanager
def members(
    network_file: Path, directory: Path, count: int = 2, options: Sequence[str] = ()
) -> Iterator[Members]:
    """The network of a file, etcd, and so many controllers m0, m1 …: m0 leads."""
    with parted(network_file, directory, count, options) as (testbed, several):
        yield Members(testbed, several.etcd, several.members)


@contextmanager
def parted(
    network_file: Path, directory: Path, count: int = 3, options: Sequence[str] = ()
) -> Iterator[tuple[Testbed, Controllers]]:
    """The same, with what parts them."""
    from testbed import Testbed

    copy = directory / f"run-{network_file.name}"
    copy.write_text(network_file.read_text())
    network = reading.load(copy)
    with Controllers(copy, network.name, directory, count, options) as several:
        ports = several.openflow_ports
        with Testbed(network, *ports, alone=Turn.alone, as_in_the_file=False) as testbed:
            testbed.take_zones(copy)
            several.start()
            yield testbed, several
            for member in several.members:
                assert "Traceback" not in member.log(), member.log()
