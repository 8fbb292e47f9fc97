"""Reports: what a switch is, what it can be, what follows where it cannot, and what it holds.

``description``, ``role_views`` and ``without_views`` are of any switch; ``switch_reports`` are of those that the
controller manages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from anycast_sdn.control.controller import Controller
from anycast_sdn.control.lldp_passage import NO_LLDP
from anycast_sdn.control.switch import ManagedSwitch
from anycast_sdn.core.model import NotFound
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.fallbacks import fallbacks
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.judgement import FAMILIES, Judgement, Role, judge, remarks, roles
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.sizes import Sizes
from anycast_sdn.openflow.without import Without, used_without

_DESCRIPTION = ("manufacturer", "hardware", "software", "serial", "datapath")  # as OFPMP_DESC has them
_NOTHING_SAID = ("", "None", "none", "N/A")
_PIPELINE = [table for table in Table if table < Table.EGRESS]  # what every switch needs


def switch_reports(
    controller: Controller, channels: Mapping[int, Channel], now: float, turn: Callable[[], None] = lambda: None
) -> Iterator[dict[str, object]]:
    """``channels``: the connections by datapath id; ``turn`` lets other green threads run."""
    for switch in list(controller.switches.values()):
        yield _report(switch, channels.get(switch.dpid), _more(controller, switch), now)
        turn()


def switch_report(controller: Controller, channels: Mapping[int, Channel], name: str, now: float) -> dict[str, object]:
    """Raises NotFound."""
    switch = controller.switch(name)
    if switch is None:
        raise NotFound(f"there is no switch {name!a}")
    return _report(switch, channels.get(switch.dpid), _more(controller, switch), now)


def without(switch: ManagedSwitch) -> Iterator[Without]:
    """What the switch is used without."""
    features, engine = switch.features, switch.engine
    yield from used_without(features, switch.described.is_edge, engine.tracks_fragments)
    if short := engine.shortcoming:
        yield Without(short.lacks, f"{short.sentence}. {short.remedy}".rstrip(". "))
    for lacking in switch.room.shortages():
        yield Without("room", f"{lacking.sentence}: {lacking.effect}")
    for port, mtu in switch.mtus.items() if not features.packet_size else ():
        effect = f"larger packets than the mtu of its port {port}, {mtu}, are lost, without an ICMP error"
        yield Without(f"mtu of {port}", f"cannot compare the size of packets: {effect}")


def _room(switch: ManagedSwitch) -> dict[str, object]:
    groups = {"needs": len(switch.installed.groups), "says": switch.room.says(None) or None}
    return room_view(switch.room.needs(), switch.features.sizes) | {"groups": groups}


def _more(controller: Controller, switch: ManagedSwitch) -> list[Without]:
    """What is known of its links."""
    is_swallowed = switch.name in controller.discovery.passage.swallowing
    return [Without("lldp", NO_LLDP)] * is_swallowed


def _report(switch: ManagedSwitch, channel: Channel | None, more: list[Without], now: float) -> dict[str, object]:
    features, is_known = switch.features, switch.ever_synchronised
    wanted = roles(switch.described)
    of_flows = Role.CLIENT_EDGE in wanted
    judgements = [judge(role, features) for role in Role] if is_known else []
    return {
        "name": switch.name,
        "dpid": switch.dpid,
        "address": channel.peer if channel else None,
        "connected": switch.synchronised,
        **description(features if is_known else Features()),
        "layout": layout_view(channel.layout) if channel and is_known else None,
        "roles": [view | {"wanted": Role(view["role"]) in wanted} for view in role_views(judgements)],
        "without": without_views(features, of_flows, [*without(switch), *more]) if is_known else [],
        "unanswered": sorted(switch.unanswered),
        "rules": {
            "bindings": switch.statistics(now).rules,
            "other": len(switch.installed),
            "groups": len(switch.installed.groups),
        },
        "room": _room(switch) if is_known else None,
    }


# ------------------------------------------------------------------------------ of any switch


def description(features: Features) -> dict[str, object]:
    """What it says of itself; null: it does not say."""
    said = dict(zip(_DESCRIPTION, features.description, strict=False))
    shown = {name: None if said.get(name, "") in _NOTHING_SAID else said[name] for name in _DESCRIPTION}
    return {"description": shown, "tables": features.tables or None}


def layout_view(layout: Layout) -> dict[str, int]:
    """By each table of the pipeline: the table of the switch that carries it."""
    return {table.name.lower(): layout.table(table) for table in _PIPELINE}


def room_view(needs: Mapping[int, int], sizes: Sizes) -> dict[str, object]:
    """``needs``: rules besides those of flows, by table of the switch; null, where it says nothing."""
    tables = [
        {"table": table, "needs": rules, "says": sizes.of_table(table) or None}
        for table, rules in sorted(needs.items())
    ]
    return {"tables": tables, "groups": {"needs": 0, "says": sizes.groups or None}}


def role_views(judgements: Iterable[Judgement]) -> list[dict[str, object]]:
    return [
        {
            "role": judgement.role.value,
            "families": [_family(number) for number in FAMILIES if number in judgement.able],
            "sentence": judgement.sentence,
            "doubt": judgement.doubt or None,
            "lacks": [
                {
                    "ability": lack.ability.value,
                    "what": lack.ability.about.words,
                    "family": _family(lack.ability.about.family) if lack.ability.about.family else None,
                    "table": lack.table,
                    "why": lack.why,
                }
                for lack in judgement.lacks
            ],
        }
        for judgement in judgements
    ]  # fmt: skip


def without_views(features: Features, of_flows: bool, more: Iterable[Without]) -> list[dict[str, str]]:
    """``of_flows``: it is a client edge; ``more``: besides what has a fall-back."""
    instead = [Without(each.feature, each.sentence) for each in fallbacks(features, of_flows=of_flows)]
    remarked = [Without("abilities", remark) for remark in remarks(features)]
    return [{"feature": feature, "effect": effect} for feature, effect in (*instead, *remarked, *more)]


def _family(number: int) -> str:
    return f"ipv{number}"
