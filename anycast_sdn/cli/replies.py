"""``replies``: time to the first reply, and loss, of each group's sites and servers."""

from __future__ import annotations

import argparse
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

from anycast_sdn.cli import client, options
from anycast_sdn.cli.tables import table

_ABOUT = """\
Show how long servers take to reply to new flows, and how many flows nobody answers, in the last one to two minutes: for
each group as seen from each site, and of each server. It is measured from what clients send anyway. Nobody knows which
server a lost packet was sent to: of servers that share an edge, losses are estimates."""


def add_to(commands: Any) -> None:
    replies = options.command(
        commands, "replies", "show time to the first reply, and loss", _ABOUT,
        "replies", "replies --group web", "replies --json", parents=[client.arguments()],
    )  # fmt: skip
    replies.add_argument("--group", metavar="GROUP", help="of this group alone")
    replies.set_defaults(act=_replies)


def _replies(arguments: argparse.Namespace) -> int:
    query = urllib.parse.urlencode({"group": arguments.group} if arguments.group else {})
    answer = client.get(client.controller(arguments), f"/v1/replies?{query}".rstrip("?"), "replies")
    if arguments.json:
        print(json.dumps(answer, indent=2))
        return 0
    rows = [row for group in answer["replies"] for row in _rows(group)]
    print(table(rows) if rows else "no new flows in the last minute")
    return 0


def _rows(group: Any) -> Iterator[dict[str, Any]]:
    for site in group["sites"]:
        reply = f"p50 {_ms(site['first_reply_p50_ms'])}, p95 {_ms(site['first_reply_p95_ms'])}"
        yield {"group": group["group"], "of": f"site {site['edge']}", **_counts(site), "first reply": reply}
    for server in group["servers"]:
        behind = f" at {server['edge']}" if server["edge"] else ""
        reply = f"mean {_ms(server['first_reply_mean_ms'])}"
        yield {"group": group["group"], "of": f"{server['server']}{behind}", **_counts(server), "first reply": reply}


def _counts(of: Any) -> dict[str, Any]:
    lost = f"{of['unanswered']:g} ({of['unanswered_share']:.1%})" if of["unanswered"] else "0"
    return {"answered": of["answered"], "refused": of["refused"], "unanswered": lost}


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
