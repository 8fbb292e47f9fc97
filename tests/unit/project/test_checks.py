"""The checks before a commit are those of tests/run."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def test_the_checks_before_a_commit_are_the_steps_of_a_run() -> None:
    steps = re.findall(r"^step ([\w-]+) (.+)$", (ROOT / "tests" / "run").read_text(), re.MULTILINE)
    commands = {name: command.replace('"$python"', ".venv/bin/python") for name, command in steps if name != "pytest"}
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert {hook["id"]: hook["entry"] for hook in local["hooks"]} == commands
