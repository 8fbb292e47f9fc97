"""``why``: which server a client's flows have, and by which decision; or which a new flow would get."""

from __future__ import annotations

import argparse
import json
import re
import urllib.parse
from collections.abc import Iterator
from typing import Any

from anycast_sdn.cli import client, options
from anycast_sdn.cli.listings import endpoint
from anycast_sdn.cli.tables import table
from anycast_sdn.cli.terminal import harmless, styled, with_words_styled
from anycast_sdn.core.model import AnycastError, packed, text
from anycast_sdn.core.words import counted

_MOST = 3  # flows that are shown in full
_ABOUT = """\
Show which server a client's flow has, and why: which servers there were, at what cost, with which weight, load and
health, who was left out and why; who got the first packet, who answered and after how long; servers that the flow has
lost since. Of a client without flows, show where a new one would go."""


def add_to(commands: Any) -> None:
    why = options.command(
        commands, "why", "show why a flow has its server", _ABOUT,
        "why 10.1.0.10", "why 10.1.0.10:41428", "why [2001:db8:1::10]:41428", "why arh1/17",
        parents=[client.arguments()],
    )  # fmt: skip
    why.add_argument("what", type=_what, metavar="CLIENT[:PORT]",
                     help="a client's address, with its port for one of its flows; or a flow, written EDGE/NUMBER")
    why.set_defaults(act=_why)


class _Flow(tuple[str, str]):
    """Edge and number."""


def _what(given: str) -> tuple[str, int] | _Flow:
    """Address and port, 0 for any; or edge and number."""
    edge, slash, number = given.rpartition("/")
    if slash and edge and number.isdecimal():
        return _Flow((edge, number))
    found = re.fullmatch(r"\[(?P<v6>.+)\]:(?P<port6>\d{1,5})|(?P<v4>[\d.]+):(?P<port>\d{1,5})|(?P<alone>.+)", given)
    try:
        assert found
        address = text(packed(found["v6"] or found["v4"] or found["alone"]))
        port = int(found["port6"] or found["port"] or 0)
    except (AssertionError, ValueError):
        port = 1 << 16
    if port >= 1 << 16:
        example = "10.1.0.10, 10.1.0.10:41428, [2001:db8:1::10]:41428 or arh1/17"
        raise argparse.ArgumentTypeError(f"{given!a} is no client and no flow, as in {example}")
    return address, port


def _why(arguments: argparse.Namespace) -> int:
    controller, what = client.controller(arguments), arguments.what
    if isinstance(what, _Flow):
        names = [what]
    else:
        found = _flows(controller, *what)
        names = [_Flow((each["edge"], str(each["number"]))) for each in found]
    flows = [client.ask(controller, client.path("flows", *name)) for name in names[:_MOST]]
    new = {} if flows or isinstance(what, _Flow) else _new_flows(controller, what[0])
    if arguments.json:
        print(json.dumps({"flows": flows, "more": max(0, len(names) - _MOST), "new_flows": new}, indent=2))
        return 0
    for number, flow in enumerate(flows):
        print(("\n" if number else "") + "\n".join(_record(flow)))
    if len(names) > _MOST:
        print(f"\n{counted(len(names) - _MOST, 'older flow')} of {what[0]}: anycast-sdn flows --client {what[0]}")
    if new:
        print("\n".join(_of_new_flows(what, new)))
    return 0


def _flows(controller: client.Controller, address: str, port: int) -> list[Any]:
    """The newest first."""
    query = {"client": address, "order": "newest", "limit": "1000"}
    if port:
        query["q"] = endpoint(address, port)
    found = client.get_all(controller, f"/v1/flows?{urllib.parse.urlencode(query)}", "flows")["flows"]
    return [flow for flow in found if port in (0, flow["client_port"])]


# -------------------------------------------------------------------------------- a flow


def _record(flow: Any) -> Iterator[str]:
    here = f"{endpoint(flow['client'], flow['client_port'])} → {endpoint(flow['service'], flow['service_port'])}"
    state = f"is served by {flow['server']}" if flow["server"] else "has no answer yet"
    yield styled(f"{here}/{flow['protocol']}, group {flow['group']}, {state}", "strong")
    yield f"  flow {flow['edge']}/{flow['number']} since {flow['since']}; it may be idle for {flow['validity_s']} s"
    yield f"  on the wire  {flow['client']} → {flow['service']} becomes {flow['translated']} → " + (
        flow["server"] or "the same, until a server answers"
    )
    decision = flow["decision"]
    if decision is None:
        yield "  its decision is not known: it was made before the controller started, or too long ago"
        return
    yield f"  by distance  {_distance(flow['edge'], decision)}"
    yield from _outcome(decision)
    yield ""
    rows = [_candidate(each, flow["server"]) for each in decision["candidates"]]
    yield f"  candidates, as they were last compared, at {decision['at']}:"
    yield from (f"  {line}" for line in with_words_styled(table(rows)).splitlines())


def _distance(site: str, decision: Any) -> str:
    nearest = decision["edge"]
    costs = decision.get("distances", {})
    others = ", ".join(f"{edge}: {'by no link' if cost is None else cost}" for edge, cost in costs.items()
                       if edge != nearest)  # fmt: skip
    cost = costs.get(nearest)
    return (f"{site} reaches {nearest}" + (f" at cost {cost}" if cost is not None else "")
            + (f" ({others})" if others else ""))  # fmt: skip


def _outcome(decision: Any) -> Iterator[str]:
    first = decision["first_packet_to"]
    if first:
        yield f"  first packet to {first}"
    else:
        shares = [each for each in decision["candidates"] if each["share"] > 0]
        if len(shares) > 1 and not decision["repins"]:
            yield f"  first packet to one of {len(shares)} servers, by a hash in {decision['edge']}"
    after = decision["first_reply_ms"]
    answered = decision["repins"][0]["from"] if decision["repins"] else decision["answered"]
    if answered:
        when = f" after {after:g} ms" if after is not None else ""
        handed = ", to whom another server has handed it" if decision["handed_over"] else ""
        yield f"  answered by  {answered}{when}{handed}"
    for repin in decision["repins"]:
        to = repin["to"] or "nobody yet"
        yield f"  bound anew at {repin['at']}: {repin['from']} → {to}, because {repin['reason']}"


def _candidate(candidate: Any, server: str | None) -> dict[str, Any]:
    has = candidate["server"] == server
    load, cost = candidate["load"], candidate["cost"]
    return {
        "server": candidate["server"],
        "edge": candidate["edge"],
        "cost": "" if cost is None else f"{cost:g}",
        "health": candidate["health"],
        "weight": candidate["weight"],
        "load": "" if load is None else f"{load:.0%}",
        "share": f"{candidate['share']:.0%}",
        "why": "has the flow" if has else candidate["why_not"],
    }


# -------------------------------------------------------------------------------- new flows


def _new_flows(controller: client.Controller, address: str) -> dict[str, Any]:
    """Where the client is, and where its new flows would go.  Raises AnycastError when it is not known."""
    edges = client.get(controller, "/v1/edges", "edges")["edges"]
    sites = [edge["name"] for edge in edges if any(host["address"] == address for host in edge["hosts"])]
    if not sites:
        raise AnycastError(
            f"{address} has no flow, and no edge knows a host with this address; of flows that have ended, "
            "'anycast-sdn who' says who had which address"
        )
    catchment = client.get(controller, "/v1/topology", "switches")["catchment"]
    buckets = {edge["name"]: edge["buckets"] for edge in edges}
    v6 = ":" in address
    return {
        "site": sites[0],
        "services": [
            {"prefix": prefix, "edge": (edge := goals.get(sites[0])), "buckets": buckets.get(edge, {}).get(prefix, [])}
            for prefix, goals in catchment.items()
            if (":" in prefix) is v6
        ],
    }


def _of_new_flows(what: tuple[str, int], new: Any) -> Iterator[str]:
    yield f"{endpoint(*what)} has no flow now. New flows of {what[0]}, behind {new['site']}, would go:"
    yield ""
    rows = [
        {"ANY/n": service["prefix"], "to": service["edge"] or "no edge", "servers": ", ".join(
            f"{each['server']} {each['share']:.0%}" for each in service["buckets"])}
        for service in new["services"]
    ]  # fmt: skip
    yield harmless(table(rows)) if rows else "nowhere: there is no service of this family"
