"""The commands as a paper (docs/cli.md), made from the parsers that read their arguments."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from anycast_sdn.cli import client, main


def commands() -> str:
    """A section for each command that does something."""
    return "\n".join(_sections(main.parser()))


def asking() -> str:
    """The arguments of every command that asks a controller."""
    return "\n".join(_table(client.arguments()._actions)) + "\n"


def _sections(parser: argparse.ArgumentParser) -> Iterator[str]:
    if parser.get_default("act"):
        yield from _section(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _sections(command)


def _section(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## {parser.prog.removeprefix('anycast-sdn ')}\n"
    yield f"{parser.description}\n"
    asks = any("--token-file" in action.option_strings for action in parser._actions)
    common = {action.option_strings[0] for action in client.arguments()._actions} if asks else set()
    own = [
        action
        for action in parser._actions
        if action.dest != "help" and not isinstance(action, argparse._SubParsersAction)
        and not common.intersection(action.option_strings)
    ]  # fmt: skip
    if asks:
        yield "It also takes [the arguments of all commands that ask a controller](#asking-a-controller).\n"
    if own:
        yield from _table(own)
        yield ""
    examples = [line.strip() for line in (parser.epilog or "").splitlines()[1:]]
    yield "\n".join(["```sh", *examples, "```", ""])


def _table(actions: Iterable[argparse.Action]) -> Iterator[str]:
    yield "| argument | meaning |"
    yield "| --- | --- |"
    for action in actions:
        meaning = (action.help or "") % vars(action)
        yield f"| `{_written(action)}` | {' '.join(meaning.split())} |"


def _written(action: argparse.Action) -> str:
    named = action.metavar or "\\|".join(map(str, action.choices or ())) or action.dest.upper()
    values = named if isinstance(named, str) else " ".join(named)
    if not action.option_strings:
        return {"+": f"{values} ...", "*": f"[{values} ...]", "?": f"[{values}]"}.get(str(action.nargs), values)
    if action.nargs == 0:
        return action.option_strings[-1]
    return f"{action.option_strings[-1]} {f'[{values}]' if action.nargs == '?' else values}"
