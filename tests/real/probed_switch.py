"""``anycast-sdn probe`` at an Open vSwitch that serves another program, which has rules, groups and a meter there.

A program of its own, for ``own_switch.run_inside``: python probed_switch.py DIRECTORY.  It prints what it has seen, as
JSON.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from own_switch import OwnSwitch
from programs import wait_until

from anycast_sdn.trust.pki import Pki

BRIDGE, OTHER, PROBE = "br0", "tcp:127.0.0.1:6699", 6653
PROXY = Path(__file__).parents[2] / "mininet" / "switch_proxy.py"
RULES = (
    "table=0,priority=100,ip,nw_src=10.0.0.0/8,actions=group:1",
    "table=0,priority=0,actions=NORMAL",
    "table=0,priority=40000,udp,actions=output:1",  # it would take packets of trials
    "table=4,priority=1,ip,nw_dst=0.0.0.0,actions=output:2",  # in the place of a trial's
    "table=1,priority=1,ipv6,ipv6_src=::,ipv6_dst=::,actions=drop",  # likewise
    "cookie=0xa17cff0000000002,table=4,priority=7,ip,actions=drop",  # with the cookie of trials
    "cookie=0xa17c010000000002,table=1,priority=9,ipv6,actions=drop",  # with a controller's
)
GROUPS = (
    "group_id=1,type=select,bucket=output:1,bucket=output:2",
    "group_id=4294966784,type=indirect,bucket=output:1",  # with the number of a trial's
)


def ofctl(*words: str) -> list[str]:
    return do("ovs-ofctl", "-O", "OpenFlow13", *words).splitlines()


def do(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done
    return done.stdout


def held() -> list[str]:
    """What the switch holds, without the order that it has in its tables of hashes."""
    return sorted(line for kind in ("groups", "meters") for line in ofctl(f"dump-{kind}", BRIDGE)) + sorted(
        ofctl("--no-stats", "dump-flows", BRIDGE)
    )


def set_up() -> None:
    do("ovs-vsctl", "add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev", "protocols=OpenFlow13",
       "fail-mode=secure", "--", "set-controller", BRIDGE, OTHER)  # fmt: skip
    for port in ("t1", "t2"):
        do("ip", "tuntap", "add", port, "mode", "tap")
        do("ovs-vsctl", "add-port", BRIDGE, port)
    for group in GROUPS:
        ofctl("add-group", BRIDGE, group)
    ofctl("add-meter", BRIDGE, "meter=5,kbps,band=type=drop,rate=100")
    for rule in RULES:
        ofctl("add-flow", BRIDGE, rule)


def controllers(*ports: int, transport: str = "tcp") -> None:
    do("ovs-vsctl", "set-controller", BRIDGE, OTHER, *(f"{transport}:127.0.0.1:{port}" for port in ports))


@contextmanager
def probing(*options: str) -> Iterator[subprocess.Popen[str]]:
    words = (sys.executable, "-m", "anycast_sdn", "probe", "--openflow", f"127.0.0.1:{PROBE}", *options)
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()


def probed(*options: str, port: int = PROBE, transport: str = "tcp", wait_s: int = 20) -> dict[str, Any]:
    with probing("--timeout", str(wait_s), *options) as process:
        assert process.stderr
        first = process.stderr.readline()
        controllers(port, transport=transport)
        out, said = process.communicate(timeout=60)
        controllers()
        return {"status": process.returncode, "out": out, "said": first + said}


def by_tls(directory: Path) -> Iterator[tuple[str, Any]]:
    own, other = Pki(directory / "own"), Pki(directory / "other")
    for pki in (own, other):
        pki.make_ca("ca")
        pki.make(pki.controller(), "controller", is_server=True)
        pki.make(pki.switch("host1"), "host1", is_server=False)
    controller = own.controller()
    options = ("--openflow-tls", *map(str, (controller.certificate, controller.key, own.ca.certificate)))
    for name, pki in (("by TLS", own), ("of another CA", other)):
        shown = pki.switch("host1")
        do("ovs-vsctl", "set-ssl", *map(str, (shown.key, shown.certificate, own.ca.certificate)))
        yield name, probed("--json", *options, transport="ssl", wait_s=20 if pki is own else 4)
        yield f"after {name}", held()
    yield "plain", probed("--json", *options, wait_s=4)


def interrupted(port: int) -> dict[str, Any]:
    """Ctrl-C while rules of trials are there.  ``port``: of a switch that takes 2 s to confirm them."""
    with probing("--timeout", "20") as process:
        assert process.stderr
        said = process.stderr.readline()
        controllers(port)
        while "trying what it accepts" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        wait_until(lambda: len(ofctl("dump-flows", BRIDGE)) > len(RULES), "there are rules of trials")
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=30)
        controllers()
        return {"status": process.returncode, "out": out, "said": said + rest}


@contextmanager
def played(profile: Path) -> Iterator[int]:
    """A proxy that makes the switch play this profile → its port."""
    words = (sys.executable, str(PROXY), str(profile), str(PROBE))
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(10)


def with_version(version: str) -> dict[str, Any]:
    do("ovs-vsctl", "set", "bridge", BRIDGE, f"protocols={version}")
    with probing("--timeout", "4") as process:
        controllers(PROBE)
        out, said = process.communicate(timeout=30)
        controllers()
    do("ovs-vsctl", "set", "bridge", BRIDGE, "protocols=OpenFlow13")
    return {"status": process.returncode, "out": out, "said": said}


def seen(directory: Path) -> Iterator[tuple[str, Any]]:
    yield "before", held()
    yield "judged", probed("--json")
    yield "after", held()
    yield "packets", [line for line in ofctl("dump-flows", BRIDGE, "udp") if "priority=40000" in line]
    yield "read", probed()
    yield from by_tls(directory)
    slow = directory / "slow.yaml"
    slow.write_text("late: [{message: barrier_request, seconds: 2}]\n")
    with played(slow) as port:
        yield "interrupted", interrupted(port)
    yield "after the interruption", held()
    for name, profile in PROFILES.items():
        file = directory / f"{name}.yaml"
        file.write_text(profile)
        with played(file) as port:
            yield name, probed("--json", port=port)
        yield f"after {name}", held()
    yield "old", with_version("OpenFlow10")
    with probing("--timeout", "0.2", "--dpid", "0x99") as process:
        out, said = process.communicate(timeout=30)
    yield "none", {"status": process.returncode, "out": out, "said": said}


PROFILES = {
    "lacking": "refuse: [{actions: [dec_nw_ttl]}]\n",
    "without IPv6": "refuse: [{set: [ipv6_src, ipv6_dst]}]\n",
    "crashing": "close: [{groups: [select]}]\n",
}


def main(directory: Path) -> None:
    OwnSwitch()
    set_up()
    print(json.dumps(dict(seen(directory))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
