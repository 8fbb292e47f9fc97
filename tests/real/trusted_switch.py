"""A real Open vSwitch that connects by TLS, with right and wrong certificates, one after the other.

A program of its own, for ``own_switch.run_inside``, because ``ovs-vsctl set-ssl`` is for a whole Open vSwitch:
python trusted_switch.py DIRECTORY
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from own_switch import RUN, OwnSwitch
from programs import output_of
from support import TOPOLOGIES, V4, V6, WEB, Running, edited, until
from testbed import ControllerProcess, Testbed

from anycast_sdn.description import reading
from anycast_sdn.trust.pki import Pki
from tests.unit.certificates import Authority

SHARED = "host1"  # in the certificate of an Open vSwitch with several bridges
WRONG = {
    "core": r"it says that it is switch edge \(datapath id 0{15}1\), and shows the certificate of core; in the network "
    "file, that of edge is edge",
    "late": "its certificate, or that of its CA, has expired",
    "forged": "its certificate is of another CA than those that are trusted here, or it does not send the certificate "
    "of the intermediate CA that has signed it",
}


def use(testbed: Testbed, certificate: str, ca: str = "ca") -> None:
    """All bridges show this certificate, and trust this CA, from their next connection on."""
    key, own, trusted = (str(DIRECTORY / name) for name in (f"{certificate}.key", f"{certificate}.pem", f"{ca}.pem"))
    connect(testbed, "ssl", "set-ssl", key, own, trusted)


def connect(testbed: Testbed, transport: str, *before: str) -> None:
    """All connect anew."""
    (port,) = testbed.openflow_ports
    records = output_of("ovs-vsctl", "--bare", "--columns=_uuid", "find", "Controller").split()
    for place in ("tcp:127.0.0.1:1", f"{transport}:127.0.0.1:{port}"):
        words = [word for record in records for word in ("--", "set", "Controller", record, f'target="{place}"')]
        output_of("ovs-vsctl", *before, *words)


@contextmanager
def by_tls(file: Path, certificate: str) -> Iterator[Running]:
    directory = DIRECTORY / file.stem
    directory.mkdir()
    files = [str(DIRECTORY / name) for name in ("controller.pem", "controller.key", "ca.pem")]
    controller = ControllerProcess(file, directory, ["--openflow-tls", *files])
    with Testbed(reading.load(file), controller.openflow_port) as testbed:
        use(testbed, certificate)
        with controller:
            try:
                yield Running(testbed, controller)
            except BaseException:
                print(controller.log()[-4000:], (RUN / "ovs-vswitchd.log").read_text()[-8000:], sep="\n")
                raise
            log = controller.log()
    assert "Traceback" not in log, log


def is_refused(network: Running, reason: str) -> bool:
    return bool(re.search(rf"connection from 127\.0\.0\.1:\d+ closed: {reason}\n", network.controller.log()))


def is_connected(network: Running) -> bool:
    return all(switch["connected"] for switch in network.call("GET", "/v1/switches")["switches"])


def flows_pass(network: Running, host: str, *servers: str) -> None:
    for family in (V4, V6):
        (answer,) = set(network.ask(host, family.web, "--count", 3))
        assert answer in [f"{server} hello" for server in servers], answer


def one_switch() -> None:
    with by_tls(edited("one-switch.yaml", DIRECTORY), "edge") as network:
        network.serve_udp("s1")
        network.serve_udp("s2")
        network.wait_for_servers("web")
        flows_pass(network, "c1", "s1", "s2")
        for certificate, reason in WRONG.items():
            use(network.testbed, certificate)
            until(lambda reason=reason: is_refused(network, reason), f"{certificate} is refused", 40)
            assert not is_connected(network)
        use(network.testbed, "edge", "other")
        refuses = "it refuses the certificate of this controller: unknown ca"
        until(lambda: is_refused(network, refuses), "the switch refuses the controller")
        connect(network.testbed, "tcp")
        until(lambda: is_refused(network, "it does not speak TLS, .*"), "plain TCP is refused")
        told = "this controller speaks TLS only"
        until(lambda: told in (RUN / "ovs-vswitchd.log").read_text(), "the switch has been told why")

        use(network.testbed, "edge")
        until(lambda: is_connected(network), "the switch is back", 40)
        network.wait_for_servers("web")
        flows_pass(network, "c1", "s1", "s2")
        renewed(network)


def renewed(network: Running) -> None:
    """Certificates of another CA, from a SIGHUP on; the switch that is there stays.

    All are whole before they are put there: Open vSwitch looks often whether its files have changed, and may not look
    again at one that it has read while it was being written.
    """
    for name in ("ca.pem", "controller.key", "controller.pem", "edge.key", "edge.pem"):
        (RENEWED.directory / name).replace(DIRECTORY / name)
    network.controller.process.send_signal(signal.SIGHUP)
    until(lambda: "read again what TLS for switches needs" in network.controller.log(), "the files are read again")
    assert is_connected(network)
    flows_pass(network, "c1", "s1", "s2")
    use(network.testbed, "edge")
    until(lambda: network.controller.log().count("switch edge at 127.0.0.1") >= 4, "it has gone")
    until(lambda: is_connected(network), "the switch is back, by the new CA", 40)
    flows_pass(network, "c1", "s1", "s2")


def several_bridges() -> None:
    """All of one Open vSwitch show the same certificate."""
    described = yaml.safe_load((TOPOLOGIES / "figure1.yaml").read_text())
    for switch in described["switches"]:
        switch["certificate"] = SHARED
    file = DIRECTORY / "figure1.yaml"
    file.write_text(yaml.safe_dump(described))
    pki = Pki(DIRECTORY)
    pki.make(pki.switch(SHARED), SHARED, is_server=False)
    with by_tls(file, pki.switch(SHARED).certificate.stem) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_udp("as2")
        flows_pass(network, "h1", "as2")


if __name__ == "__main__":
    DIRECTORY = Path(sys.argv[1])
    CA, OTHER = Authority(DIRECTORY), Authority(DIRECTORY, "other")
    for name in ("edge", "core"):
        CA.certify(name)
    Pki(DIRECTORY).make(Pki(DIRECTORY).controller(), "controller", is_server=True)
    CA.expired("late")
    OTHER.certify("forged")
    (DIRECTORY / "renewed").mkdir()
    RENEWED = Authority(DIRECTORY / "renewed")
    for name in ("controller", "edge"):
        RENEWED.certify(name)
    OwnSwitch()
    several_bridges()
    one_switch()
    print("all were told apart")
