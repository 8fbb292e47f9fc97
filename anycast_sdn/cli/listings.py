"""``flows``, ``groups``, ``servers``, ``edges``: the state of a running controller, as tables."""

from __future__ import annotations

import argparse
import json
import math
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from textwrap import wrap
from typing import Any, NamedTuple

from anycast_sdn.cli import client, ending, options
from anycast_sdn.cli.tables import WIDTH, table, yes_or_no
from anycast_sdn.cli.terminal import harmless, with_words_styled
from anycast_sdn.core.words import listed

_PAGE = 1000  # flows in one answer
_MOST_TROUBLES = 20  # servers with a reason of their own


def add_to(commands: Any) -> None:
    for name, (shown, _, _) in _LISTINGS.items():
        examples = (name, "flows --group web --state pinned") if name == "flows" else (name, f"{name} --json")
        about = f"Show {shown} of a running controller."
        listing = options.command(commands, name, f"show {shown}", about, *examples, parents=[client.arguments()])
        listing.set_defaults(act=_list, listing=name)
        if name == "flows":
            ending.add_filters(listing)
            ending.add_to(listing.add_subparsers(title="commands", metavar="COMMAND"))


def _list(arguments: argparse.Namespace) -> int:
    path = _LISTINGS[arguments.listing].path
    parameters = {"limit": str(_PAGE)} | ending.query(arguments) if arguments.listing == "flows" else {}
    query = urllib.parse.urlencode(parameters)
    listing = path.rpartition("/")[2]
    answer = client.get_all(client.controller(arguments), f"{path}?{query}" if query else path, listing)
    if arguments.json:
        few = len(answer[listing]) <= _PAGE  # indented only then, because that takes ten times as long
        print(json.dumps(answer, indent=2 if few else None))
        return 0
    print(with_words_styled(written(arguments.listing, answer)))
    return 0


def written(name: str, answer: Any) -> str:
    """The answer to a listing as a table, with what is to be said below it."""
    rows = _LISTINGS[name].rows_of(answer)
    parts = [table(rows) if rows else f"no {name}"]
    if name == "servers" and (troubles := list(_troubles(answer))):
        parts.append("\n".join(troubles[:_MOST_TROUBLES] + _more(len(troubles) - _MOST_TROUBLES)))
    if name == "edges" and (drops := list(_drops(answer))):
        parts.append("\n".join(drops))
    if masters := answer.get("incomplete"):
        parts.append(f"missing are flows whose master is {harmless(listed(masters))}: they are not known now")
    if summary := answer.get("summary"):
        parts.append(", ".join(f"{what.replace('_', ' ')}: {value}" for what, value in summary.items()))
    return "\n\n".join(parts)


def _flow_rows(answer: Any) -> list[dict[str, Any]]:
    today = datetime.now(UTC).date().isoformat()
    return [
        {
            "edge": flow["edge"],
            "state": flow["state"] + (f" ({flow['idle']} idle)" if flow["idle"] else ""),
            "group": flow["group"],
            "H": endpoint(flow["client"], flow["client_port"]),
            "ANY": f"{endpoint(flow['service'], flow['service_port'])}/{flow['protocol']}",
            "PR1X": endpoint(flow["translated"], flow["translated_port"]),
            "ASg": flow["server"] or "",
            "since": _clock(flow["since"], today),
        }
        for flow in answer["flows"]
    ]


def _clock(time: str, today: str) -> str:
    """The time of day, in UTC; before it the date, if that is not today's."""
    day, _, clock = time.partition("T")
    return f"{clock[:8]}Z" if day == today else f"{day} {clock[:8]}Z"


def endpoint(address: str, port: int) -> str:
    """As people write it."""
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _group_rows(answer: Any) -> list[dict[str, Any]]:
    return [
        {
            "group": group["name"],
            "ANY/n": " ".join(group["prefixes"]),
            "servers": len(group["servers"]),
            "critical": sum(server["health"]["status"] == "critical" for server in group["servers"]),
            "affinity": group["affinity"],
            "server loss": group["on_server_loss"],
            "own validity (s)": ", ".join(f"{name[:-2]}: {s}" for name, s in group["validity"].items()),
        }
        for group in answer["groups"]
    ]


def _server_rows(answer: Any) -> list[dict[str, Any]]:
    return [
        {"group": group["name"], "ASg": server["address"], "edge": server["edge"], "state": server["state"],
         "weight": server["weight"], "reachable": yes_or_no(server["reachable"]), "health": server["health"]["status"],
         "load": _load(server["load"]), "share": _shares(server),
         "flows": server["flows"]}
        for group in answer["groups"]
        for server in group["servers"]
    ]  # fmt: skip


def _load(load: Any) -> str:
    return "" if load is None or load["overall"] is None else f"{load['overall']:.0%}"


def _shares(server: Any) -> str:
    """Of the new flows at its own edge, and at the other one where it gets most."""
    shares = dict(server["shares"])
    own = [f"{shares.pop(server['edge']):.0%}"] if server["edge"] in shares else []
    others = [f"{share:.0%} of {edge}" for edge, share in sorted(shares.items(), key=lambda each: -each[1])]
    return ", ".join(own + others[:1] + ["..."] * (len(others) > 1))


def _troubles(answer: Any) -> Iterator[str]:
    """Why servers do not pass, a sentence for each."""
    for group in answer["groups"]:
        for server in group["servers"]:
            if reason := server["health"]["reason"]:
                yield f"{server['address']} in {group['name']} is {server['health']['status']}: {reason}"


def _more(number: int) -> list[str]:
    return [f"... and {number} more"] if number > 0 else []


def _edge_rows(answer: Any) -> list[dict[str, Any]]:
    return [
        {
            "edge": edge["name"],
            "roles": ",\n".join(edge["roles"]) + (" (draining)" if edge["drain"] else ""),
            "connected": yes_or_no(edge["connected"]),
            "bindings": edge["bindings"],
            "rules": edge["rules"]["bindings"] + edge["rules"]["other"],
            "pool": "\n".join(_pool(family, use) for family, use in edge["pools"].items()),
        }
        for edge in answer["edges"]
    ]


def _drops(answer: Any) -> Iterator[str]:
    """What each edge has dropped, by counter."""
    for edge in answer["edges"]:
        if counted := [f"{name}: {count}" for name, count in sorted(edge["drops"].items()) if count]:
            yield from wrap(f"drops at {edge['name']}: {', '.join(counted)}", WIDTH, subsequent_indent="  ",
                            break_on_hyphens=False)  # fmt: skip


def _pool(family: str, use: Any) -> str:
    name = {"ipv4": "IPv4", "ipv6": "IPv6"}.get(family, family)
    level = use.get("level", "plenty")
    shown = f"{name}: {use['leased']} leased, {use['resting']} resting of {_size(use['size'])}"
    if level == "low" and use["used_up_in_s"] is not None:
        return f"{shown},\nlow, used up in about {math.ceil(use['used_up_in_s'])} s"
    return shown if level == "plenty" else f"{shown}, {level}"


def _size(number: int) -> str:
    """Large numbers as a power of two: a /64 has 2^64 addresses but its first and last."""
    if number < 1 << 20:
        return str(number)
    power = round(math.log2(number))
    return f"2^{power}" if abs(number - (1 << power)) < number >> 10 else f"about 2^{power}"


class _Listing(NamedTuple):
    shows: str
    path: str
    rows_of: Callable[[Any], list[dict[str, Any]]]  # the answer's


_LISTINGS = {
    "flows": _Listing("the state table", "/v1/flows", _flow_rows),
    "groups": _Listing("anycast groups", "/v1/groups", _group_rows),
    "servers": _Listing("enrolled servers", "/v1/groups", _server_rows),
    "edges": _Listing("switches with their pools, rules and drops", "/v1/edges", _edge_rows),
}
