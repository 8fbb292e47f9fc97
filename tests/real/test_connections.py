"""Switches that misbehave as switches: silent ones, ones that do not read, ones that the network does not have.

Two emulated switches and the controller as a process, over the loopback interface; no testbed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from emulated import EmulatedSwitch, Wrong
from programs import ControllerProcess, wait_until
from support import SLACK_S

from anycast_sdn.core.model import ICMP, FlowKey, packed
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.row import Kind

NETWORK = """
name: two
anycast_prefixes: [198.18.0.0/16]
switches:
  - {name: one, dpid: 1, client_edge: {translation_prefixes: [100.64.0.0/16]}}
  - {name: other, dpid: 2, server_edge: true}
links: [{ends: [one:10, other:10]}]
subnets:
  - {name: n1, edge: one, side: client, gateways: [10.1.0.1/16], ports: [1]}
  - {name: n2, edge: other, side: server, gateways: [10.2.0.1/16], ports: [1]}
"""


class Served:
    """An emulated switch with a thread that serves it until it is told to fall silent."""

    def __init__(self, dpid: int, port: int) -> None:
        self.switch = EmulatedSwitch(dpid, [1, 10])
        self.switch.connect(port, time.monotonic() + 10)
        self.switch.socket.settimeout(0.1)
        self._silent = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._silent.is_set():
            try:
                self.switch.receive(time.monotonic())
            except TimeoutError:
                continue
            except (Wrong, OSError):  # the controller has closed the connection
                return

    def fall_silent(self) -> None:
        """Neither reads nor writes any more; the connection stays."""
        self._silent.set()
        self._thread.join()

    def close(self) -> None:
        self.fall_silent()
        self.switch.close()


class Scene(NamedTuple):
    controller: ControllerProcess
    one: Served

    def is_connected(self, name: str) -> bool:
        return bool(self.controller.rest("GET", "/healthz").body["switches"][name]["connected"])

    def connect(self, dpid: int) -> contextlib.closing[Served]:
        return contextlib.closing(Served(dpid, self.controller.openflow_port))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    file = tmp_path / "two.yaml"
    file.write_text(NETWORK)
    controller = ControllerProcess(file, tmp_path)
    switches: list[Served] = []

    def connect() -> None:  # beside ``start``, which waits for the switches
        switches.extend(Served(dpid, controller.openflow_port) for dpid in (1, 2))

    connecting = threading.Thread(target=connect, daemon=True)
    connecting.start()
    with controller:
        connecting.join()
        yield Scene(controller, switches[0])
    for switch in switches:
        switch.close()


@pytest.mark.row("M29", "a switch that falls silent is noticed within 6 s; the other stays", on="emulated switches")
def test_a_silent_switch_is_noticed(scene: Scene) -> None:
    scene.one.fall_silent()
    began = time.monotonic()
    wait_until(lambda: not scene.is_connected("one"), "the silent switch is noticed", 10)
    assert time.monotonic() - began < 6 + SLACK_S
    assert scene.is_connected("other")
    health = scene.controller.rest("GET", "/healthz")
    assert (health.status, health.body["status"]) == (503, "degraded")
    (lost,) = [reason for reason in health.body["reasons"] if reason["code"] == "switch.lost"]
    assert (lost["subject"], lost["detail"]) == (
        {"kind": "switch", "name": "one"}, "Switch one has lost the controller.")  # fmt: skip
    assert "waiting for 2 switches: one (datapath id 0x1), other (datapath id 0x2)" in scene.controller.log()
    wait_until(lambda: "all 2 switches are connected" in scene.controller.log(), "the log says so", 5)


@pytest.mark.row("M29", "a switch that stops reading is disconnected, and delays nobody", on="emulated switches")
def test_a_switch_that_does_not_read_delays_nobody(scene: Scene) -> None:
    scene.one.fall_silent()
    switch = scene.one.switch
    # Pings of the gateway: each is answered by a packet-out that nobody takes.
    key = FlowKey(packed("10.1.0.9"), packed("10.1.0.1"), ICMP, 0, 0)
    ping = builders.ip_packet(key, eth_src=b"\2\0\0\0\0\1", eth_dst=b"\2\0\0\0\0\2", payload=bytes(1200), icmp_type=8)
    message = switch._packet_in(Kind.GATEWAY, 1, ping)
    switch.socket.settimeout(1)
    slowest = 0.0
    with contextlib.suppress(OSError):  # until the controller has closed the connection, or takes no more
        for _ in range(200):
            switch.socket.sendall(message * 50)
            asked = time.monotonic()
            assert scene.is_connected("other")
            slowest = max(slowest, time.monotonic() - asked)
    wait_until(lambda: not scene.is_connected("one"), "it is disconnected", 15)
    assert scene.is_connected("other")
    assert slowest < SLACK_S  # who waits for that switch waits until it is given up


@pytest.mark.row("M28", "a switch that is not in the network file is turned away, by name", on="emulated switches")
def test_a_switch_that_the_network_file_does_not_have_is_turned_away(scene: Scene) -> None:
    with scene.connect(dpid=77):
        told = "switch 000000000000004d is not in the network file"
        wait_until(lambda: told in scene.controller.log(), "it is turned away", 10)
    assert scene.is_connected("one")


@pytest.mark.row("M29", "a second switch with a datapath id that is in use is refused", on="emulated switches")
def test_a_second_switch_with_a_datapath_id_in_use_is_refused(scene: Scene) -> None:
    with scene.connect(dpid=1) as second:
        wait_until(lambda: "is connected already, and answers" in scene.controller.log(), "it is refused", 10)
        assert not second.switch.introduced
    assert "is gone" not in scene.controller.log()
    assert scene.is_connected("one")


@pytest.mark.row("M29", "a switch connects again: served when its older connection is dead", on="emulated switches")
def test_a_switch_that_connects_again_is_served_when_its_older_connection_is_dead(scene: Scene) -> None:
    scene.one.fall_silent()
    with scene.connect(dpid=1) as again:
        wait_until(lambda: "has connected again from" in scene.controller.log(), "the newer connection is taken", 10)
        wait_until(lambda: again.switch.rules.has(Kind.FIRST_PACKET), "it has its rules", 10)
        wait_until(lambda: scene.is_connected("one"), "it is served", 10)
