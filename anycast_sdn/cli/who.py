"""``who``: who had a translation address at a time, asked of a controller or read in the files of its binding log."""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.parse
from pathlib import Path
from typing import Any

from anycast_sdn.cli import client, options
from anycast_sdn.core.model import Address, AnycastError, endpoint, packed
from anycast_sdn.core.times import moment_of, rfc3339
from anycast_sdn.core.words import listed

_DESCRIPTION = """\
Tell which client had a translation address, PR1X, at a time: servers see only that address. The controller needs to
run with --binding-log; or its files are read with --log, without a controller. Where clients share an address,
the port that the server has seen tells them apart. TIME is 2026-01-31T09:26:53Z, or 09:26 (both UTC unless they say
otherwise), or how long ago: 90s, 5m, 2h, 1d."""


def add_to(commands: Any) -> None:
    who = options.command(
        commands, "who", "tell who had a translation address at a time", _DESCRIPTION,
        "who 203.0.113.161", "who 203.0.113.161 --at 14:03", "who 203.0.113.161 --port 41428 --at 5m",
        "who 203.0.113.161 --at 2026-01-31T09:26:53Z --log /var/log/anycast-sdn/bindings.jsonl",
        parents=[client.arguments()],
    )  # fmt: skip
    who._negative_number_matcher = re.compile(r"-[0-9]+[smhd]?$")  # so that ``--at -5m`` is no option
    who.add_argument("address", type=_address, metavar="ADDRESS", help="the translation address, PR1X")
    who.add_argument("--at", type=_moment, default="now", metavar="TIME", help="when (default now)")
    who.add_argument("--port", type=options.count, metavar="PORT", help="the port from which the server was reached")
    who.add_argument("--log", type=Path, metavar="PATH", help="read this binding log, and ask no controller")
    who.set_defaults(act=_who)


def _address(written: str) -> Address:
    try:
        return packed(written)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{written!a} is no IP address") from None


def _moment(written: str) -> str:
    try:
        moment_of(written, 1e9)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{written!a} is no time such as 2026-01-31T09:26:53Z, 09:26 (UTC) or 5m (ago)"
        ) from None
    return written


def _who(arguments: argparse.Namespace) -> int:
    shown = urllib.parse.quote(endpoint(arguments.address, 0))
    if arguments.log:
        answer = _in_files(arguments)
    else:
        query = urllib.parse.urlencode({"at": arguments.at} | ({"port": arguments.port} if arguments.port else {}))
        path = f"/v1/bindings/history?translated={shown}&{query}"
        answer = client.get(client.controller(arguments), path, "bindings")
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n\n".join(_paragraphs(endpoint(arguments.address, 0), answer)))
    return 0


def _in_files(arguments: argparse.Namespace) -> Any:
    from anycast_sdn.store.bindings.search import search

    if not arguments.log.exists() and not list(arguments.log.parent.glob(f"{arguments.log.name}.*")):
        raise AnycastError(f"{arguments.log}: there is no such binding log")
    epoch = moment_of(arguments.at, time.time())
    found = search(arguments.log, arguments.address, round(epoch * 1000), arguments.port)
    return {"at": rfc3339(epoch), **found.shown()}


def _paragraphs(address: str, answer: Any) -> list[str]:
    held = answer["bindings"]
    title = f"{address} at {answer['at']}"
    if not held:
        found = [f"{title}: nobody had it, as far as the log knows"]
    else:
        found = [f"{title}:{' shared by several flows; --port tells them apart' if len(held) > 1 else ''}"]
    found += [_held(each) for each in held]
    for gap in answer["gaps"]:
        count = "" if gap["missing"] is None else f"{gap['missing']} records are missing; "
        log = f"the log of {gap['member']}" if gap.get("member") else "the log"
        found.append(f"gap in {log} from {gap['from']} to {gap['to']}: {count}{gap['reason']}")
    if others := answer.get("incomplete"):
        found.append(f"other members of the cluster may have served flows then: ask {listed(others)}, too")
    if answer["begins"] is None or answer["begins"] > answer["at"]:
        found.append(f"the log begins at {answer['begins'] or 'no time: it is empty'}")
    return found


def _held(each: Any) -> str:
    service = f"{_written(each['service'], each['service_port'])}/{each['protocol']}"
    to = "it still has it" if each["to"] is None else f"{each['to']}, {_ENDS.get(each['ended_by'], each['ended_by'])}"
    rows = {
        "client": _written(each["client"], each["client_port"]),
        "service": f"{service}, group {each['group']}" if each["group"] else service,
        "server": each["server"] or "none has answered",
        "edge": f"{each['edge']}, flow {each['number']}",
        **({"by": each["member"]} if each.get("member") else {}),
        "from": each["from"],
        "to": to,
    }
    return "\n".join(f"  {name:<8} {value}" for name, value in rows.items())


def _written(address: str, port: int) -> str:
    return endpoint(packed(address), port)


_ENDS = {
    "idle": "it was idle",
    "closed": "closed by both ends",
    "reset": "reset by one end",
    "operator": "ended by an operator",
    "server_lost": "its server was lost",
    "refused": "refused by the switch",
    "gone": "the switch did not have it any more",
    "unseen": "when it was gone; it ended while nothing was logged",
    "handed_over": "when another member of the cluster took over: its log goes on",
}
