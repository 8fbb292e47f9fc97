"""``operations``: drains of servers and edges, in progress or over; what other commands wait for."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from typing import Any

from anycast_sdn.cli import client, options
from anycast_sdn.cli.tables import table
from anycast_sdn.core.words import counted

_PART_S = 30.0  # of a wait, in one question
_PAUSE_S = 0.5  # until the next part
_MEMBERS = {"id", "kind", "state", "edge", "group", "addresses", "flows_left", "since", "reason"}
_ABOUT = """\
Show drains of servers and edges. With an ID, show that one; with --wait, until it has ended or S seconds have passed.
The exit status is 0 when it is shown, or has succeeded in time; 1 when it has failed, or is not over after S."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands, "operations", "show drains, or wait for the end of one", _ABOUT,
        "operations", "operations 4f2a9c", "operations 4f2a9c --wait 60",
        parents=[client.arguments()],
    )  # fmt: skip
    parser.add_argument("id", nargs="?", metavar="ID", help="of the operation, as drain has printed it")
    parser.add_argument("--wait", type=options.seconds, metavar="S", help="wait until it has ended, at most so long")
    parser.set_defaults(act=_operations)


def add_drain(parser: argparse.ArgumentParser) -> None:
    """The arguments that drains of servers and of edges have in common."""
    parser.add_argument("--deadline", type=options.seconds, metavar="S", help="it is over after S, whatever is left")
    parser.add_argument("--at-deadline", choices=["end", "keep"],
                        help="end: flows that are left then are ended (the default); keep: they go on")  # fmt: skip
    parser.add_argument("--wait", type=options.seconds, nargs="?", const=math.inf, metavar="S",
                        help="return when it is drained, or with status 1 after S seconds (without S: however long "
                             "that takes)")  # fmt: skip


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {"deadline_s": arguments.deadline, "at_deadline": arguments.at_deadline}
    return {name: value for name, value in given.items() if value is not None}


def _operations(arguments: argparse.Namespace) -> int:
    if arguments.id is None:
        if arguments.wait is not None:
            print("anycast-sdn operations: --wait needs the ID of an operation", file=sys.stderr)
            return 2
        answer = client.get(client.controller(arguments), "/v1/operations", "operations")
        if arguments.json:
            print(json.dumps(answer, indent=2))
        else:
            rows = [_row(operation) for operation in answer["operations"]]
            print(table(rows) if rows else "no operations")
        return 0
    operation = read(client.controller(arguments), arguments.id)
    if arguments.wait is None:
        print(json.dumps(operation, indent=2) if arguments.json else table([_row(operation)]))
        return 0
    return wait(arguments, operation)


def read(controller: client.Controller, number: str, wait_s: float = 0.0) -> dict[str, Any]:
    """The operation, when it has ended or ``wait_s`` have passed."""
    query = f"?wait={wait_s:g}" if wait_s else ""
    path = client.path("operations", number) + query
    operation = client.ask(controller, path, timeout_s=client.TIMEOUT_S + wait_s)
    return checked(controller, operation)


def checked(controller: client.Controller, operation: Any) -> dict[str, Any]:
    """An answer that is an operation."""
    if not isinstance(operation, dict) or not operation.keys() >= _MEMBERS:
        raise client.no_controller(controller)
    return operation


def begin(arguments: argparse.Namespace, path: str, body: dict[str, Any]) -> int:
    """Begins a drain and says so, or waits for its end where that is asked for → the exit status."""
    controller = client.controller(arguments)
    operation = checked(controller, client.ask(controller, path, "POST", body=body))
    if arguments.wait is not None:
        return wait(arguments, operation)
    print(json.dumps(operation, indent=2) if arguments.json else f"{sentence(operation)}; operation {operation['id']}")
    return 0


def wait(arguments: argparse.Namespace, operation: dict[str, Any]) -> int:
    """Returns when the operation has ended, or ``arguments.wait`` seconds have passed → the exit status."""
    ends_at = time.monotonic() + arguments.wait
    while operation["state"] == "running" and (left := ends_at - time.monotonic()) > 0:
        operation = read(client.controller(arguments), operation["id"], round(min(left, _PART_S), 1) or 0.1)
        if operation["state"] == "running":
            time.sleep(min(_PAUSE_S, left))  # it may have had to make room for others
    print(json.dumps(operation, indent=2) if arguments.json else sentence(operation))
    if operation["state"] == "running":
        print(f"anycast-sdn: operation {operation['id']} is not over after {arguments.wait:g} s", file=sys.stderr)
    return 0 if operation["state"] == "succeeded" else 1


def sentence(operation: dict[str, Any]) -> str:
    what = f"{_target(operation)} {'are' if len(operation['addresses']) > 1 else 'is'}"
    flows, reason = operation["flows_left"], operation["reason"]
    match operation["state"]:
        case "running":
            left = "its flows are being counted" if flows is None else f"{counted(flows, 'flow')} left"
            return f"{what} draining: {'; '.join(filter(None, (left, reason)))}"
        case "succeeded":
            return f"{what} drained" + (f": {reason}" if reason else "")
        case _:
            return f"{what} not drained: {reason}"


def _target(operation: dict[str, Any]) -> str:
    """What is drained."""
    if operation.get("kind") == "drain-edge":
        return f"edge {operation['edge']}"
    return f"{' and '.join(operation['addresses'])} in group {operation['group']}"


def _row(operation: dict[str, Any]) -> dict[str, Any]:
    return {"operation": operation["id"], "drain of": _target(operation), "state": operation["state"],
            "flows left": operation["flows_left"], "since": operation["since"]}  # fmt: skip
