"""contrib/systemd: the services start commands that there are, and systemd understands their settings."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anycast_sdn.agent.enrolment import GIVE_UP_S
from anycast_sdn.agent.messages import TIMEOUT_S
from anycast_sdn.cli import main
from anycast_sdn.process.ending import END_S

FOLDER = Path(__file__).parents[3] / "contrib" / "systemd"
CONTROLLER, AGENT = "anycast-sdn.service", "anycast-sdn-agent@.service"
EXECUTABLE = "/opt/anycast-sdn/bin/anycast-sdn"


def setting(unit: str, name: str) -> str:
    text = (FOLDER / unit).read_text().replace("\\\n", " ")
    (value,) = re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
    return str(value)


def test_the_service_runs_the_controller_with_its_credential_and_its_state() -> None:
    command = setting(CONTROLLER, "ExecStart")
    command = command.replace("${CREDENTIALS_DIRECTORY}", "/run/c").replace("${STATE_DIRECTORY}", "/var/s")
    executable, *words = shlex.split(command.replace("$OPTIONS", "--openflow 192.0.2.1:6653"))
    assert executable == EXECUTABLE
    arguments = main.parser().parse_args(words)
    assert str(arguments.file) == f"/run/c/{setting(CONTROLLER, 'LoadCredential').partition(':')[0]}"
    assert arguments.database == "/var/s/enrolments.sqlite"
    assert arguments.openflow == ("192.0.2.1", 6653)


def test_the_options_that_its_head_shows_are_those_of_the_command() -> None:
    text = (FOLDER / CONTROLLER).read_text().replace("\\\n#", " ")
    shown = re.findall(r'^# +Environment="OPTIONS=(.*)"$', text, re.MULTILINE)
    assert any("--openflow-tls" in options for options in shown)
    for options in shown:
        main.parser().parse_args(["run", "my.yaml", *shlex.split(options)])
    (files,) = (re.findall(r"/var/lib/anycast-sdn/(\S+)", each) for each in shown if "--openflow-tls" in each)
    assert f"{' '.join(files)} /var/lib/anycast-sdn/" in " ".join(text.split())


def test_a_reload_is_the_signal_that_the_controller_reloads_at() -> None:
    assert setting(CONTROLLER, "ExecReload") == "/bin/kill -HUP $MAINPID"
    assert setting(CONTROLLER, "RuntimeDirectory") == "anycast-sdn"  # for unix:/run/anycast-sdn/rest.sock


def test_the_controller_has_the_time_that_it_takes_to_end() -> None:
    assert int(setting(CONTROLLER, "TimeoutStopSec")) > END_S


def test_the_agent_runs_with_its_group_and_the_options_of_its_file() -> None:
    (options,) = re.findall(r"^# +OPTIONS=(.*)$", (FOLDER / AGENT).read_text(), re.MULTILINE)
    executable, *words = shlex.split(setting(AGENT, "ExecStart").replace("%i", "web").replace("$OPTIONS", options))
    assert executable == EXECUTABLE
    arguments = main.parser().parse_args(words)
    assert (arguments.group, arguments.addresses) == ("web", ["10.2.0.10", "2001:db8:2::10"])


def test_the_agent_has_the_time_that_a_drain_takes() -> None:
    default = main.parser().parse_args(["agent", "--group", "web", "--address", "10.2.0.10"])
    assert int(setting(AGENT, "TimeoutStopSec")) > default.drain_deadline + GIVE_UP_S + TIMEOUT_S


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
@pytest.mark.parametrize("unit", [CONTROLLER, AGENT])
def test_systemd_finds_no_fault_in_the_service(unit: str, tmp_path: Path) -> None:
    file = tmp_path / unit.replace("@", "@web")
    text = (FOLDER / unit).read_text()
    file.write_text(text.replace(EXECUTABLE, sys.executable))  # it looks whether the program is there
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "anycast-sdn" in line]) == (0, [])
