"""Flows in the connection tracker: the controller is killed, and so is ovs-vswitchd, and they go on (M20)."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_switch import run_inside
from restarted_switch import RATE, ask_few_at_once, begin_all, of_udp, pinned
from support import CONNTRACK, PORT, V4, V6, WEB, edited, program, running, until, with_conntrack

from anycast_sdn.store import flow_file

pytestmark = with_conntrack

SIZE = 3_000_000  # bytes: 6 s
MANY = 320  # flows of UDP


@pytest.mark.row("M20", "the controller is killed under flows in the tracker: they go on, and all are known again")
def test_flows_in_the_tracker_are_known_again_when_the_controller_was_killed(tmp_path: Path) -> None:
    with running(edited("figure1.yaml", tmp_path, CONNTRACK), tmp_path) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_udp("as2")
        network.serve_tcp("as2")
        words = ["--bytes", SIZE, "--rate", RATE]
        transfers = [network.testbed.spawn("h1", program("tcp_client.py", each.web, PORT, *words)) for each in (V4, V6)]
        until(lambda: all("connected to as2" in each.output() for each in transfers), "the transfers have begun")
        answers = begin_all(network, MANY)
        before = pinned(network, MANY)
        file, numbers = network.controller.database.with_suffix(".connections"), {flow[0] for flow in before}
        until(lambda: numbers <= flow_file.read(file).by_edge["arh1"].keys(), "all flows are kept")

        network.controller.kill()
        assert ask_few_at_once(network, MANY) == answers  # no controller is needed
        network.controller.start()

        until(lambda: of_udp(network) == before, "all are known, also those that were pinned at the last moment")
        network.wait_for_servers("web")
        assert ask_few_at_once(network, MANY) == answers
        assert network.ask("h1", V4.web, "--source-port", 25000) == ["as2 hello"]
        assert network.flow(V4.h1, 25000)["translated"] not in {flow[4] for flow in before}
        until(lambda: None not in [each.process.poll() for each in transfers], "the transfers end", 60)
        assert [each.output().splitlines()[1] for each in transfers] == [f"{SIZE} bytes, checksum right"] * 2
        assert set(before) <= set(of_udp(network))


@pytest.mark.row("M20", "ovs-vswitchd is killed under flows in its tracker: they go on, also TCP, with the same PR1X")
def test_flows_in_the_tracker_go_on_when_open_vswitch_was_killed(tmp_path: Path) -> None:
    done = run_inside(Path(__file__).with_name("restarted_switch.py"), str(tmp_path), timeout_s=280)
    assert done.stdout.endswith("all went on\n"), done.stdout
