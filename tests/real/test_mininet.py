"""Mininet's own command on the README's network, as a newcomer types it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import ROOT, program

from anycast_sdn.description import reading
from anycast_sdn.description.model import Network

# Its cleanup after an accident ends processes by their names, and deletes bridges, whosever they are: not here.
MN = "import mininet.clean, runpy; mininet.clean.cleanup = lambda: None; runpy.run_path({!r}, run_name='__main__')"
CLIENT = " ".join(program("tcp_client.py"))
SERVER = " ".join(program("tcp_server.py"))


@contextmanager
def mn(topology: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Mininet's command with a prompt to write to, in the distribution's Python."""
    path = shutil.which("mn")
    assert path
    command = ["/usr/bin/python3", "-W", "ignore", "-c", MN.format(path), "--custom", "mininet/topology.py"]
    command += ["--topo", topology, "--nolistenport", *words]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, cwd=ROOT, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def alone(network: Network) -> Iterator[None]:
    """No testbed meanwhile; and nothing is left of the network, whatever became of its Mininet."""
    from places import taken
    from plan import Plan
    from testbed import delete

    plan = Plan(network)
    with taken():
        try:
            yield
        finally:
            delete(list(plan.bridges()), [plan.interface(*port) for port in plan.ports()])


@pytest.fixture
def readme_network(tmp_path: Path) -> Path:
    (sample,) = re.findall(r"```yaml\n(name: my-network\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    file = tmp_path / "my-network.yaml"
    file.write_text(sample)
    return file


@pytest.mark.row("M28", "'mn --custom mininet/topology.py' and the README's network: ping, TCP to ANY in both families")
def test_mn_builds_the_readmes_network_and_tcp_passes(readme_network: Path, tmp_path: Path) -> None:
    from testbed import ControllerProcess

    controller = ControllerProcess(readme_network, tmp_path)
    remote = f"remote,ip=127.0.0.1,port={controller.openflow_port}"
    with (
        alone(reading.load(readme_network)),
        mn(f"anycast,{readme_network}", "--controller", remote) as mininet,
        controller,
    ):
        controller.enrol("web", ["198.18.0.1/32", "2001:db8:a::1/128"], ["10.2.0.10", "2001:db8:2::10"])
        lines = [f"as2 {SERVER} as2 80 &", "h1 ping -c 1 as2"]
        lines += [f"h1 {CLIENT} {service} 80 --bytes 100000" for service in ("198.18.0.1", "2001:db8:a::1")]
        said, _ = mininet.communicate("\n".join([*lines, "exit", ""]), timeout=60)
    assert mininet.returncode == 0, said
    assert said.count("100000 bytes, checksum right") == 2, said
    assert " 0% packet loss" in said, said


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("setup.cfg", "setup.cfg:2:1: "),
        ("none.yaml", "none.yaml: cannot be read: No such file or directory"),
        ("topologies/legacy-core.yaml", "has a legacy_core, whose routers only mininet/demo can run"),
        ("topologies/ring.yaml,more", "write --topo anycast,FILE"),
    ],
)
def test_mn_is_told_what_is_wrong_before_anything_is_built(file: str, reason: str) -> None:
    with mn(f"anycast,{file}", "--controller", "none") as mininet:
        said, _ = mininet.communicate(timeout=30)
    assert mininet.returncode == 1
    assert said.startswith("mininet/topology.py: ")
    assert reason in said
    assert "Traceback" not in said
