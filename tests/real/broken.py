"""A network with three controllers and an etcd, to break: what is looked at in every case.

No known flow is lost or goes to another server, no PR1X is in two flows, and no switch takes a rule of one controller
after it has called another one its master (``witness``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from members import parted
from support import V4, V6, WEB, edited, until

if TYPE_CHECKING:
    from controllers import Controllers, Member
    from testbed import Testbed
    from witness import Result

SERVERS = ("as2", "as3", "as4")
# Pools as large as the load needs; each flow has an address of its own.
LARGE = (
    ("        - 203.0.113.0/24\n", "        - 172.16.0.0/16\n"),
    ("pooling: auto", "pooling: flow"),
    ("# bindings_per_client: 63", "bindings_per_client: 30000"),
    ("# bindings_per_port: 127", "bindings_per_port: 30000"),
)


class Size(NamedTuple):
    """``known``: flows of TCP and as many of UDP; ``new``: flows a second; each in either family."""

    known: int
    new: float


SMALL = Size(30, 50)
LOADS = 11  # then they have the ports of the first again
NOTICED_S = 20.0  # more than it takes, for a busy machine


class Scene:
    """``serve`` enrols; a ``load`` block is what breaks something."""

    def __init__(self, testbed: Testbed, controllers: Controllers) -> None:
        self.testbed, self.controllers = testbed, controllers
        self.members = controllers.members
        self._loads = 0
        self._port = 10_000  # of the latest flow of ``is_served``

    def serve(self) -> None:
        import witness

        witness.serve(self.testbed, SERVERS)
        leader = self.controllers.await_leader()
        leader.enrol("web", WEB, [getattr(family, host) for family in (V4, V6) for host in SERVERS])

    def is_served(self) -> bool:
        """Is a flow that begins now answered?"""
        self._port += 1
        words = ["/usr/bin/python3", "-c", _ASK, V4.web, str(self._port)]
        return bool(self.testbed.run("h2", words).returncode == 0)

    @contextmanager
    def load(self, size: Size = SMALL, fenced: bool = True) -> Iterator[Seen]:
        """Known and new flows while the block lasts; afterwards all is healed, and ``Seen.outcome`` is there.

        ``fenced``: what holds up every role reply a little is used.
        """
        from witness import Fence, Load, Wire

        leader = self.controllers.heal()
        until(self.is_served, "a new flow is served", NOTICED_S)
        number, self._loads = self._loads % LOADS, self._loads + 1
        with Wire(self.testbed, SERVERS) as wire, ExitStack() as undo:
            loads = []
            for host, family in (("h1", V4), ("h2", V6)):
                load = Load(self.testbed, host, family.web, number, tcp=size.known, udp=size.known, new=size.new)
                undo.callback(load.stop)
                loads.append(load)
            for load in loads:
                load.await_ready()
                wire.know(load)
            fence = Fence(self.testbed, self.controllers) if fenced else None
            if fence:
                undo.callback(fence.end)
            seen = Seen(self, leader)
            yield seen
            self.controllers.heal()
            seen.await_new_flows()
            results = [load.end() for load in loads]
        stale = (fence.checked, fence.faults) if fence else (0, [])
        seen.outcome = Outcome.of(results, wire.faults(), stale, seen.since_s)


class Outcome(NamedTuple):
    """``faults``: what must never be, a sentence each.  ``unanswered``: of ``asked`` requests in known UDP flows;
    ``unserved``: of ``new`` flows, the last one ``gap_s`` after something broke; ``longest_s``: of a known TCP flow.
    """

    faults: list[str]
    known: int
    lost: int
    asked: int
    unanswered: int
    longest_s: float
    new: int
    unserved: int
    gap_s: float
    replies: int  # that were looked at by ``Fence``

    @classmethod
    def of(
        cls, results: list[Result], wire: list[str], stale: tuple[int, list[str]], since_s: float
    ) -> Outcome:
        lost = [f"{result.lost} lost: {result.why}" for result in results if result.lost]
        moved = [f"{result.moved} answers from another server" for result in results if result.moved]
        checked, rules = stale
        return cls(
            faults=[*lost, *moved, *wire, *(f"a stale rule: {rule}" for rule in rules)],
            known=sum(result.known for result in results),
            lost=sum(result.lost for result in results),
            asked=sum(result.asked for result in results),
            unanswered=sum(len(result.unanswered) for result in results),
            longest_s=max(result.longest_s for result in results),
            new=sum(result.new for result in results),
            unserved=sum(len(result.unserved) for result in results),
            gap_s=max(result.gap_s(since_s) for result in results),
            replies=checked,
        )

    def __str__(self) -> str:
        return (
            f"{self.lost} of {self.known} known flows lost, {self.unanswered} of {self.asked} of their UDP requests "
            f"unanswered, TCP waited {self.longest_s:.1f} s; {self.unserved} of {self.new} new flows unserved, "
            f"the last one after {self.gap_s:.2f} s"
        )


class Seen:
    """``leader``: the one before; ``since_s``: when something broke."""

    outcome: Outcome

    def __init__(self, scene: Scene, leader: Member) -> None:
        self.scene, self.leader = scene, leader
        self.since_s = time.monotonic()

    def await_another_leader(self) -> Member:
        """Another one leads, and serves all switches."""
        controllers = self.scene.controllers
        found = controllers.await_leader(self.leader, NOTICED_S)
        dpids = {switch.dpid for switch in self.scene.testbed.network.switches}
        until(
            lambda: {dpid for dpid, member in controllers.masters().items() if member is found} == dpids,
            f"{found.name} is the master of all switches",
            NOTICED_S,
        )
        return found

    def await_new_flows(self) -> None:
        until(self.scene.is_served, "a new flow is served", NOTICED_S)


_ASK = """
import socket, sys
flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
flow.bind(("", int(sys.argv[2])))
flow.settimeout(1)
flow.sendto(b"1", (sys.argv[1], 7000))
flow.recv(100)
"""


@contextmanager
def broken(directory: Path, *changes: tuple[str, str]) -> Iterator[Scene]:
    """Figure 1 with large pools and three controllers; all servers are enrolled."""
    with parted(edited("figure1.yaml", directory, *LARGE, *changes), directory) as (testbed, controllers):
        scene = Scene(testbed, controllers)
        scene.serve()
        yield scene
