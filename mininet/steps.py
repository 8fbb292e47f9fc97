"""The demo's steps: what the document promises, shown with real programs.

Each step is a function of the ``Scene``; it prints what it does, and a line for each result.  A step
that cannot be shown on the network at hand prints that instead.
"""

from __future__ import annotations

import re
import subprocess
import time

import service_steps
import visible_steps
from capture import Packet
from notation import Conversation
from roles import Family
from scene import DNS_NAME, UDP, WEB, Scene, await_end, program
from testbed import Program, TestbedError, wait_until
from wire import Wire

from anycast_sdn.description.model import Link

LATER_S = 3  # between the two requests of one connection: time enough to change a cost
EXPIRY_DEADLINE_S = 60.0
# What the testbed, captures, REST and programs raise when something does not work; all else is our own bug.
STEP_ERRORS = (TestbedError, RuntimeError, OSError, subprocess.TimeoutExpired)


def run_all(scene: Scene) -> None:
    """All steps; one that fails is reported, and the others go on."""
    for step in (routers, first_request, visible_steps.why, visible_steps.what_if, one_connection, withdrawal,
                 hand_over, dns, ping, other_family, unknown_translated, anycast_source, expiry, *service_steps.ALL,
                 visible_steps.who):  # fmt: skip
        try:
            step(scene)
        except STEP_ERRORS as error:
            scene.report.line(False, str(error))
    log = scene.controller.log()
    scene.report.heading("The controller's own log")
    scene.report.line("Traceback" not in log, "no error of its own in it")
    if not scene.report.holds:
        scene.report.text(f"Its end:\n{log[-4000:]}")


# ------------------------------------------------------------------------------ the method


def first_request(scene: Scene) -> None:
    family, roles, report = scene.family, scene.roles, scene.report
    report.heading(f"The first request: {roles.client} asks ANY, an address that no host has")
    with scene.wire(family, f"tcp port {WEB}") as wire:
        server = scene.fetch(family)
    distances, edge = roles.distances(), roles.edge_of(server)
    costs = ", ".join(f"{edge} {cost}" for edge, cost in distances.items())
    report.line(
        distances[edge] == min(distances.values()), f"{server} answers, behind the nearest edge (costs: {costs})"
    )
    report.heading("The addresses on the wire, captured on every cable with tcpdump")
    translated = _compare(scene, family, wire, WEB, asked=server, answered=server, table=True)
    report.heading("The state table")
    shown, table = scene.listing("flows")
    report.command("", shown)
    report.text(table)
    rows = [line.split() for line in table.splitlines() if translated in line.split()]
    holds = len(rows) == 1 and {"pinned", family.servers[server]} <= set(rows[0])
    report.line(holds, f"the flow whose PR1X is {translated} is pinned to {server}")


def _compare(
    scene: Scene, family: Family, wire: Wire, port: int, *, asked: str, answered: str, table: bool = False
) -> str:
    """What was captured against what the document says, a line each → PR1X."""
    seen = Conversation.seen(wire, family, port, scene.roles.client, answered)
    if table:
        scene.report.text(str(seen))
    to, by = family.name_of(asked), family.name_of(answered)
    prefixes = ", ".join(map(str, family.translation))
    scene.report.line(
        seen.first_packet_holds(to) and family.is_translation(seen.translated),
        f"first packet: {seen.summary(seen.first_packet)}; PR1X is in {prefixes}",
    )
    scene.report.line(seen.replies_hold(by), f"replies: {seen.summary(seen.first_reply)}")
    scene.report.line(seen.later_packet_holds(by), f"later packets: {seen.summary(seen.later_packet)}")
    return seen.translated


def one_connection(scene: Scene) -> None:
    family, roles, report = scene.family, scene.roles, scene.report
    report.heading("The second request of a connection goes where the first one went")
    detour = roles.detour()
    pause = ["--rate", f"{60 // LATER_S}/m"] if detour else []
    words = ["curl", "-sSN", "-m", "20", *pause, "-w", r"(new connections: %{num_connects})\n"]
    scene.await_free(family, 2)
    connection = scene.start(roles.client, *words, family.url, family.url)
    if detour:
        report.text(f"(the second request follows the first one after {LATER_S} s)")
        _with_detour(scene, connection, *detour)
    await_end(connection)
    said = connection.output().splitlines()
    report.text("\n".join(said))
    holds = len(said) == 4 and said[0] == said[2] and [line[-2:] for line in said[1::2]] == ["1)", "0)"]
    report.line(holds, f"two requests, one connection, one server: {' '.join(said[:1])}")
    if not detour:
        one_edge = len(roles.distances()) == 1
        reason = "servers stand behind one edge only" if one_edge else "no single link's cost decides which edge is"
        if scene.testbed.network.legacy_core:
            reason = "costs are the routers' own; a withdrawal does it, below"
        report.not_shown("another edge becoming the nearest in between", reason)


def _with_detour(scene: Scene, connection: Program, link: Link, cost: int) -> None:
    """The link costs more between the two requests; returns when ``connection`` has ended."""
    roles, path = scene.roles, f"/v1/topology/links/{link.a}"
    wait_until(lambda: "\n" in connection.output(), "the first request is answered")
    before = connection.output().split()[0]
    scene.call("PATCH", path, {"cost": cost})
    try:
        other = scene.fetch(scene.family)
        in_between = connection.output().count("answers") == 1
        await_end(connection)
    finally:
        scene.call("PATCH", path, {"cost": link.cost})
    scene.report.line(
        in_between and roles.edge_of(other) != roles.edge_of(before),
        f"in between {link.a.switch}–{link.b.switch} cost {cost}, not {link.cost}: "
        f"a new connection went to {other}, behind {roles.edge_of(other)}",
    )


def hand_over(scene: Scene) -> None:
    family, report = scene.family, scene.report
    report.heading("The hand-over: the server that got the request lets another one answer")
    if len(family.servers) < 2:
        report.not_shown("a hand-over", "there is one server only")
        return
    with scene.wire(family, f"udp port {UDP}") as wire:
        said = scene.ask(family, *program("udp_client.py", family.service, UDP, "hand over", "another request"))
    found = re.fullmatch(r"(\S+) answers for (\S+)\n(\S+) answers", said)
    if not found:
        raise TestbedError(f"no hand-over: {said}")
    answered, asked, later = found.groups()
    report.line(answered == later != asked, f"{asked} got the first request, {answered} answered; then {later} got all")
    flow = scene.newest_flow(family, UDP)
    holds = (flow["state"], flow["server"]) == ("pinned", family.servers[answered])
    report.line(holds, f"/v1/flows: PR1X {flow['translated']} is {flow['state']} to {flow['server']}, {answered}")
    _compare(scene, family, wire, UDP, asked=asked, answered=answered, table=True)


# ------------------------------------------------------------------------------ ordinary routers


def routers(scene: Scene) -> None:
    """The paths to ANY in the tables of the ordinary routers."""
    if not scene.testbed.network.legacy_core:
        return
    scene.report.heading("The ordinary routers: their BGP paths to ANY")
    nearest = next(iter(scene.roles.distances()))
    for family in scene.roles.families:
        _compare_tables(scene, family, {scene.roles.edge_of(server) for server in family.servers}, nearest)


def _compare_tables(scene: Scene, family: Family, serving: set[str], nearest: str) -> None:
    """The router at H's edge has paths to all edges that serve, the nearest is best; each line as FRR shows it."""
    edges = {scene.uplink_of(server, family): scene.roles.edge_of(server) for server in family.servers}
    for router in scene.testbed.routers:
        paths = router.paths(family.prefix)
        shown = ", ".join(f"{hop} ({edges.get(hop, '?')}){' best' if best else ''}" for hop, best in paths.items())
        scene.report.text(f"{router.name}: {family.prefix} by {shown or 'no path'}")
        if any(uplink.edge == scene.roles.edge.name for uplink in router.uplinks):
            best = [edges.get(hop) for hop, is_best in paths.items() if is_best]
            holds = {edges.get(hop) for hop in paths} == serving and best == [nearest]
            scene.report.line(holds, f"{router.name}, at {scene.roles.edge.name}, sends {family.service} to {nearest}")


def withdrawal(scene: Scene) -> None:
    """The servers of the nearest edge leave: its announcement goes with the last of them."""
    family, roles, report = scene.family, scene.roles, scene.report
    if not scene.testbed.network.legacy_core:
        return
    report.heading("The nearest edge withdraws: its servers leave the group")
    nearest, *others = roles.distances()
    if not others:
        report.not_shown("a withdrawal", "servers stand behind one edge only")
        return
    leaving = {name: address for name, address in family.servers.items() if roles.edge_of(name) == nearest}
    group = f"/v1/groups/{roles.group}"
    uplink = scene.uplink_of(next(iter(leaving)), family)
    for address in leaving.values():
        scene.call("DELETE", f"{group}/servers/{address}", None)
    began = time.monotonic()
    wait_until(lambda: not any(uplink in router.paths(family.prefix) for router in scene.testbed.routers),
               f"the routers remove their paths by {uplink}")  # fmt: skip
    report.line(True, f"{time.monotonic() - began:.2f} s later no router has a path to {family.service} by {nearest}")
    _compare_tables(scene, family, set(others), others[0])
    server = scene.fetch(family)
    report.line(roles.edge_of(server) in others, f"a new connection goes to {server}, behind {roles.edge_of(server)}")
    for address in leaving.values():
        scene.call("PUT", f"{group}/servers/{address}", {"weight": 1})
    scene.await_routers()


# ------------------------------------------------------------------------------ other programs, other family


def dns(scene: Scene) -> None:
    scene.report.heading("DNS: dig takes no answer from another address than it asked")
    _dig(scene, scene.family)


def _dig(scene: Scene, family: Family) -> None:
    query = ("+tries=1", "+time=5", "+short", "+identify", f"@{family.service}", DNS_NAME, "TXT")
    said = scene.ask(family, "dig", *query)
    found = re.fullmatch(r'"(\S+)" from server (\S+) in .*', said)
    holds = found is not None and found[1] in family.servers and found[2] == family.service
    scene.report.line(holds, f"dig: {found[1] if found else 'no server'} answers, and dig sees {family.service}")


def ping(scene: Scene) -> None:
    scene.report.heading("ping: a protocol without ports")
    _ping(scene, scene.family)


def _ping(scene: Scene, family: Family) -> None:
    said = scene.ask(family, "ping", "-q", "-c", "3", "-i", "0.2", "-W", "2", family.service)
    holds = "3 packets transmitted, 3 received, 0% packet loss" in said
    scene.report.line(holds, f"ping: {family.service} answers each echo once, the first one included")


def other_family(scene: Scene) -> None:
    report, families = scene.report, scene.roles.families
    if len(families) == 1:
        report.heading("The other address family")
        report.not_shown("all of it once more", f"{scene.roles.client} and its servers share {scene.family.name} only")
        return
    other = families[1]
    report.heading(f"The same in {other.name}")
    with scene.wire(other, f"tcp port {WEB}") as wire:
        server = scene.fetch(other)
    _compare(scene, other, wire, WEB, asked=server, answered=server)
    _dig(scene, other)
    _ping(scene, other)


# ------------------------------------------------------------------------------ what must not pass


def unknown_translated(scene: Scene) -> None:
    """H asks ANY afterwards: when that packet is there, what was sent before would be, too."""
    family, roles, report = scene.family, scene.roles, scene.report
    server, edge = next(iter(family.servers)), roles.edge.name
    in_use = {flow["translated"] for flow in scene.flows(family)}
    unknown = next(address for address in family.translation_addresses() if address not in in_use)
    report.heading(f"An unknown PR1X: {server} sends to {unknown}, which no flow has")
    before = scene.drops(edge, "no_binding")
    with scene.testbed.capture(roles.client, 0, f"{family.filter} and udp") as at_client:
        scene.run(server, "dig", "+tries=1", "+time=1", "+short", f"@{unknown}", DNS_NAME)
        scene.await_free(family)
        scene.testbed.run(roles.client, ("dig", "+tries=1", f"@{family.service}", DNS_NAME))
    after = scene.drops(edge, "no_binding")
    report.line(after == before + 1, f"{edge} dropped it: its counter no_binding went from {before} to {after}")
    _nothing_else(scene, at_client.packets())


def anycast_source(scene: Scene) -> None:
    """A server as anycast used to be, with ANY as an address of its own; H asks ANY afterwards, as above."""
    family, roles, report = scene.family, scene.roles, scene.report
    server = next(iter(family.servers))
    edge = roles.edge_of(server)
    report.heading(f"An anycast source: {server} takes ANY for an address of its own and sends from it")
    echo_request = "ip6[40] == 128" if family.is_v6 else "icmp[icmptype] == icmp-echo"
    before = scene.drops(edge, "anycast_source")
    scene.run(server, "ip", "address", "add", family.prefix, "dev", "lo", *(["nodad"] if family.is_v6 else []))
    try:
        with scene.testbed.capture(roles.client, 0, f"{family.filter} and {echo_request}") as at_client:
            scene.run(server, "ping", "-q", "-c", "2", "-i", "0.2", "-W", "1", "-I", family.service, family.client)
            scene.testbed.run(roles.client, ("ping", "-c", "1", "-W", "2", family.service))
    finally:
        scene.run(server, "ip", "address", "delete", family.prefix, "dev", "lo")
    wait_until(lambda: scene.drops(edge, "anycast_source") >= before + 2, f"{edge} counts its drops")
    after = scene.drops(edge, "anycast_source")
    report.line(after == before + 2, f"{edge} dropped both: its counter anycast_source went from {before} to {after}")
    _nothing_else(scene, at_client.packets())


def _nothing_else(scene: Scene, packets: list[Packet]) -> None:
    """H's cable has carried H's own conversation with ANY and nothing else."""
    family, client = scene.family, scene.roles.client
    ours = {(family.client, family.service), (family.service, family.client)}
    ends = {(packet.source, packet.destination) for packet in packets}
    scene.report.line(bool(ends) and ends <= ours, f"nothing of it arrived at {client}")


# ------------------------------------------------------------------------------ the end of a flow


def expiry(scene: Scene) -> None:
    family, roles, report = scene.family, scene.roles, scene.report
    role, edge = roles.edge.client_edge, roles.edge.name
    assert role is not None
    udp_s, quarantine_s = role.validity.udp_s, role.quarantine_s
    report.heading(f"Expiry: a UDP flow is forgotten after {udp_s} s, its address rests for {quarantine_s} s")
    scene.await_free(family)
    begin = time.monotonic()
    scene.ask(family, *program("udp_client.py", family.service, UDP, "hello"))
    flow = scene.newest_flow(family, UDP)
    translated, held = flow["translated"], scene.held(flow["translated"])
    report.line(held.is_whole, f"{translated} is {flow['state']} to {flow['server']}; {edge} has {held}")
    wait_until(
        lambda: translated not in {flow["translated"] for flow in scene.flows(family)},
        f"the flow of {translated} is forgotten",
        EXPIRY_DEADLINE_S,
    )
    idle_s = time.monotonic() - begin
    held, pool = scene.held(translated), scene.pool(family)
    report.line(
        held.is_nothing and idle_s >= udp_s and (pool["resting"] > 0 or not quarantine_s),
        f"after {idle_s:.1f} s it is not in the state table; {edge} has {held}; "
        f"resting addresses: {pool['resting']}",
    )
    wait_until(lambda: scene.pool(family)["resting"] == 0, "no address rests any more", EXPIRY_DEADLINE_S)
    pool = scene.pool(family)
    report.line(
        pool["leased"] + pool["free"] == pool["size"],
        f"after {time.monotonic() - begin:.1f} s it is free again; resting addresses: {pool['resting']}",
    )
