"""Each command has a description and examples, and the examples are right."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator

import pytest

from anycast_sdn.cli import main, reference


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    if parser.get_default("act"):
        yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from parsers(command)


COMMANDS = list(parsers(main.parser()))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.prog.removeprefix("anycast-sdn "))
def test_each_command_has_a_description_and_examples_that_it_takes(command: argparse.ArgumentParser) -> None:
    assert command.description
    title, *examples = (command.epilog or "").splitlines()
    assert title == "examples:"
    assert examples
    for example in examples:
        program, *words = shlex.split(example.partition(" > ")[0])
        assert program == "anycast-sdn"
        assert main.parser().parse_args(words).act


def test_every_command_and_every_argument_is_in_the_reference() -> None:
    text = reference.commands() + reference.asking()
    for command in COMMANDS:
        assert f"## {command.prog.removeprefix('anycast-sdn ')}\n" in text
        for action in command._actions:
            if action.dest != "help" and not isinstance(action, argparse._SubParsersAction):
                names = action.option_strings or [str(action.metavar or action.dest.upper())]
                assert names[-1] in text
