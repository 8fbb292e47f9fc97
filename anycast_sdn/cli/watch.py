"""``watch``: what happens at a running controller, as it happens, and its flows and servers, drawn again and again."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
import urllib.parse
from typing import Any

from anycast_sdn.cli import client, ending, events, listings, options
from anycast_sdn.cli.client import Refused, Unreachable
from anycast_sdn.cli.events import Message
from anycast_sdn.cli.terminal import clear, draw, harmless, is_terminal, styled
from anycast_sdn.core.times import rfc3339
from anycast_sdn.core.words import listed

_EVENTS = "/v1/events"
_LAST = 10  # events that are printed first
_EVERY_S = 2.0
_SOONEST_S = 0.2
_FLOWS = 40  # that are shown where there is no terminal, whose size says it


def add_to(commands: Any) -> None:
    about = "Watch a running controller until Ctrl-C."
    commands_of = ("watch events --type link", "watch flows --group web", "watch servers")
    watch = options.command(commands, "watch", "watch events, flows or servers", about, *commands_of)
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
    for name, about in (
        ("flows", "Show the newest flows, as many as fit, and again every few seconds."),
        ("servers", "Show enrolled servers with their health, load and flows, and again every few seconds."),
    ):
        example = f"watch {name} --every 1"
        drawn = options.command(kinds, name, f"{name}, drawn again", about, example, parents=[client.asking()])
        drawn.add_argument("--every", type=options.seconds, default=_EVERY_S, metavar="S",
                           help=f"seconds from one look to the next (default {_EVERY_S:g})")  # fmt: skip
        if name == "flows":
            ending.add_filters(drawn)
        drawn.set_defaults(act=_drawn, listing=name)


def _events(arguments: argparse.Namespace) -> int:
    controller = client.controller(arguments)
    filters = [("type", each) for each in arguments.type]
    filters += [(name, given) for name in ("group", "edge") if (given := getattr(arguments, name)) is not None]
    last = None
    if arguments.last:
        known = client.get(controller, _path([*filters, ("order", "newest"), ("limit", arguments.last)]), "events")
        for event in reversed(known["events"]):
            _print(arguments, Message("", event))
            last = max(last or 0, event["id"])  # one of another member may have come later than it has happened
    for message in events.follow(controller, _path(filters), last, _interrupted):
        _print(arguments, message)
    return 0


def _drawn(arguments: argparse.Namespace) -> int:
    controller, name = client.controller(arguments), arguments.listing
    path, listing = "/v1/groups", "groups"
    if name == "flows":
        rows = shutil.get_terminal_size().lines - 6 if is_terminal() else _FLOWS
        query = ending.query(arguments) | {"order": "newest", "limit": str(max(1, min(rows, 1000)))}
        path, listing = f"/v1/flows?{urllib.parse.urlencode(query)}", "flows"
    shown, at = "", ""
    while True:
        trouble = ""
        try:
            answer = client.get(controller, path, listing)
        except (Refused, Unreachable) as error:
            if not shown or (isinstance(error, Refused) and error.status != 503):
                raise
            trouble = styled(f"{error}; what is shown is from {at}", "warning")
        else:
            if not shown:
                clear()
            shown, at = listings.written(name, answer), rfc3339(time.time())
        order = ", the newest first" if name == "flows" else ""
        draw(f"{styled(f'{name}{order}', 'strong')}  {at}\n{trouble}\n{shown}")
        time.sleep(max(_SOONEST_S, arguments.every))


def _path(parameters: list[tuple[str, Any]]) -> str:
    return f"{_EVENTS}?{urllib.parse.urlencode(parameters)}" if parameters else _EVENTS


def _print(arguments: argparse.Namespace, message: Message) -> None:
    if message.type == "missed":
        _say(f"events between number {message.data['after']} and {message.data['before']} are not kept any more")
    elif message.type == "left_out":
        _say(f"{message.data['events']} more events of flows")
    elif message.type == "incomplete":
        names = message.data["members"]
        _say(f"events of {listed(names)} are missing: no answer from there" if names else "events of all members come")
    elif message.type:
        return  # of a later controller
    elif arguments.json:
        print(json.dumps(message.data, ensure_ascii=False), flush=True)
    else:
        print(_line(message.data), flush=True)


def _line(event: Any) -> str:
    severity = event["severity"]
    word = styled(f"{severity:8}", severity)
    member = f"{harmless(event['member'])}  " if event.get("member") else ""
    return f"{styled(event['at'], 'faint')}  {word}  {member}{event['type']:20}  {harmless(event['message'])}"


def _interrupted(reason: str, pause_s: int) -> None:
    _say(f"{reason}; trying again in {pause_s} s")


def _say(sentence: str) -> None:
    print(f"anycast-sdn: {sentence}", file=sys.stderr, flush=True)
