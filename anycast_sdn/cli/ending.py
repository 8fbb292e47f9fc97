"""``flows end``: an operator ends flows of a running controller."""

from __future__ import annotations

import argparse
import json
import urllib.parse
from functools import partial
from typing import Any

from anycast_sdn.cli import client, options

FILTERS = ("group", "client", "server", "edge", "state")
_FLOW_STATES = ("unanswered", "pinned")
_LONGEST_S = 600  # several hundred thousand flows take minutes
_ABOUT = """\
End the flows that all of the given filters take; at least one filter is needed.

The next packet of such a flow begins a new one: it gets a translation address and goes to the nearest server.
What a TCP connection sends afterwards is new to that server, which resets it."""


def add_filters(parser: argparse.ArgumentParser) -> None:
    for field in FILTERS:
        values = f", one of {', '.join(_FLOW_STATES)}" if field == "state" else ""
        # Left out, it is what stands before "end".
        parser.add_argument(f"--{field}", default=argparse.SUPPRESS, help=f"only flows with this {field}{values}")


def add_to(commands: Any) -> None:
    examples = ("flows end --server 10.2.0.10 --dry-run", "flows end --group web --client 10.1.0.10")
    parser = options.command(commands, "end", "end flows", _ABOUT, *examples)
    client.add_arguments(parser, default=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS,
                        help="print the controller's answer as JSON, for programs")  # fmt: skip
    add_filters(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say how many flows these are")
    parser.set_defaults(act=partial(_end, parser))


def query(arguments: argparse.Namespace) -> dict[str, str]:
    """The filters that are given, also empty ones: these take few flows, and not all of them."""
    return {name: getattr(arguments, name) for name in FILTERS if hasattr(arguments, name)}


def _end(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    filters = query(arguments)
    if not filters:
        parser.error(f"this would end every flow: say which, by {', '.join(f'--{name}' for name in FILTERS)}")
    controller = client.controller(arguments)
    path = f"/v1/flows?{urllib.parse.urlencode(filters)}"
    if arguments.dry_run:
        count = len(client.get_all(controller, f"{path}&limit=1000", "flows")["flows"])
        print(json.dumps({"would_end": count}) if arguments.json else f"would end {_flows(count)}")
        return 0
    answer = client.ask(controller, path, "DELETE", _LONGEST_S)
    ended = answer.get("ended") if isinstance(answer, dict) else None
    if not isinstance(ended, int):
        raise client.no_controller(controller)
    print(json.dumps(answer) if arguments.json else f"ended {_flows(ended)}")
    return 0


def _flows(count: int) -> str:
    return f"{count} flow{'' if count == 1 else 's'}"
