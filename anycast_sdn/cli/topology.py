"""``topology``: switches, links, announcements and where traffic goes, also without parts of the network."""

from __future__ import annotations

import argparse
import json
import urllib.parse
from collections.abc import Sequence
from typing import Any

from anycast_sdn.cli import client, options
from anycast_sdn.cli.tables import table, yes_or_no
from anycast_sdn.core.words import FAMILIES, counted

_DESCRIPTION = """\
Show a running controller's switches, links, uplinks, BGP sessions and announcements, the edge that each site's
traffic to each service goes to, by which switches, and where the flows of each site are really pinned. With
--without, show the same as if parts of the network were not there, and what would be different: which services
move from where to where, how many flows lose their server, how loaded the others are then, and whether there are
addresses for connections that are opened anew."""


def add_to(commands: Any) -> None:
    topology = options.command(
        commands, "topology", "show links, announcements and where traffic goes", _DESCRIPTION,
        "topology", "topology --without c1-c2 --without 10.21.0.10",
        parents=[client.arguments()],
    )  # fmt: skip
    topology.add_argument("--without", action="append", default=[], metavar="LINK|SWITCH|UPLINK|SERVER",
                          help="as if this were not there; a link is c1:1, c1:1-c2:2 or c1-c2; may be repeated")
    topology.set_defaults(act=_topology)


def _topology(arguments: argparse.Namespace) -> int:
    query = urllib.parse.urlencode([("without", part) for part in arguments.without])
    path = f"/v1/topology?{query}" if query else "/v1/topology"
    answer = client.get(client.controller(arguments), path, "switches")
    if arguments.json:
        print(json.dumps(answer, indent=2))
        return 0
    print("\n\n".join(table(rows) for rows in _tables(answer) if rows))
    if answer["updating"]:
        print(f"\ninstalling new routes: {', '.join(answer['updating'])}")
    if len(answer["parts"]) > 1:
        print("\nparts of the fabric that no link connects: " + " | ".join(", ".join(part) for part in answer["parts"]))
    if arguments.without:
        print("\n" + "\n".join(differences(answer, arguments.without)))
    return 0


def differences(answer: Any, without: Sequence[str]) -> list[str]:
    """What would be different, in words."""
    totals = answer["difference_totals"]
    lines = [f"What would be different without {', '.join(without)}:"]
    if not answer["difference"]:
        return [*lines, "  Nothing: no service moves, no flow loses its server."]
    lines += [f"  {_in_words(row)}" for row in answer["difference"]]
    if totals["rows_left_out"]:
        lines.append(f"  … and {totals['rows_left_out']:,} more such lines")
    moves, flows = totals["moves"], totals["flows_losing_server"]
    if len(answer["difference"]) > 1:
        lines.append(f"  In all {counted(moves, 'move')}, {_losing(flows)}.")
    for row in answer["loads"]:
        result = "more than they can hold" if row["load"] > 1 else f"a load of {row['load']:.0%}"
        over = f", over the limit of {row['limit']:.0%}" if row["limit"] < row["load"] <= 1 else ""
        lines.append(
            f"  {row['group']}: {row['sessions']:,} {FAMILIES[row['family']]} sessions for servers with a capacity of "
            f"{row['capacity']:,}: {result}{over}."
        )
    for pool in answer["pools"]:
        result = "the pool is exhausted" if pool["fills"] else "that is enough"
        lines.append(
            f"  {counted(pool['new_connections'], 'connection')} of {pool['edge']} would be opened anew; "
            f"{pool['free']:,} {FAMILIES[pool['family']]} addresses are free: {result}."
        )
    return lines


def _in_words(row: Any) -> str:
    """ "web from arh1: ars2 → ars3 (198.18.0.1/32); 4 flows lose their server: no path to ars2"."""
    more = f" and {row['prefixes'] - 1:,} more" if row["prefixes"] > 1 else ""
    if row["from"] != row["to"]:
        said = f"{row['from'] or 'nobody'} → {row['to'] or 'nobody'} ({row['prefix']}{more})"
    elif row["prefix"] is None:
        said = "the group is deleted"
    else:
        said = f"{row['from'] or 'nobody'} stays ({row['prefix']})"
    flows = row["flows_losing_server"]
    lost = f"; {_losing(flows)}" if flows else ""
    note = f": {row['note']}" if row["note"] else ""
    return f"{row['group']} from {row['site']}: {said}{lost}{note}"


def _losing(flows: int) -> str:
    if flows > 1:
        return f"{flows:,} flows lose their server"
    return "1 flow loses its server" if flows else "no flow loses its server"


def _tables(answer: Any) -> list[list[dict[str, Any]]]:
    switches = [
        {"switch": switch["name"], "datapath id": f"{switch['dpid']:#x}", "connected": yes_or_no(switch["connected"])}
        for switch in answer["switches"]
    ]
    links = [
        {"link": "–".join(link["ends"]), "cost": link["cost"], "state": link["state"],
         "declared": yes_or_no(link["declared"]), "confirmed": yes_or_no(link["confirmed"]),
         "cabled instead": ", ".join(f"{end}–{peer}" for end, peer in link["cabled_instead"].items())}
        for link in answer["links"]
    ]  # fmt: skip
    uplinks = [
        {"uplink": uplink["name"], "port": uplink["port"], "routes": uplink["routes"],
         "routers": ", ".join(router["address"] if router["reachable"] else f"{router['address']} (silent)"
                              for router in uplink["routers"])}
        for uplink in answer["uplinks"]
    ]  # fmt: skip
    edges = [{"edge": edge["name"], "announces": " ".join(edge["announces"])} for edge in answer["edges"]]
    catchment = [
        {"ANY/n": prefix, "site": site, "goes to": edge or "no edge",
         "by": " ".join(answer["paths"].get(site, {}).get(edge, [])[1:-1])}
        for prefix, sites in answer["catchment"].items()
        for site, edge in sites.items()
    ]  # fmt: skip
    measured = [
        {"group": row["group"], "family": FAMILIES[row["family"]], "site": row["site"],
         "flows are pinned behind": ", ".join(f"{edge} ({flows})" for edge, flows in row["edges"].items())}
        for row in answer["measured"]
    ]  # fmt: skip
    return [switches, links, uplinks, answer["bgp"], edges, catchment, measured]
