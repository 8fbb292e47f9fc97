"""contrib/systemd: the service starts a command that there is, and systemd understands its settings."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anycast_sdn.cli import main
from anycast_sdn.process.ending import END_S

UNIT = (Path(__file__).parents[3] / "contrib" / "systemd" / "anycast-sdn.service").read_text()
EXECUTABLE = "/opt/anycast-sdn/bin/anycast-sdn"


def setting(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", UNIT.replace("\\\n", " "), re.MULTILINE)
    return str(value)


def test_the_service_runs_the_controller_with_its_credential_and_its_state() -> None:
    command = setting("ExecStart").replace("${CREDENTIALS_DIRECTORY}", "/run/c").replace("${STATE_DIRECTORY}", "/var/s")
    executable, *words = shlex.split(command.replace("$OPTIONS", "--openflow 192.0.2.1:6653"))
    assert executable == EXECUTABLE
    arguments = main._parser().parse_args(words)
    assert str(arguments.file) == f"/run/c/{setting('LoadCredential').partition(':')[0]}"
    assert arguments.database == "/var/s/enrolments.sqlite"
    assert arguments.openflow == ("192.0.2.1", 6653)


def test_the_controller_has_the_time_that_it_takes_to_end() -> None:
    assert int(setting("TimeoutStopSec")) > END_S


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_finds_no_fault_in_the_service(tmp_path: Path) -> None:
    file = tmp_path / "anycast-sdn.service"
    file.write_text(UNIT.replace(EXECUTABLE, sys.executable))  # it looks whether the program is there
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "anycast-sdn" in line]) == (0, [])
