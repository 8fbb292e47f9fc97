"""Reasons: all that is wrong now, each with its effect: what an operator has to know of it.

Rules kept here:
- A reason has a stable code, that of the event that tells of it where there is one, and what it is about.  These
  identify it; its sentence and its effect may change while it lasts.
- The effect says what becomes of flows, in the present tense, and whether the service goes on.
- Of what there may be thousands, no more than ``MAX_REASONS`` are looked at: this is asked for every second.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.lldp_passage import EFFECT, FINDING
from anycast_sdn.control.share import Share
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.events import Severity, Subject
from anycast_sdn.core.model import Address, AnycastGroup, Prefix, ServerState, text
from anycast_sdn.core.network_events import cannot_begin
from anycast_sdn.core.pool import PoolUse
from anycast_sdn.core.pool_watch import Level, Outlook
from anycast_sdn.core.roles import Pooling
from anycast_sdn.core.slots import Spread
from anycast_sdn.core.words import FAMILIES, counted, listed
from anycast_sdn.description.model import Link
from anycast_sdn.fabric.graph import Graph
from anycast_sdn.openflow.layouts import suited
from anycast_sdn.openflow.pending import silence
from anycast_sdn.views.counters import Counters

MAX_REASONS = 100  # in one answer, and of one kind
LOOKED_AT = 3  # links that are down, of which it is said what moves
COMPARED = 20_000  # distances from a site to an edge, for one of them: some milliseconds
RECENT_S = 60.0  # a refused or a repaired rule is a reason for so long


class Reason(NamedTuple):
    """Something that is wrong."""

    code: str
    subject: Subject
    sentence: str  # for the log: no capital, no full stop
    effect: str = ""
    severity: Severity = Severity.CRITICAL
    early: bool = False  # to be expected in the controller's first seconds
    group: str = ""  # of the subject
    about: str = ""  # what tells it from others of the same code and subject

    @property
    def key(self) -> tuple[str, ...]:
        return self.code, *self.subject, self.group, self.about

    @property
    def is_one_of_many(self) -> bool:
        """May there be hundreds like it?"""
        return self.code == "server.critical"

    @property
    def detail(self) -> str:
        """The sentence by itself."""
        return f"{self.sentence[:1].upper()}{self.sentence[1:]}."


class Session(NamedTuple):
    """The state of a BGP session."""

    uplink: str
    neighbour: str
    state: str
    problem: str


def reasons(
    controller: Controller, counters: Counters, sessions: Iterable[Session], database: str, now: float,
    binding_log: str = "",
) -> Iterator[Reason]:  # fmt: skip
    """All that is wrong now.

    ``sessions``: those of BGP; ``database``: why enrolments cannot be stored, "" if they can; ``binding_log``: what is
    wrong with that, "" if nothing is.
    """
    yield from _of_storage(database, binding_log)
    for switch in controller.switches.values():
        yield from _of_switch(switch, counters, now)
    yield from _of_lldp(controller)
    yield from _of_links(controller, now)
    yield from itertools.islice(_unserved(controller.groups, controller.announcements.announcers), MAX_REASONS)
    yield from _of_servers(controller)
    yield from _of_spilling(controller)
    yield from _of_sessions(controller, list(sessions))


def reasons_of_follower(
    controller: Controller, counters: Counters, connected: Container[str], sessions: Iterable[Session], database: str,
    now: float, binding_log: str = "",
) -> Iterator[Reason]:  # fmt: skip
    """What is wrong with a member of a cluster while another one leads.  ``connected``: switches, to this member."""
    yield from _of_storage(database, binding_log)
    for switch in controller.switches.values():
        if switch.name not in connected:
            yield Reason(
                "switch.unreached", Subject("switch", switch.name),
                f"switch {switch.name} (datapath id {switch.dpid:#x}) is not connected to this member of the cluster",
                "Its master goes on serving it; this member cannot take over from that.", Severity.WARNING, early=True,
            )  # fmt: skip
        elif switch.share is Share.FLOWS and switch.decides_on_flows:
            yield from _of_rules(switch, counters, now)
            yield from _of_addresses(switch, now)
    yield from _of_sessions(controller, list(sessions))


def _of_storage(database: str, binding_log: str) -> Iterator[Reason]:
    if database:
        yield Reason(
            "store.failed", Subject("controller", ""), f"enrolments cannot be changed: {database}",
            "Groups, servers and leases stay as they are; flows go on.",
        )  # fmt: skip
    if binding_log:
        yield Reason(
            "binding_log.failed", Subject("controller", ""), binding_log,
            "Who has which translation address is not recorded; flows go on.",
        )  # fmt: skip


# ------------------------------------------------------------------------------ switches


def _of_switch(switch: ManagedSwitch, counters: Counters, now: float) -> Iterator[Reason]:
    name, subject = switch.name, Subject("switch", switch.name)
    if not switch.ever_synchronised:
        sentence = f"switch {name} (datapath id {switch.dpid:#x}) has not connected"
        effect = "Nothing is known of it, and other switches go without it where they can."
        yield Reason("switch.missing", subject, sentence, effect, early=True)
        return
    if not switch.synchronised:
        yield Reason("switch.lost", subject, f"switch {name} has lost the controller", _without_controller(switch))
        return
    yield from _of_rules(switch, counters, now)
    for uplink in switch.uplinks:
        for router in uplink.routers:
            if not switch.neighbours.get(router):
                sentence = f"router {text(router)} at uplink {uplink.name} does not answer"
                yield Reason(
                    "router.silent", Subject("uplink", uplink.name), sentence,
                    "Nothing is sent to it; networks beyond it are reached by other routers, or not at all.",
                    Severity.WARNING, early=True, about=text(router),
                )  # fmt: skip
    yield from _of_addresses(switch, now)


def _of_rules(switch: ManagedSwitch, counters: Counters, now: float) -> Iterator[Reason]:
    """What the switch refuses, lacks, or does not hold."""
    name, subject = switch.name, Subject("switch", switch.name)
    if now - switch.lacks.refused_at < RECENT_S:
        refused = counters.drops[name]["rule_refused"]
        yield Reason(
            "rules.refused", subject, f"switch {name} refuses rules: {refused} until now",
            "What these rules are for is not served: flows of clients there may fail.",
        )  # fmt: skip
    for judgement in switch.abilities.judgements:
        if not judgement.is_able:
            yield Reason(
                "switch.degraded", subject, f"switch {name} {judgement.finding}",
                f"{judgement.effect[:1].upper()}{judgement.effect[1:]}.", about=judgement.role.value,
            )  # fmt: skip
    for lacking in switch.room.shortages():
        effect = f"{lacking.effect[:1].upper()}{lacking.effect[1:]}."
        yield Reason("switch.degraded", subject, f"switch {name} {lacking.sentence}", effect, Severity.WARNING,
                     about="groups" if lacking.table is None else f"table {lacking.table}")  # fmt: skip
    if flows := switch.cut_off.flows:
        first, *others = map(text, switch.cut_off.destinations)
        to = first + (f" and {counted(len(others), 'other destination')}" if others else "")
        yield Reason(
            "switch.degraded", subject,
            f"switch {name} drops the packets of {counted(flows, 'known flow')}: it has no next hop to {to}",
            "With two tables it cannot report them, so their senders are not told. They go on when there is one again.",
            Severity.WARNING, about="next hop",
        )  # fmt: skip
    if switch.share is Share.REST and suited(switch.features.tables).names_next_hops:
        yield Reason(
            "switch.degraded", subject, f"switch {name} has two tables, and is shared among the members of the cluster",
            "Its known flows lose their next hops when routes change: end the sharing ('anycast-sdn cluster gather').",
            about="shared",
        )  # fmt: skip
    for question in sorted(switch.unanswered):
        sentence = f"switch {name} {silence(question)}"
        effect = "Whether they are as they should be is not known."
        yield Reason("switch.degraded", subject, sentence, effect, Severity.WARNING, about=question)
    if (short := switch.engine.shortcoming) and not short.is_served:
        effect = f"New flows of its clients are refused. {short.remedy}"
        yield Reason("switch.degraded", subject, f"switch {name} {short.sentence}", effect, about=short.lacks)
    if switch.timeouts_problem:
        sentence = f"the timeouts of {name}'s connection tracker cannot be set: {switch.timeouts_problem}"
        effect = "Its idle flows may end earlier or later than validity says."
        yield Reason("timeouts.failed", subject, sentence, effect, Severity.WARNING)
    if switch.repaired_at is not None and now - switch.repaired_at < RECENT_S:
        sentence = f"switch {name} did not hold what it should, perhaps changed by others; its rules are put right"
        effect = "Its rules are right again; packets may have been lost in between."
        if switch.lacks.rows.are_missing:
            sentence = f"switch {name} does not hold what it should, although its rules were sent again"
            effect = "What these rules are for is not served."
        yield Reason("rules.repaired", subject, sentence, effect, Severity.WARNING)


def _of_addresses(switch: ManagedSwitch, now: float) -> Iterator[Reason]:
    """Of its pools, and of the ranges out of which it chooses by itself."""
    statistics = switch.statistics(now)
    for family, outlook in statistics.outlooks.items():
        if outlook.level:
            reason = _of_pool(switch, family, statistics.pools[family], outlook)
            yield _of_whole_clients(reason) if statistics.switch_allocates else reason
    for family, use in statistics.ranges.items():
        if use.level:
            sentence = f"{switch.name} {cannot_begin(family)}; refused until now: {counted(use.refused, 'packet')}"
            effect = f"New {FAMILIES[family]} flows of its clients are refused while that lasts; others go on."
            yield Reason("range.exhausted", Subject("pool", switch.name), sentence, effect, about=family)


def _without_controller(switch: ManagedSwitch) -> str:
    """What becomes of a switch that has been connected before."""
    described, flows = switch.described, len(switch.engine.flows)
    effects = []
    if described.client_edge:
        effects.append(f"Its {counted(flows, 'flow')} {'goes' if flows == 1 else 'go'} on; new flows of its clients "
                       "get nowhere until it is back.")  # fmt: skip
    if described.server_edge:
        effects.append("Its servers are served as before.")
    if not effects:
        effects.append("It goes on forwarding, and is used only where there is no other path.")
    return " ".join(effects)


def _of_whole_clients(reason: Reason) -> Reason:
    """Of a pool from which only clients of groups with ``affinity: client`` get addresses: others are the switch's."""
    effect = "While it is exhausted, clients that are new to a group with affinity: client are refused, others served."
    return reason._replace(effect=effect, severity=Severity.WARNING)


def _of_pool(switch: ManagedSwitch, family: str, use: PoolUse, outlook: Outlook) -> Reason:
    """Of a pool that is low or exhausted."""
    pool, subject = f"the {FAMILIES[family]} pool of {switch.name}", Subject("pool", switch.name)
    refused = f"new {FAMILIES[family]} flows of its clients are refused"
    if outlook.level is Level.EXHAUSTED:
        sentence = f"{pool} is exhausted: {use.leased} of {use.size} addresses in use, {use.resting} resting"
        effect = f"{refused.capitalize()}, but those of clients that share an address with others of their flows."
        return Reason("pool.exhausted", subject, sentence, effect, about=family)
    soon = "" if outlook.used_up_in_s is None else f", used up in about {math.ceil(outlook.used_up_in_s)} s"
    sentence = f"{pool} is low: {outlook.left} of {use.size} addresses left{soon}"
    role = switch.described.client_edge
    shares = role is not None and role.pooling is not Pooling.FLOW
    meanwhile = "New flows of one client share addresses" if shares else "Flows go on"
    effect = f"{meanwhile}. When it is exhausted, {refused}."
    return Reason("pool.low", subject, sentence, effect, Severity.WARNING, about=family)


# ------------------------------------------------------------------------------ links


def _of_lldp(controller: Controller) -> Iterator[Reason]:
    for name in sorted(controller.discovery.passage.swallowing):
        if controller.by_name[name].synchronised:
            effect = (
                f"{EFFECT[:1].upper()}{EFFECT[1:]}; with discovery: {{lldp: false}} all links are, and none is sent."
            )
            yield Reason(
                "switch.degraded", Subject("switch", name), f"switch {name} {FINDING}", effect, Severity.WARNING,
                about="lldp",
            )  # fmt: skip


def _of_links(controller: Controller, now: float) -> Iterator[Reason]:
    for number, (watched, why) in enumerate(itertools.islice(controller.discovery.down(now), MAX_REASONS)):
        name = "–".join(map(str, watched.ends))
        effects = [_detour(controller.routes.graph, watched.link, looks_ahead=number < LOOKED_AT)]
        if number < LOOKED_AT:
            effects += _moves(controller, watched.link)
        yield Reason(
            "link.down", Subject("link", "-".join(map(str, watched.ends))), f"link {name} is down: {why}",
            " ".join(effects),
        )  # fmt: skip


def _detour(graph: Graph, link: Link, looks_ahead: bool) -> str:
    one, other = link.a.switch, link.b.switch
    cost = graph.distances(one).get(other)
    if cost is None:
        return f"The network is split: {one} and {other} do not reach each other."
    at = f"at cost {cost}" + (f" instead of {link.cost}" if cost > link.cost else "")
    detour = f"{one} and {other} reach each other by other links, {at}."
    if looks_ahead and graph.hang_on_one_link(one, other):
        return f"{detour} The loss of one more link would separate them."
    return detour


def _moves(controller: Controller, link: Link) -> Iterator[str]:
    """Sites whose new flows would go to another edge if this link were up; not where there is much to be compared."""
    graph, announcers = controller.routes.graph, controller.announcements.announcers_of
    ends, cost = (link.a.switch, link.b.switch), link.cost
    sites = [switch.name for switch in controller.switches_by_name() if switch.described.client_edge]
    known: dict[frozenset[str], dict[str, tuple[str | None, str | None]]] = {}
    moved: dict[tuple[str, str | None, str | None], dict[str, None]] = {}
    left = COMPARED
    for group in controller.groups:
        for prefix in group.prefixes:
            edges = announcers(prefix)
            if edges not in known:
                left -= len(edges) * len(sites)
                if left < 0:
                    return
                known[edges] = {site: (graph.nearest(site, edges), graph.nearest_with(site, edges, ends, cost))
                                for site in sites}  # fmt: skip
            for site, (now, before) in known[edges].items():
                if now != before:
                    moved.setdefault((site, now, before), {})[group.name] = None
    for (site, after, before), names in itertools.islice(moved.items(), LOOKED_AT):
        goes = "goes" if len(names) == 1 else "go"
        yield f"{listed(names, 3)} from {site} {goes} to {after or 'no edge'} instead of {before}."


# ------------------------------------------------------------------------------ services


def _unserved(groups: Iterable[AnycastGroup], announced: Container[Prefix]) -> Iterator[Reason]:
    """Services without a server edge that is able to serve.  There may be thousands: callers take as many as needed."""
    for group in groups:
        for prefix in group.prefixes:
            if prefix not in announced and _should_serve(group, prefix):
                yield Reason(
                    "group.unserved", Subject("group", group.name),
                    f"no server edge is able to serve {prefix} of group {group.name}",
                    "New flows to it are refused.", early=True, about=str(prefix),
                )  # fmt: skip


def _should_serve(group: AnycastGroup, prefix: Prefix) -> bool:
    active = (server for server in group.servers.values() if server.state is ServerState.ACTIVE)
    return any(len(server.address) == len(prefix.network) for server in active)


def _of_servers(controller: Controller) -> Iterator[Reason]:
    """Servers that should take new flows, and do not because of their health: one reason for each server."""
    found: dict[Address, list[str]] = {}
    for name, address in controller.health.critical():
        if len(found) == MAX_REASONS and address not in found:
            break
        group = controller.groups.get(name)
        server = group.servers.get(address) if group else None
        if server and server.state is ServerState.ACTIVE and server.weight:
            found.setdefault(address, []).append(name)
    for address, names in found.items():
        why = controller.health.of(names[0], address).reason
        sentence = f"server {text(address)} of {listed(names, 3)} is critical{f': {why}' if why else ''}"
        effect = " ".join(_in_its_place(controller, name, address) for name in names[:3])
        yield Reason("server.critical", Subject("server", text(address)), sentence, effect, group=names[0])


def _in_its_place(controller: Controller, name: str, address: Address) -> str:
    """Who takes the new flows of a group that a critical server would take."""
    if controller.selecting.takes_flows(name, address):
        return f"It goes on serving {name}, because too few of its servers are healthy."
    selection = controller.selecting.selection(Spread(name, len(address) == 16))
    others = [server for server, each in selection.standings.items() if each.factor > 0] if selection else []
    if not selection or not others:
        return f"No other server serves {name}: new flows to it are refused."
    place = controller.network.subnet_of(address)
    gone = f"{place.edge} has withdrawn {name}, and n" if place and place.edge not in selection.announce else "N"
    return f"{gone}ew flows of {name} go to {counted(len(others), 'other server')}."


def _of_spilling(controller: Controller) -> Iterator[Reason]:
    """Edges whose own servers have no room for all new flows: one reason for each edge."""
    by_edge: dict[str, dict[str, tuple[Spread, float]]] = {}
    for edge, spread, share in itertools.islice(controller.service_reports.spilling(), MAX_REASONS):
        by_edge.setdefault(edge, {})[spread.group] = spread, share
    for edge, groups in by_edge.items():
        effects = []
        for name, (spread, share) in itertools.islice(groups.items(), 3):
            selection = controller.selecting.selection(spread)
            shares = selection.shares.get(edge, {}) if selection else {}
            places = (controller.network.subnet_of(server) for server, part in shares.items() if part > 0)
            to = sorted({place.edge for place in places if place and place.edge != edge})
            effects.append(f"{share:.0%} of new flows of {name} go on to {listed(to, 3) or 'other edges'}.")
        sentence = f"servers of {listed(groups, 3)} behind {edge} have no room for all new flows there"
        effect = " ".join([*effects, "Flows in progress stay."])
        yield Reason("edge.spilling", Subject("switch", edge), sentence, effect, Severity.WARNING)


# ------------------------------------------------------------------------------ routers


def _of_sessions(controller: Controller, sessions: Sequence[Session]) -> Iterator[Reason]:
    others = {uplink.name for switch in controller.switches.values() for uplink in switch.uplinks}
    others -= {session.uplink for session in sessions if session.state != "established"}
    effect = f"Networks beyond it are reached by {listed(sorted(others), 3)}, where routes lead there." if others else (
        "Networks beyond the uplinks are not reached."
    )  # fmt: skip
    for session in sessions:
        if session.state != "established":
            why = f": {session.problem}" if session.problem else ""
            sentence = f"the BGP session of uplink {session.uplink} with {session.neighbour} is {session.state}{why}"
            yield Reason("bgp.down", Subject("uplink", session.uplink), sentence, effect, Severity.WARNING, early=True)
