"""The command line as a whole: its help, its version, its exit status."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from anycast_sdn import __version__
from anycast_sdn.cli import main

COMMANDS = ["run", "example", "schema", "check", "trace", "status", "flows", "groups", "servers", "edges", "replies",
            "switches", "topology", "watch", "why", "who", "group", "server", "edge", "operations", "cluster", "probe",
            "store", "token", "pki", "agent"]  # fmt: skip


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main.main(words)
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version") == f"anycast-sdn {__version__}\n"


def test_the_help_names_each_command_examples_and_the_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help")
    listed = text.partition("  COMMAND\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == COMMANDS
    assert "anycast-sdn example figure1 > my.yaml" in text
    assert "exit status:" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"examples:\n  anycast-sdn {command}" in printed(capsys, command, "--help")


def test_wrong_usage_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["fly"], ["check"]):
        with pytest.raises(SystemExit) as ended:
            main.main(words)
        assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_an_interrupt_while_modules_are_imported_ends_quietly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # so that the command does not end before the interrupt
        python = ["env", "--default-signal=INT", sys.executable, "-X", "importtime"]
        words = [*python, "-m", "anycast_sdn", "flows", "--rest", f"127.0.0.1:{silent.getsockname()[1]}"]
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            while "anycast_sdn.core" not in process.stderr.readline():  # each import has its line when it is done
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            errors = process.stderr.read()
    assert "Traceback" not in errors
    assert process.returncode == 130


def test_nothing_is_imported_before_run_has_chosen_the_hub() -> None:
    """OS-Ken chooses at its import, and eventlet replaces modules that others must not have taken yet."""
    program = "import sys, anycast_sdn.cli.main; print({'os_ken', 'eventlet'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "set()\n"


def test_pages_and_contrib_name_commands_that_there_are() -> None:
    root = Path(__file__).parents[3]
    texts = [path for folder in ("anycast_sdn/web", "contrib") for path in (root / folder).rglob("*") if path.is_file()]
    named = {word for path in texts for word in re.findall(r"anycast-sdn ([a-z]+)", path.read_text())}
    assert {"status", "run"} <= named <= set(COMMANDS)
