"""The commands as a paper (docs/cli.md), made from the parsers that read their arguments."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from anycast_sdn.cli import client, main


def as_markdown() -> str:
    """A section for each command that does something."""
    return "\n".join(_sections(main.parser())) + "\n"


def common_as_markdown() -> str:
    """The options of every command that asks a controller."""
    return "\n".join(_table(client.arguments()._actions)) + "\n"


def _sections(parser: argparse.ArgumentParser) -> Iterator[str]:
    commands = next((each for each in parser._actions if isinstance(each, argparse._SubParsersAction)), None)
    own = [action for action in parser._actions if action is not commands and _name(action) not in _EVERYWHERE]
    if parser.get_default("act"):
        yield from _section(parser, own)
    if commands:
        for command in commands.choices.values():
            yield from _sections(command)


def _section(parser: argparse.ArgumentParser, own: list[argparse.Action]) -> Iterator[str]:
    yield f"## {parser.prog.removeprefix('anycast-sdn ')}\n"
    yield f"{parser.description}\n"
    if any(_name(action) == "--rest" for action in parser._actions) and parser.prog != "anycast-sdn run":
        yield "It asks a controller: [the options of all that do](#asking-a-controller).\n"
    if own:
        yield from _table(own)
        yield ""
    examples = re.findall(r"^  (.*)$", parser.epilog or "", re.MULTILINE)
    yield "\n".join(["```sh", *examples, "```", ""])


def _table(actions: list[argparse.Action]) -> Iterator[str]:
    yield "| argument | meaning |"
    yield "| --- | --- |"
    for action in actions:
        help = (action.help or "") % (vars(action) | {"prog": "anycast-sdn"})
        yield f"| `{_written(action)}` | {help} |".replace("|  |", "| |")


def _name(action: argparse.Action) -> str:
    return action.option_strings[-1] if action.option_strings else action.dest


def _written(action: argparse.Action) -> str:
    values = action.metavar or ("\\|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if not action.option_strings:
        return f"{values}…" if action.nargs == "+" else f"[{values}]" if action.nargs == "?" else str(values)
    if action.nargs == 0:
        return action.option_strings[-1]
    return f"{action.option_strings[-1]} [{values}]" if action.nargs == "?" else f"{action.option_strings[-1]} {values}"


_EVERYWHERE = {"--help", *map(_name, client.arguments()._actions)}
