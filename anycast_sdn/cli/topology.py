"""``topology``: switches, links, announcements and where traffic goes, also without parts of the network."""

from __future__ import annotations

import argparse
import json
import urllib.parse
from typing import Any

from anycast_sdn.cli import client, options
from anycast_sdn.cli.tables import table, yes_or_no

_DESCRIPTION = """\
Show a running controller's switches, links, uplinks, BGP sessions and announcements, and the edge that each
site's traffic to each service goes to. With --without, show the same as if parts of the network were not there."""


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
    return 0


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
        {"ANY/n": prefix, "site": site, "goes to": edge or "no edge"}
        for prefix, sites in answer["catchment"].items()
        for site, edge in sites.items()
    ]
    return [switches, links, uplinks, answer["bgp"], edges, catchment]
