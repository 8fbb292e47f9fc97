"""``edge``: a server edge is drained for maintenance, and takes part again."""

from __future__ import annotations

import argparse
from typing import Any

from anycast_sdn.cli import client, operations, options

_DRAIN = """\
Drain an edge, for maintenance: its servers take no new flows, its announcements go, and present flows go on until
they end. 'edge resume' ends it."""
_RESUME = "End the drain of an edge: its servers take new flows again."


def add_to(commands: Any) -> None:
    edge = options.command(commands, "edge", "drain an edge for maintenance, or end that",
                           "Drain an edge for maintenance, or end that.",
                           "edge drain ars2 --wait 600", "edge resume ars2")  # fmt: skip
    verbs = edge.add_subparsers(title="commands", required=True, metavar="COMMAND")
    drain = _verb(verbs, "drain", "let its flows end, and give it no new ones", _DRAIN, "edge drain ars2 --wait 600")
    operations.add_drain(drain)
    drain.set_defaults(act=_drain)
    resume = _verb(verbs, "resume", "end its drain", _RESUME, "edge resume ars2")
    resume.set_defaults(act=_resume)


def _verb(verbs: Any, name: str, summary: str, about: str, example: str) -> argparse.ArgumentParser:
    verb: argparse.ArgumentParser = options.command(verbs, name, summary, about, example,
                                                    parents=[client.arguments()])  # fmt: skip
    verb.add_argument("edge", metavar="EDGE")
    return verb


def _drain(arguments: argparse.Namespace) -> int:
    return operations.begin(arguments, client.path("edges", arguments.edge, "drain"), operations.settings(arguments))


def _resume(arguments: argparse.Namespace) -> int:
    answer = client.ask(client.controller(arguments), client.path("edges", arguments.edge, "resume"), "POST")
    return options.said(arguments, answer, f"{arguments.edge} takes new flows again")
