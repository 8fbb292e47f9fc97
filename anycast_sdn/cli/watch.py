"""``watch events``: what happens at a running controller, as it happens."""

from __future__ import annotations

import argparse
import json
import sys
import urllib.parse
from typing import Any

from anycast_sdn.cli import client, events, options
from anycast_sdn.cli.events import Message
from anycast_sdn.cli.terminal import harmless, styled

_EVENTS = "/v1/events"
_LAST = 10  # events that are printed first


def add_to(commands: Any) -> None:
    about = "Watch a running controller until Ctrl-C."
    watch = options.command(commands, "watch", "watch events as they happen", about, "watch events --type link")
    kinds = watch.add_subparsers(title="commands", required=True, metavar="COMMAND")
    about = (
        "Print events as they happen, a line for each.  When the controller was away, it goes on behind the last one.\n"
        "--json prints each event as JSON, on a line."
    )
    examples = ("watch events --type link --type server.health", "watch events --type flow --group web --last 0")
    watched = options.command(
        kinds, "events", "what happens, as it happens", about, *examples, parents=[client.arguments()]
    )
    watched.add_argument("--type", action="append", default=[], metavar="TYPE",
                         help="of this type, such as link.down, or the part of it before the dot; may be repeated; "
                              "flows are watched only if they are asked for")
    watched.add_argument("--group", metavar="NAME", help="of this group")
    watched.add_argument("--edge", metavar="NAME", help="at this switch")
    watched.add_argument("--last", type=options.count, default=_LAST, metavar="N",
                         help=f"begin with the last N that have happened (default {_LAST})")
    watched.set_defaults(act=_events)


def _events(arguments: argparse.Namespace) -> int:
    controller = client.controller(arguments)
    filters = [("type", each) for each in arguments.type]
    filters += [(name, given) for name in ("group", "edge") if (given := getattr(arguments, name)) is not None]
    last = None
    if arguments.last:
        known = client.get(controller, _path([*filters, ("order", "newest"), ("limit", arguments.last)]), "events")
        for event in reversed(known["events"]):
            _print(arguments, Message("", event))
            last = event["id"]
    for message in events.follow(controller, _path(filters), last, _interrupted):
        _print(arguments, message)
    return 0


def _path(parameters: list[tuple[str, Any]]) -> str:
    return f"{_EVENTS}?{urllib.parse.urlencode(parameters)}" if parameters else _EVENTS


def _print(arguments: argparse.Namespace, message: Message) -> None:
    if message.type == "missed":
        _say(f"events {message.data['after'] + 1} to {message.data['before'] - 1} are not kept any more")
    elif message.type == "left_out":
        _say(f"{message.data['events']} more events of flows")
    elif message.type:
        return  # of a later controller
    elif arguments.json:
        print(json.dumps(message.data, ensure_ascii=False), flush=True)
    else:
        print(_line(message.data), flush=True)


def _line(event: Any) -> str:
    severity = event["severity"]
    word = styled(f"{severity:8}", severity)
    return f"{styled(event['at'], 'faint')}  {word}  {event['type']:20}  {harmless(event['message'])}"


def _interrupted(reason: str, pause_s: int) -> None:
    _say(f"{reason}; trying again in {pause_s} s")


def _say(sentence: str) -> None:
    print(f"anycast-sdn: {sentence}", file=sys.stderr, flush=True)
