"""``switches``: what each switch is, what it can be, and what it lacks."""

from __future__ import annotations

import argparse
import json
import sys
from textwrap import wrap
from typing import Any

from anycast_sdn.cli import client, options, switch_words
from anycast_sdn.cli.tables import WIDTH, table, yes_or_no
from anycast_sdn.cli.terminal import harmless

PROBED_S = 70.0  # until a controller answers

_ABOUT = """\
Show what each switch is, what it can be and what it lacks, as tried when it connected. With a NAME, all that is known
of that switch. The exit status is 0 also when a switch lacks something: 'status' and /healthz tell what is wrong."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands, "switches", "show what switches are, what they can be and what they lack", _ABOUT,
        "switches", "switches ars2", "switches ars2 --probe", "switches ars2 --json",
        parents=[client.arguments()],
    )  # fmt: skip
    parser.add_argument("name", nargs="?", metavar="NAME", help="of a switch, as the network file has it")
    parser.add_argument("--probe", action="store_true",
                        help="try again what it can do, as when it connects: its rules stay, and new flows wait; "
                        "one that keeps no cookies loses its rules for a moment, and gets them anew")
    parser.set_defaults(act=_switches)


def _switches(arguments: argparse.Namespace) -> int:
    controller = client.controller(arguments)
    if arguments.name is None:
        if arguments.probe:
            print("anycast-sdn switches: --probe needs the NAME of a switch", file=sys.stderr)
            return 2
        answer = client.get(controller, "/v1/switches", "switches")
        print(json.dumps(answer, indent=2) if arguments.json else _overview(answer["switches"]))
        return 0
    if arguments.probe:
        report = client.ask(controller, client.path("switches", arguments.name, "probe"), "POST", timeout_s=PROBED_S)
    else:
        report = client.get(controller, client.path("switches", arguments.name), "roles")
    print(json.dumps(report, indent=2) if arguments.json else switch_words.written(report))
    return 0


def _overview(reports: list[Any]) -> str:
    """A row for each switch; below it, a sentence for each role that one cannot carry out though it has it."""
    parts = [harmless(table([_row(report) for report in reports])) if reports else "no switches"]
    troubles = [
        f"{report['name']} {role['sentence']}"
        for report in reports
        for role in report["roles"]
        if role["wanted"] and switch_words.able(role) != "yes"
    ]
    if troubles:
        lines = (line for each in troubles for line in wrap(harmless(each), WIDTH, subsequent_indent="  "))
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _row(report: Any) -> dict[str, Any]:
    roles = {role["role"]: role for role in report["roles"]}
    judged = {name: _judged(roles.get(name)) for name in ("client edge", "server edge", "core")}
    return {
        "switch": report["name"], "is": switch_words.make(report), "connected": yes_or_no(report["connected"]),
        "tables": report["tables"], **judged,
        "goes without": ", ".join(each["feature"] for each in report["without"]),
    }  # fmt: skip


def _judged(role: Any) -> str:
    """In brackets where the network file does not give it this role."""
    if role is None:
        return "not known"
    return switch_words.able(role) if role["wanted"] else f"({switch_words.able(role)})"
