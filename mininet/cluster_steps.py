"""The demo of several controllers: what becomes of flows when one of them dies, and when one is cut off from etcd.

Each step prints what it does, and a line for each result.  A load runs meanwhile, in both address families; what is
said of its flows was counted by their clients and captured at the servers.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from controllers import Controllers, Member
from programs import wait_until
from relay import RoleReply
from report import Report
from roles import Roles
from tabulate import tabulate
from testbed import Testbed, TestbedError
from witness import Fence, Load, Result, Wire, serve

# Known flows of TCP and of UDP, and new ones a second; in IPv4 there are few addresses.
V4, V6 = (15, 2), (40, 8)
MOMENT_S = 1.0  # the load runs for so long before something breaks, and after it is served again
NOTICED_S = 20.0
STEP_ERRORS = (TestbedError, RuntimeError, OSError, subprocess.TimeoutExpired)


@dataclass
class Cast:
    """What every step works with.  ``loads``: how many there were."""

    testbed: Testbed
    controllers: Controllers
    report: Report
    roles: Roles
    loads: int = 0

    def leader(self) -> Member:
        return self.controllers.await_leader()

    def enrol(self) -> None:
        serve(self.testbed, self.roles.servers)
        prefixes = [family.prefix for family in self.roles.families]
        servers = [address for family in self.roles.families for address in family.servers.values()]
        self.leader().enrol(self.roles.group, prefixes, servers)

    def has_all(self, member: Member) -> bool:
        """Is it the master of every switch, as the switches have said last?"""
        masters = self.controllers.masters()
        return all(masters.get(switch.dpid) is member for switch in self.testbed.network.switches)


def run_all(cast: Cast) -> None:
    """All steps; one that fails is reported, and the others go on."""
    for step in (who_is_who, killed, cut_off, after_all):
        try:
            step(cast)
        except STEP_ERRORS as error:
            cast.report.line(False, str(error))
    cast.report.heading("The controllers' own logs")
    for member in cast.controllers.members:
        cast.report.line("Traceback" not in member.log(), f"{member.name}: no error of its own in it")
    if not cast.report.holds:
        for member in cast.controllers.members:
            cast.report.text(f"The end of {member.name}'s:\n{member.log()[-3000:]}")


def who_is_who(cast: Cast) -> None:
    controllers, report = cast.controllers, cast.report
    report.heading(f"{len(controllers.members)} controllers agree in etcd who leads, and who is whose master")
    leader = cast.leader()
    _show(cast)
    keys = controllers.keys()
    members = {name for name in (key.removeprefix("members/") for key in keys if key.startswith("members/"))}
    names = {member.name for each in members if (member := controllers.named(each))}
    report.line(
        names == {member.name for member in controllers.members}, f"etcd has all of them: {', '.join(sorted(names))}"
    )
    report.line(cast.has_all(leader), f"every switch has said that {leader.name}, the leader, is its master")


def _show(cast: Cast) -> None:
    """Of each switch: who is its master, and by which generation, as it has said itself."""
    replies: dict[int, tuple[Member, RoleReply]] = {}
    for member in cast.controllers.members:
        for reply in member.switches.replies:
            if reply.is_master and (reply.dpid not in replies or reply.generation > replies[reply.dpid][1].generation):
                replies[reply.dpid] = member, reply
    names = {switch.dpid: switch.name for switch in cast.testbed.network.switches}
    rows = [(names[dpid], member.name, reply.generation) for dpid, (member, reply) in sorted(replies.items())]
    cast.report.text(tabulate(rows, ("switch", "master", "generation"), tablefmt="plain"))


@contextmanager
def _load(cast: Cast, fence: Fence) -> Iterator[None]:
    """The block is under load; afterwards, what has become of it."""
    report, roles = cast.report, cast.roles
    sizes = [V6 if family.is_v6 else V4 for family in roles.families]
    known, new = sum(2 * each for each, _ in sizes), sum(new for _, new in sizes)
    report.text(f"{roles.client} has {known} flows to ANY, half of them TCP, and begins {new} new ones a second")
    number, cast.loads = cast.loads, cast.loads + len(roles.families)
    with Wire(cast.testbed, roles.servers) as wire:
        loads = [
            Load(cast.testbed, roles.client, family.service, number + place, tcp=each, udp=each, new=new)
            for place, (family, (each, new)) in enumerate(zip(roles.families, sizes, strict=True))
        ]
        for load in loads:
            load.await_ready()
            wire.know(load)
        time.sleep(MOMENT_S)
        began_s = time.monotonic()
        yield
        time.sleep(MOMENT_S)
        results = [load.end() for load in loads]
    _tell(report, results, began_s)
    faults = [*wire.faults(), *fence.faults]
    seen = f"captured at the servers: {wire.flows()} flows, each with a PR1X of its own"
    report.line(not faults, seen if not faults else "; ".join(faults[:3]))


def _tell(report: Report, results: list[Result], since_s: float) -> None:
    known, lost, moved = (sum(each) for each in zip(*((r.known, r.lost, r.moved) for r in results), strict=True))
    asked, unanswered = sum(r.asked for r in results), sum(len(r.unanswered) for r in results)
    report.line(
        lost == moved == 0,
        f"of {known} known flows {lost} were lost, {moved} changed servers; {unanswered} of {asked} requests lost",
    )
    new, unserved = sum(r.new for r in results), sum(len(r.unserved) for r in results)
    gap_s = max(r.gap_s(since_s) for r in results)
    last = f", the last one {gap_s:.1f} s after that" if gap_s else ""
    report.line(gap_s < NOTICED_S, f"of {new} new flows {unserved} were not served{last}")


# ------------------------------------------------------------------------------ what breaks


def killed(cast: Cast) -> None:
    controllers, report = cast.controllers, cast.report
    leader = cast.leader()
    report.heading(f"kill -9 of {leader.name}, the master of all switches, under load")
    fence = Fence(cast.testbed, controllers)
    with _load(cast, fence):
        report.command("", f"kill -9 {leader.process.pid}")
        began_s = time.monotonic()
        leader.kill()
        other = controllers.await_leader(leader, NOTICED_S)
        wait_until(lambda: cast.has_all(other), f"{other.name} is the master of all switches", NOTICED_S)
        took_s = time.monotonic() - began_s
        report.line(True, f"after {took_s:.1f} s {other.name} leads, and every switch has said that it is its master")
    fence.end()
    leader.start()
    report.line(cast.leader() is other, f"{leader.name} is started again: {other.name} leads on")


def cut_off(cast: Cast) -> None:
    controllers, report, roles = cast.controllers, cast.report, cast.roles
    leader = controllers.await_masters()
    report.heading(f"{leader.name} is cut off from etcd, and does not hear that another one leads")
    fence = Fence(cast.testbed, controllers)
    began_s = time.monotonic()
    with _load(cast, fence):
        leader.part_from_etcd()
        other = controllers.await_leader(leader, NOTICED_S)
        wait_until(lambda: cast.has_all(other), f"{other.name} is the master of all switches", NOTICED_S)
        wait_until(
            lambda: fence.refused_by(leader, began_s), f"a switch refuses what {leader.name} writes", NOTICED_S
        )
        refused = fence.refused_by(leader, began_s)
        report.line(True, f"{other.name} leads; {leader.name} wrote on: {refused} times a switch said no (IS_SLAVE)")
    report.line(
        fence.checked > 0 and not fence.faults,
        f"at {fence.checked} role replies: no rule of {leader.name} came after the switch's word for {other.name}",
    )
    fence.end()
    server = next(iter(roles.families[0].servers.values()))
    answer = leader.rest("PATCH", f"/v1/groups/{roles.group}/servers/{server}", {"weight": 2})
    report.line(answer.status == 503, f"what {leader.name} is asked to change, it refuses: {answer.status}")
    leader.restore()
    report.line(controllers.await_masters() is other, f"the cut is mended: {other.name} leads on")


def after_all(cast: Cast) -> None:
    cast.report.heading("What was enrolled is there")
    leader = cast.controllers.await_masters()
    servers = leader.rest("GET", f"/v1/groups/{cast.roles.group}/servers").body["servers"]
    wanted = {address for family in cast.roles.families for address in family.servers.values()}
    found = {server["address"] for server in servers}
    cast.report.line(found == wanted, f"{leader.name}: {', '.join(sorted(found))}")
    _show(cast)
