"""The demo as a user runs it, and as a user interrupts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from support import ROOT, until

LOCK_DEADLINE_S = 250  # another testbed may be running
STORY = "The first request"


@contextmanager
def running_demo(directory: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The demo on figure1, with its output and its temporary files in ``directory``."""
    words = [sys.executable, str(ROOT / "mininet" / "demo.py"), "figure1", *options]
    output = (directory / "output").open("wb")
    (directory / "temporary").mkdir()
    environment = os.environ | {"TMPDIR": str(directory / "temporary")}
    with output, subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT, env=environment) as demo:
        try:
            yield demo
        finally:
            demo.terminate()


def said(directory: Path) -> str:
    return (directory / "output").read_text()


class Thing(NamedTuple):
    """Something that the demo has made, by what nobody else will ever have."""

    kind: str
    name: str
    identity: str


OURS = re.compile(r"(arh1|core|ars2|ars3)(-eth\d+)?")  # as in the network file; other testbeds have other names


def bridges_and_interfaces() -> Iterator[Thing]:
    listing = ["ovs-vsctl", "--format=json", "--columns=name,_uuid", "list", "Bridge"]
    listed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    yield from (Thing("bridge", name, uuid) for name, (_, uuid) in json.loads(listed)["data"] if OURS.fullmatch(name))
    for interface in Path("/sys/class/net").iterdir():
        if OURS.fullmatch(interface.name):
            yield Thing("interface", interface.name, (interface / "ifindex").read_text())


def processes() -> dict[int, tuple[int, Thing]]:
    """Process id → its parent's, and the process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, *fields = stat.read_text().rpartition(") ")[2].split()
            name = (stat.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        if state != "Z":
            number = int(stat.parent.name)
            found[number] = int(parent), Thing("process", name, f"{number}, started at {fields[17]}")
    return found


def descendants(ancestor: int) -> set[Thing]:
    known = processes()
    family = {ancestor}
    while new := {number for number, (parent, _) in known.items() if parent in family} - family:
        family |= new
    return {known[number][1] for number in family - {ancestor}}


@pytest.mark.row("M28", "the demo: one file drives the testbed and the controller; each line of its story holds")
def test_the_demo_holds_on_figure_1(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        status = demo.wait(LOCK_DEADLINE_S)
    assert status == 0, said(tmp_path)
    results = re.findall(r"^(ok|FAILED|-) ", said(tmp_path), re.MULTILINE)
    assert set(results) == {"ok"}
    assert len(results) > 25
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.row("M37", "the demo of several controllers: one is killed, one is cut off; each line of its story holds")
def test_the_demo_of_several_controllers_holds(tmp_path: Path) -> None:
    with running_demo(tmp_path, "--controllers", "3") as demo:
        status = demo.wait(LOCK_DEADLINE_S)
    assert status == 0, said(tmp_path)
    results = re.findall(r"^(ok|FAILED|-) ", said(tmp_path), re.MULTILINE)
    assert set(results) == {"ok"}
    assert len(results) > 15
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.row("M28", "an interrupted demo leaves no bridge, interface, process or file behind")
@pytest.mark.parametrize(
    ("moment", "number"),
    [("while it builds", signal.SIGTERM), ("in its story", signal.SIGINT)],
    ids=["while it builds", "in its story"],
)
def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    with running_demo(tmp_path) as demo:
        if moment == "in its story":
            until(lambda: STORY in said(tmp_path), "the story begins", LOCK_DEADLINE_S)
        else:
            until(
                lambda: any("mininet:" in thing.name for thing in descendants(demo.pid)),
                "the first Mininet node is there",
                LOCK_DEADLINE_S,
            )
            until(lambda: any(bridges_and_interfaces()), "the first bridge or interface is there")
        # Past the lock of the testbed: bridges and interfaces of these names are the demo's.
        made = descendants(demo.pid) | set(bridges_and_interfaces())
        demo.send_signal(number)
        assert demo.wait(30) == 128 + number
    present = set(bridges_and_interfaces()) | {process for _, process in processes().values()}
    assert len(made) > 1
    assert not made & present, said(tmp_path)
    assert not list((tmp_path / "temporary").iterdir())
