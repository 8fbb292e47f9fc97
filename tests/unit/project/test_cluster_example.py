"""contrib/cluster: the example of three machines says what programs take."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from anycast_sdn.cli import main

FOLDER = Path(__file__).parents[3] / "contrib" / "cluster"
MACHINES = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]


def test_the_controller_takes_the_options_and_finds_its_credentials_there() -> None:
    text = (FOLDER / "anycast-sdn.conf").read_text().replace("\\\n", " ")
    (options,) = re.findall(r'^Environment="OPTIONS=(.*)"$', text, re.MULTILINE)
    arguments = main.parser().parse_args(["run", "network.yaml", *shlex.split(options)])
    assert arguments.etcd == [f"https://{machine}:2379" for machine in MACHINES]
    loaded = set(re.findall(r"^LoadCredential=([^:]+):", text, re.MULTILINE))
    named = (arguments.etcd_cert, arguments.etcd_key, arguments.etcd_ca)
    assert {Path(each).name for each in named} == loaded
    assert {str(Path(each).parent) for each in named} == {"/run/credentials/anycast-sdn.service"}


@pytest.mark.skipif(not shutil.which("etcd"), reason="no etcd here")
def test_etcd_has_every_setting_of_the_example() -> None:
    names = re.findall(r"^ETCD_([A-Z_]+)=", (FOLDER / "etcd").read_text(), re.MULTILINE)
    said = subprocess.run(["etcd", "--help"], capture_output=True, text=True, timeout=30)
    known = set(re.findall(r"--([a-z-]+)", said.stdout + said.stderr))
    assert [name for name in names if name.lower().replace("_", "-") not in known] == []


@pytest.mark.parametrize("given", ["", "ssl:"])
def test_a_bridge_is_never_without_a_controller(tmp_path: Path, given: str) -> None:
    (program := tmp_path / "ovs-vsctl").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    places = [f"{given}{machine}:6653" for machine in MACHINES]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = [str(FOLDER / "point-switch"), "br0", *places]
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=30, check=True)
    said = done.stdout.splitlines()
    assert [word for word in said if word.startswith("target=")] == [
        f'target="{given or "tcp:"}{machine}:6653"' for machine in MACHINES
    ]
    assert said[-4:] == ["set", "Bridge", "br0", "controller=[@c1,@c2,@c3]"]
    assert "del-controller" not in said
