"""``server``: servers are enrolled, changed, drained and removed at a running controller."""

from __future__ import annotations

import argparse
from typing import Any

from anycast_sdn.cli import client, operations, options

_ADD = """\
Enrol a server in a group: its own ordinary address, or both of one that has IPv4 and IPv6.
A server that enrols itself runs 'anycast-sdn agent' instead."""
_SET = """\
Change an enrolled server; what is not named stays. A server that is disabled takes no new flows, whatever its health,
until it is set active again; its present flows go on."""
_DRAIN = """\
Drain a server: it takes no new flows, and its present ones go on until they end. At the deadline, those that are left
are ended. Afterwards it stays enrolled, drained, until 'server set … --state active'; or it is removed."""
_REMOVE = """\
Remove a server from its group at once. Flows that are bound to it go on; to have them end first, use
'server drain --remove'."""
_STATES = ("active", "draining", "drained", "disabled")


def add_to(commands: Any) -> None:
    about = "Enrol, change, drain or remove servers."
    server = options.command(commands, "server", "enrol, change, drain or remove a server", about,
                             "server add web 10.2.0.10", "server drain web 10.2.0.10 --wait")  # fmt: skip
    verbs = server.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add = _verb(verbs, "add", "enrol a server", _ADD, "server add web 10.2.0.10 --weight 3 --capacity 500",
                "server add web 10.2.0.10 2001:db8:2::10")  # fmt: skip
    add.add_argument("other", metavar="ADDRESS", nargs="?", help="of the other family, of the same server")
    _add_settings(add)
    add.set_defaults(act=_add)

    change = _verb(verbs, "set", "change a server", _SET,
                   "server set web 10.2.0.10 --weight 0", "server set web 10.2.0.10 --state disabled")  # fmt: skip
    _add_settings(change)
    change.add_argument("--state", choices=_STATES)
    change.set_defaults(act=_change, parser=change)

    drain = _verb(verbs, "drain", "let its flows end, and give it no new ones", _DRAIN,
                  "server drain web 10.2.0.10 --deadline 600 --wait",
                  "server drain web 10.2.0.10 --remove")  # fmt: skip
    drain.add_argument("--remove", action="store_true", help="remove the server when it is drained")
    operations.add_drain(drain)
    drain.set_defaults(act=_drain)

    remove = _verb(verbs, "remove", "remove a server", _REMOVE, "server remove web 10.2.0.10")
    remove.set_defaults(act=_remove)


def _verb(verbs: Any, name: str, summary: str, about: str, *examples: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = options.command(verbs, name, summary, about, *examples,
                                                    parents=[client.arguments()])  # fmt: skip
    verb.add_argument("group", metavar="GROUP")
    verb.add_argument("address", metavar="ADDRESS", help="the server's own")
    return verb


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weight", type=options.count, metavar="N", help="its part of new flows, 0-1000; 0: none")
    parser.add_argument("--capacity", type=options.count, metavar="N", help="sessions that mean a load of 1.0")


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("weight", "capacity", "state")
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}


def _path(arguments: argparse.Namespace, *more: str) -> str:
    return client.path("groups", arguments.group, "servers", arguments.address, *more)


def _add(arguments: argparse.Namespace) -> int:
    both = [arguments.address, *filter(None, [arguments.other])]
    body = ({"addresses": both} if len(both) > 1 else {"address": both[0]}) | _settings(arguments)
    path = client.path("groups", arguments.group, "servers")
    answer = client.ask(client.controller(arguments), path, "POST", body=body)
    edge = answer.get("edge") if isinstance(answer, dict) else None
    where = f", behind {edge}" if edge else ""
    return options.said(arguments, answer, f"{' and '.join(both)} {'are' if len(both) > 1 else 'is'} enrolled in group "
                        f"{arguments.group}{where}")


def _change(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    if not settings:
        arguments.parser.error("say what to change, such as --weight 3")
    answer = client.ask(client.controller(arguments), _path(arguments), "PATCH", body=settings)
    shown = ", ".join(f"{name} {value}" for name, value in settings.items())
    return options.said(arguments, answer, f"{arguments.address} in group {arguments.group}: {shown}")


def _drain(arguments: argparse.Namespace) -> int:
    body = operations.settings(arguments) | {"then": "remove" if arguments.remove else "keep"}
    return operations.begin(arguments, _path(arguments, "drain"), body)


def _remove(arguments: argparse.Namespace) -> int:
    client.ask(client.controller(arguments), _path(arguments), "DELETE")
    return options.said(arguments, {"removed": arguments.address},
                        f"{arguments.address} is removed from group {arguments.group}")  # fmt: skip
