"""Commands about network files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from anycast_sdn.cli import main
from anycast_sdn.description import reference
from tests.unit.command_line import COMMAND, complaint
from tests.unit.network_files import VALID

TOPOLOGIES = Path(__file__).parents[3] / "topologies"



def test_check_counts_in_words_that_fit(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["check", str(file)]) == 0
    counted = "3 switches, 2 links, 2 subnets, 0 uplinks, 3 hosts, 2 groups"
    assert capsys.readouterr().out == f"{file}: good. Network office: {counted}.\n"
    file.write_text(VALID.replace("  - {ends: [core:2, east:10]}\n", ""))
    assert main.main(["check", str(file)]) == 0
    assert " 1 link, " in capsys.readouterr().out


@pytest.mark.parametrize("command", [["check"], ["run"], ["trace"]])
def test_a_path_without_a_network_file_is_reported_with_the_reason(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "folder").mkdir()
    for name, reason in (
        ("missing", "cannot be read: No such file or directory"),
        ("folder", "cannot be read: Is a directory"),
        ("empty", "must be a section of keys and values, not nothing: the file is empty"),
    ):
        flow = ["10.1.0.10", "198.18.0.1:80/tcp"] if command == ["trace"] else []
        if command == ["run"]:  # it changes the process that it runs in
            done = subprocess.run([*COMMAND, "run", str(tmp_path / name)], capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stderr) == (1, f"anycast-sdn: {tmp_path / name}: {reason}\n")
        else:
            assert complaint(capsys, *command, str(tmp_path / name), *flow) == f"{tmp_path / name}: {reason}"

@pytest.mark.parametrize("words", [["example"], ["example", "--list"], ["example", "--list", "ring"]])
def test_the_examples_are_listed_with_a_summary(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["figure1", "legacy-core", "one-switch", "ring", "two-sites"]
    assert lines[2].endswith("The smallest network: one switch that is client edge (ARh) and server edge (ARs) at once")


@pytest.mark.parametrize("name", [path.stem for path in TOPOLOGIES.glob("*.yaml")])
def test_an_example_is_printed_as_it_stands_in_the_repository_and_is_good(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["example", name]) == 0
    printed = capsys.readouterr().out
    assert printed == (TOPOLOGIES / f"{name}.yaml").read_text()
    (tmp_path / "my.yaml").write_text(printed)
    assert main.main(["check", str(tmp_path / "my.yaml")]) == 0


def test_an_unknown_example_is_refused_with_the_name_that_was_probably_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert complaint(capsys, "example", "figure") == (
        "no example is called 'figure': there are figure1, legacy-core, one-switch, ring, two-sites; "
        "did you mean 'figure1'?"
    )


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == reference.json_schema()


def test_each_line_of_check_begins_with_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that editors find the places."""
    file.write_text(VALID.replace("core:1]", "cor:1]").replace("subnet: racks", "subnet: rack"))
    lines = complaint(capsys, "check", str(file)).splitlines()
    assert [line.split(": ")[0].removeprefix(str(file)) for line in lines] == [":11:22", ":19:16"]
