"""The demo: a network file as a real network, the controller, real programs; one line per result.

Started by ``mininet/demo``, which installs what is missing.  Exit status: 0 only if every line holds,
1 if one does not or the network cannot be built, 2 for wrong usage, 128 + N after signal N.  Whatever
ends it, nothing that it made is left behind.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cluster_steps
from cluster_steps import Cast
from controllers import Controllers
from network_copy import with_engine, with_flows_apart, with_short_times
from programs import is_free
from report import Report
from roles import Roles, choose
from scene import DNS_NAME, REST_PORT, Scene
from steps import run_all
from testbed import ControllerProcess, Testbed, TestbedError, obstacle

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.roles import EngineName
from anycast_sdn.core.words import counted
from anycast_sdn.description import reading
from anycast_sdn.description.model import Network
from anycast_sdn.description.profile import Profile

TOPOLOGIES = Path(__file__).parents[1] / "topologies"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    arguments = _parser().parse_args()
    for number in SIGNALS:
        signal.signal(number, _leave)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # hosts at the prompt inherit the environment, and have no route to a proxy
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if reason := obstacle():
        return _refuse(reason)
    try:
        if arguments.controllers > 1:
            return _show_controllers(arguments.topology, arguments.engine, arguments.controllers, Report())
        with _stage(arguments.topology, arguments.engine, Report()) as scene:
            run_all(scene)
            scene.report.summary()
            if arguments.cli:
                _prompt(scene)
            return 0 if scene.report.holds else 1
    except (ConfigurationError, TestbedError) as error:
        return _refuse(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo", description="Builds a network on Open vSwitch and shows the mechanism with real programs."
    )
    parser.add_argument(
        "topology", nargs="?", type=_topology, default="figure1", metavar="TOPOLOGY",
        help=f"one of {', '.join(_names())}, or the path of a network file (default %(default)s)")  # fmt: skip
    parser.add_argument(
        "--engine", choices=[engine.value for engine in EngineName], default="",
        help="how client edges carry the method out: by rules of each flow, or in the connection tracker of Open "
        "vSwitch (default: as the network file says)")  # fmt: skip
    parser.add_argument("--cli", action="store_true", help="then leave the network up, with a Mininet prompt")
    parser.add_argument(
        "--controllers", type=int, default=1, choices=range(1, 6), metavar="N",
        help="instead: so many controllers that agree in an etcd of three members, and what becomes of flows when one "
        "of them dies or is cut off (2-5)")  # fmt: skip
    return parser


def _names() -> list[str]:
    return sorted(path.stem for path in TOPOLOGIES.glob("*.yaml"))


def _topology(name: str) -> Path:
    """A network file, by its name in topologies/ or by its path."""
    for path in (TOPOLOGIES / f"{name}.yaml", Path(name)):
        if path.is_file():
            return path
    raise argparse.ArgumentTypeError(
        f"there is no network file {name!r}; topologies/ has {', '.join(_names())}, or give a path"
    )


@contextmanager
def _stage(file: Path, engine: str, report: Report) -> Iterator[Scene]:
    """The network, its controller and its servers, all running; taken down at the end."""
    roles = choose(reading.load(file))
    with tempfile.TemporaryDirectory(prefix="anycast-sdn-") as directory:
        copy = Path(directory, file.name)
        content = with_engine(with_short_times(file.read_text(encoding="utf-8")), engine)
        copy.write_text(content, encoding="utf-8")
        network = reading.load(copy)
        controller = ControllerProcess(copy, directory, ["--binding-log", str(Path(directory, "bindings.jsonl"))])
        if is_free(REST_PORT):
            controller.rest_port = REST_PORT
        testbed = Testbed(network, controller.openflow_port)
        report.progress(f"building {network.name}: {_counted(network)}")
        with testbed:
            testbed.take_zones(copy)
            report.progress("starting the controller (anycast-sdn run); switches connect and get their rules")
            with controller:
                scene = Scene(testbed, controller, report, choose(reading.load(copy)))
                _introduce(scene, roles)
                yield scene
                report.progress("taking everything down")


def _show_controllers(file: Path, engine: str, count: int, report: Report) -> int:
    """Several controllers: another story than that of one → the exit status."""
    with tempfile.TemporaryDirectory(prefix="anycast-sdn-") as directory:
        copy = Path(directory, file.name)
        content = with_engine(with_flows_apart(file.read_text(encoding="utf-8")), engine)
        copy.write_text(content, encoding="utf-8")
        network = reading.load(copy)
        with Controllers(copy, network.name, Path(directory), count) as controllers:
            testbed = Testbed(network, *controllers.openflow_ports)
            report.progress(f"building {network.name}: {_counted(network)}")
            with testbed:
                testbed.take_zones(copy)
                report.progress(f"starting etcd (3 members) and {count} controllers; switches connect to all of them")
                controllers.start()
                cast = Cast(testbed, controllers, report, choose(reading.load(copy)))
                report.progress(f"enrolling {', '.join(cast.roles.servers)} in the group {cast.roles.group!r}")
                cast.enrol()
                cluster_steps.run_all(cast)
                report.summary()
                report.progress("taking everything down")
    return 0 if report.holds else 1


def _introduce(scene: Scene, as_written: Roles) -> None:
    """Starts and enrols the servers; prints which host has which role."""
    roles, report = scene.roles, scene.report
    old, new = as_written.edge.client_edge, roles.edge.client_edge
    assert old is not None
    assert new is not None
    if old != new:
        report.text(
            f"In a copy of the file, to watch expiry: udp_s is {new.validity.udp_s} instead of {old.validity.udp_s}, "
            f"quarantine_s {new.quarantine_s} instead of {old.quarantine_s}."
        )
    report.progress(f"starting web, DNS and UDP servers on {', '.join(roles.servers)}")
    scene.start_servers()
    report.progress(f"enrolling them over REST in the group {roles.group!r}")
    scene.enrol()
    if new.wants_conntrack:
        report.text(f"{roles.edge.name} has the engine {new.engines[0].value}: flows are connections in its tracker.")
    services = ", ".join(family.service for family in roles.families)
    report.text(f"The dashboard is at {scene.page} for as long as the demo runs.")
    report.text(f"H is {roles.client}, ARh is {roles.edge.name}, ANY is {services}.")
    for switch in roles.network.switches:
        if switch.profile:
            report.text(f"{switch.name} {_played(scene, switch.name, switch.profile)}")
    if local := roles.local_servers():
        report.text(f"{', '.join(local)}, behind {roles.edge.name} as well, would always be nearest: not enrolled.")


def _played(scene: Scene, name: str, profile: Profile) -> str:
    """What a switch plays, and what the controller has found of it in the roles that it has."""
    shown = scene.controller.rest("GET", f"/v1/switches/{name}").body
    sentences = [role["sentence"] for role in shown["roles"] if role["wanted"]]
    return f"plays {profile.manufacturer}, {profile.hardware}: it {'; it '.join(sentences)}."


def _counted(network: Network) -> str:
    core = network.legacy_core
    parts = {"switch": network.switches, "link": network.links, "host": network.hosts}
    if core:
        parts["FRR router"] = core.routers
    return ", ".join(counted(len(those), thing) for thing, those in parts.items())


def _prompt(scene: Scene) -> None:
    """Mininet's prompt, until the user leaves it; Ctrl-C ends only what runs there."""
    family, client = scene.family, scene.roles.client
    shown, _ = scene.listing("flows")
    zones = scene.zones[:2]  # of IPv4
    tracker = "".join(f"\n  sh ovs-appctl dpctl/dump-conntrack zone={zone}" for zone in zones)
    print(f"""
The network stays up until you leave this prompt (exit, or Ctrl-D).  For example:
  {client} curl {family.url}
  {client} ping -c 3 {family.service}
  {client} dig @{family.service} {DNS_NAME} TXT
  sh ovs-ofctl -O OpenFlow13 dump-flows {scene.testbed.bridge(scene.roles.edge.name)}{tracker}
and from another terminal:
  .venv/bin/{shown}
and in a browser on this machine, to see all of it as it happens:
  {scene.page}
""")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    scene.testbed.prompt()
    signal.signal(signal.SIGINT, _leave)


def _refuse(reason: str) -> int:
    print(f"demo: {reason}", file=sys.stderr)
    return 1


def _leave(number: int, _: object) -> None:
    """A signal ends the demo in the ordinary way, so that everything is taken down; a second one waits."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    with suppress(OSError):  # the terminal may be gone
        print("\ndemo: interrupted; taking everything down", file=sys.stderr)
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
