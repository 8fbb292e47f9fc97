"""Table 9: a member takes over from one that is killed, with very many flows on a switch.

Real Open vSwitch (topologies/figure1.yaml with a larger PRh/k), three members of etcd, two controllers.  The rules of
so many flows are written to the switch, as the product makes them, and adopted by the first member.  While 50 known
flows ask twenty times a second, and a new one begins every 10 ms, that is killed (SIGKILL).  How long is it until a new
flow is answered that was answered by nobody before, and how many packets of known flows are not answered?

The second member has *followed* the flows, or has *just connected*, so that it has to do so first.
"""

from __future__ import annotations

import socket
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "real"))  # members.py

from members import Members, members
from programs import wait_until
from support import PORT, Running, edited, program
from tables import Options, Spread, progress, show

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.openflow import codec
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.rules import Message, PutBinding

FLOWS = (10_000, 50_000)
ROOM = ("203.0.113.0/24", "203.0.0.0/15")
SERVICE, SERVER = "198.18.0.1", "10.2.0.10"
FIRST_ADDRESS = int.from_bytes(packed("203.0.16.0"), "big")
FOLLOWED_PER_S = 1_500  # flows, with a margin
BEFORE_S, AFTER_S = 1.0, 6.0


class Writer:
    """Writes to a bridge beside its controllers."""

    def __init__(self, bridge: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(f"/run/openvswitch/{bridge}.mgmt")
        self._xid = 0
        self._socket.sendall(struct.pack("!BBHI", codec.OPENFLOW_VERSION, 0, 8, 1))

    def set_xid(self, message: Any) -> None:
        self._xid += 1
        message.set_xid(self._xid)

    def write(self, messages: list[Message]) -> None:
        self._socket.sendall(codec.encoder(FIVE_TABLES).encode(self, messages))

    def close(self) -> None:
        """When all is written."""
        barrier = struct.pack("!BBHI", codec.OPENFLOW_VERSION, 20, 8, 0x7A7A7A7A)
        self._socket.sendall(barrier)
        received = b""
        while struct.pack("!BBHI", codec.OPENFLOW_VERSION, 21, 8, 0x7A7A7A7A) not in received:
            received = received[-8:] + self._socket.recv(1 << 16)
        self._socket.close()


def rules_of(number: int) -> list[Message]:
    key = FlowKey(packed(f"10.1.0.{20 + number % 200}"), packed(SERVICE), UDP, 1024 + number // 200, PORT)
    flow = Binding(
        number + 1, key, (FIRST_ADDRESS + number).to_bytes(4, "big"), "web", 0.0, packed(SERVER), Half.BOTH, swept=True
    )
    return [PutBinding(flow, half, 0, 0, False) for half in Half.BOTH.parts]


def fill(network: Members, flows: int) -> None:
    """The first member knows so many flows, and the second one runs not yet."""
    first, second = network.members
    second.kill()
    Running(network.testbed, first).enrol("web", [f"{SERVICE}/32"], [SERVER])
    Running(network.testbed, first).serve_udp("as2")
    first.kill()  # it would delete rules that it does not know
    writer = Writer(network.testbed.bridge("arh1"))
    for begin in range(0, flows, 500):
        writer.write([message for number in range(begin, min(begin + 500, flows)) for message in rules_of(number)])
    writer.close()
    first.start()
    wait_until(lambda: known(first) >= flows, "the first member has adopted the flows", 90)


def known(member: Any) -> int:
    try:
        edges = member.rest("GET", "/v1/edges").body["edges"]
    except (OSError, KeyError, TypeError):
        return 0
    return sum(edge["bindings"] for edge in edges)


def take_over(options: Options, flows: int, follows: bool) -> tuple[float, int]:
    """→ (seconds until a new flow is answered, packets of known flows that were not answered)."""
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        file = edited("figure1.yaml", Path(directory), ROOM)
        with members(file, Path(directory), 2) as network:
            fill(network, flows)
            first, second = network.members
            second.start()
            wait_until(lambda: len(second.switches.connected()) >= 4, "the switches are connected to the second member")
            if follows:
                time.sleep(2 + flows / FOLLOWED_PER_S)
            words = ["--seconds", BEFORE_S + AFTER_S]
            client = network.testbed.spawn("h1", program("new_flows.py", SERVICE, PORT, *words))
            wait_until(lambda: "begin" in client.output(), "known flows are answered", 20)
            time.sleep(BEFORE_S)
            killed = time.monotonic()
            first.kill()
            wait_until(lambda: "known" in client.output(), "the client has ended", AFTER_S + 20)
            return result(client.output(), killed)


def result(output: str, killed: float) -> tuple[float, int]:
    """A flow that was sent before it, and answered at once, was served by the first member."""
    lines = [line.split() for line in output.splitlines()]
    new = [(float(sent), float(answered)) for what, sent, answered in (each for each in lines if len(each) == 3)
           if what == "new"]  # fmt: skip
    served = [answered for sent, answered in new if answered and sent > killed]
    asked, answers = next((int(each[1]), int(each[2])) for each in lines if each[0] == "known")
    return (min(served) - killed if served else float("inf")), asked - answers


def run(options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {}
    rows = []
    for flows in FLOWS[:1] if options.quick else FLOWS:
        for follows in (False, True):
            name = f"{flows} flows, {'followed' if follows else 'just connected'}"
            progress(f"take-over: {name}")
            results = [take_over(options, flows, follows) for _ in range(options.rounds)]
            seconds, lost = Spread.of(each for each, _ in results), sum(each for _, each in results)
            found[name] = {"seconds": list(seconds), "lost": lost}
            rows.append({"flows on the switch": f"{flows:,}", "second member": "has followed" if follows else
                         "has just connected", "new flows again after, s": seconds,
                         "packets of known flows lost": lost})  # fmt: skip
    show("Take-over: the first of two members is killed", rows)
    return found
