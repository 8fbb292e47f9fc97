"""Mininet's own command on the README's network, as a newcomer types it."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from support import ROOT, program

from anycast_sdn.description import reading
from anycast_sdn.description.model import Network

# Its cleanup after an accident ends processes by their names, and deletes bridges, whosever they are: not here.
MN = "import mininet.clean, runpy; mininet.clean.cleanup = lambda: None; runpy.run_path({!r}, run_name='__main__')"
CLIENT = " ".join(program("tcp_client.py"))
SERVER = " ".join(program("tcp_server.py"))


class Mn:
    """Mininet's command with a prompt to write to, in the distribution's Python."""

    def __init__(self, process: subprocess.Popen[str], output: IO[str]) -> None:
        self._process = process
        self._output = output

    def said(self) -> str:
        self._output.seek(0)
        return self._output.read()

    def await_prompt(self) -> None:
        """Returns when the network stands; says what Mininet said if it does not."""
        from programs import wait_until

        wait_until(lambda: self._process.poll() is not None or "*** Starting CLI:" in self.said(), "Mininet's prompt")
        assert self._process.returncode is None, self.said()

    def finish(self, *lines: str) -> int:
        """Has these lines carried out, and the network taken down → exit status."""
        self._process.communicate("\n".join([*lines, "exit", ""]), timeout=60)
        return self._process.returncode


@contextmanager
def mn(topology: str, *words: str) -> Iterator[Mn]:
    path = shutil.which("mn")
    assert path
    command = ["/usr/bin/python3", "-W", "ignore", "-c", MN.format(path), "--custom", "mininet/topology.py"]
    command += ["--topo", topology, "--nolistenport", *words]
    with tempfile.TemporaryFile("w+") as output:
        pipes = {"stdin": subprocess.PIPE, "stdout": output.fileno(), "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, text=True, cwd=ROOT, start_new_session=True, **pipes) as process:
            try:
                yield Mn(process, output)
            finally:
                process.kill()


@contextmanager
def nothing_else(network: Network) -> Iterator[None]:
    """No testbed meanwhile; and nothing is there of the network before and after, whatever became of its Mininet."""
    from places import taken
    from plan import Plan
    from testbed import delete

    plan = Plan(network)
    parts = list(plan.bridges()), [plan.interface(*port) for port in plan.ports()]
    with taken(alone=True):
        delete(*parts)
        try:
            yield
        finally:
            delete(*parts)


@pytest.fixture
def readme_network(tmp_path: Path) -> Path:
    (sample,) = re.findall(r"```yaml\n(name: my-network\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    file = tmp_path / "my-network.yaml"
    file.write_text(sample)
    return file


@pytest.mark.alone("mn gives Open vSwitch's database one second to answer")
@pytest.mark.row("M28", "'mn --custom mininet/topology.py' and the README's network: ping, TCP to ANY in both families")
def test_mn_builds_the_readmes_network_and_tcp_passes(readme_network: Path, tmp_path: Path) -> None:
    from testbed import ControllerProcess

    controller = ControllerProcess(readme_network, tmp_path)
    remote = f"remote,ip=127.0.0.1,port={controller.openflow_port}"
    with (
        nothing_else(reading.load(readme_network)),
        mn(f"anycast,{readme_network}", "--controller", remote) as mininet,
    ):
        mininet.await_prompt()
        with controller:
            controller.enrol("web", ["198.18.0.1/32", "2001:db8:a::1/128"], ["10.2.0.10", "2001:db8:2::10"])
            lines = [f"as2 {SERVER} as2 80 &", "h1 ping -c 1 as2"]
            lines += [f"h1 {CLIENT} {service} 80 --bytes 100000" for service in ("198.18.0.1", "2001:db8:a::1")]
            status, said = mininet.finish(*lines), mininet.said()
    assert status == 0, said
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
        status, said = mininet.finish(), mininet.said()
    assert status == 1
    assert said.startswith("mininet/topology.py: ")
    assert reason in said
    assert "Traceback" not in said
