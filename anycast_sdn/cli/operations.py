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


def add_wait(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--wait", type=options.seconds, nargs="?", const=math.inf, metavar="S",
                        help="return when it is drained, or with status 1 after S seconds (without S: however long "
                             "that takes)")  # fmt: skip


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
    operation = client.ask(controller, f"/v1/operations/{number}{query}", timeout_s=client.TIMEOUT_S + wait_s)
    if not isinstance(operation, dict) or not {"id", "state"} <= operation.keys():
        raise client.no_controller(controller)
    return operation


def begun(arguments: argparse.Namespace, operation: dict[str, Any]) -> int:
    """Says what has begun, or waits for its end where that is asked for → the exit status."""
    if arguments.wait is not None:
        return wait(arguments, operation)
    print(json.dumps(operation, indent=2) if arguments.json else f"{sentence(operation)}; operation {operation['id']}")
    return 0


def wait(arguments: argparse.Namespace, operation: dict[str, Any]) -> int:
    """Returns when the operation has ended, or ``arguments.wait`` seconds have passed → the exit status."""
    ends_at = time.monotonic() + arguments.wait
    while operation["state"] == "running" and (left := ends_at - time.monotonic()) > 0:
        operation = read(client.controller(arguments), operation["id"], round(min(left, _PART_S), 1) or 0.1)
    print(json.dumps(operation, indent=2) if arguments.json else sentence(operation))
    if operation["state"] == "running":
        print(f"anycast-sdn: operation {operation['id']} is not over after {arguments.wait:g} s", file=sys.stderr)
    return 0 if operation["state"] == "succeeded" else 1


def sentence(operation: dict[str, Any]) -> str:
    what = _target(operation)
    left = counted(operation.get("flows_left") or 0, "flow")
    match operation["state"]:
        case "running":
            return f"{what} is draining: {left} left"
        case "succeeded":
            return f"{what} is drained"
        case _:
            return f"{what} is not drained: {operation.get('reason') or operation['state']}"


def _target(operation: dict[str, Any]) -> str:
    named = operation.get("addresses") or [operation.get("edge")]
    return " and ".join(map(str, named)) + (f" in group {operation['group']}" if operation.get("group") else "")


def _row(operation: dict[str, Any]) -> dict[str, Any]:
    return {"operation": operation["id"], "what": _target(operation), "state": operation["state"],
            "flows left": operation.get("flows_left"), "since": operation.get("since")}  # fmt: skip
