"""Two controllers share a real Open vSwitch that connects to both by TLS; the one that leads is killed.

A program of its own, for ``own_switch.run_inside``, because ``ovs-vsctl set-ssl`` is for a whole Open vSwitch:
python trusted_cluster.py DIRECTORY
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controllers import Controllers, Member
from members import decides
from own_switch import RUN, OwnSwitch
from programs import output_of
from support import V4, V6, Running, edited, until
from testbed import Testbed

from anycast_sdn.description import reading
from anycast_sdn.trust.pki import Made, Pki

KNOWN = ("--source-port", 5000)  # of a flow that goes on


def use_tls(shown: Made, ca: Path) -> None:
    """All that the bridges connect to, they connect to by TLS."""
    words = ["ovs-vsctl", "set-ssl", str(shown.key), str(shown.certificate), str(ca)]
    for record in output_of("ovs-vsctl", "--bare", "--columns=_uuid", "find", "Controller").split():
        target = output_of("ovs-vsctl", "get", "Controller", record, "target").strip().strip('"')
        words += ["--", "set", "Controller", record, f'target="{target.replace("tcp:", "ssl:")}"']
    output_of(*words)


@contextmanager
def by_tls(file: Path) -> Iterator[tuple[Testbed, list[Member]]]:
    """The network of a file, whose switches show the certificate ``edge``, and controllers with one of their own."""
    pki = Pki(DIRECTORY / "pki")
    pki.make_ca("a testbed")
    pki.make(pki.switch("edge"), "edge", is_server=False)
    network = reading.load(file)
    options = ["--openflow-tls", "OWN/controller.pem", "OWN/controller.key", str(pki.ca.certificate)]
    with Controllers(file, network.name, DIRECTORY, 2, options) as several:
        for member in several.members:
            made = pki.make(pki.controller(member.name), member.name, is_server=True)
            for own in made:
                own.rename(DIRECTORY / member.name / f"controller{own.suffix}")
        ports = [member.openflow_port for member in several.members]  # their relays know no TLS
        with Testbed(network, *ports) as testbed:
            use_tls(pki.switch("edge"), pki.ca.certificate)
            several.start()
            try:
                yield testbed, several.members
            except BaseException:
                print(*(member.log()[-4000:] for member in several.members), sep="\n")
                print((RUN / "ovs-vswitchd.log").read_text()[-2000:])
                raise
            for member in several.members:
                assert "Traceback" not in member.log(), member.log()


def answers(network: Running, *options: object) -> set[str]:
    return {answer for family in (V4, V6) for answer in network.ask("c1", family.web, *options)}


def main() -> None:
    with by_tls(edited("one-switch.yaml", DIRECTORY)) as (testbed, (first, second)):
        assert all("switches connect by TLS" in member.log() for member in (first, second))
        network = Running(testbed, first)
        network.serve_udp("s1", "s2")
        network.wait_for_servers("web")
        known = answers(network, *KNOWN)
        first.kill()
        until(lambda: decides(second), "the other controller has taken the switch over")
        network = Running(testbed, second)
        network.wait_for_servers("web")
        assert answers(network, *KNOWN) == known
        assert answers(network, "--flows", 5) <= {"s1 hello", "s2 hello"}


if __name__ == "__main__":
    DIRECTORY = Path(sys.argv[1])
    OwnSwitch()
    main()
    print("taken over")
