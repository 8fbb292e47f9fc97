"""Switches change their master back and forth, under flows: nothing of one's is undone by the other (M20)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from members import decides, follows, members
from support import PORT, TOPOLOGIES, V4, V6, WEB, Running, program, rules_alone, until

pytestmark = rules_alone

SIZE, RATE = 6_000_000, 30_000  # of a transfer: more time than the test takes
KNOWN = 40  # flows of UDP of each family, from the beginning to the end
TURNS = 5


def ask_known(network: Running) -> list[str]:
    """What the known flows of UDP are answered, each by its server."""
    return [
        answer
        for family in (V4, V6)
        for answer in network.run(
            "h2",
            *program("udp_client.py", family.web, PORT, "--first-port", 24000, "--flows", KNOWN),
            *("--apart", "0.002", "--answers", str(KNOWN), "--wait", "10"),
        ).splitlines()
    ]


def binding_rules(network: Running) -> set[str]:
    """Those of arh1's flows, as the switch shows them, without what grows."""
    rules = network.testbed.ofctl("dump-flows", "arh1", "--no-stats").splitlines()
    return {rule.strip() for rule in rules if "set_field:" in rule and "idle_timeout=" in rule}


@contextmanager
def transfers(network: Running) -> Iterator[None]:
    """A TCP transfer of each family to as2 while the block lasts; both arrive whole."""
    words = ["--bytes", SIZE, "--rate", RATE]
    clients = [
        network.testbed.spawn("h1", program("tcp_client.py", family.web, PORT, *words)) for family in (V4, V6)
    ]
    until(lambda: all("connected to as2" in client.output() for client in clients), "the transfers begin")
    yield
    for client in clients:
        assert client.process.poll() is None, client.output()
        client.process.send_signal(signal.SIGUSR1)
    until(lambda: all(client.process.poll() is not None for client in clients), "the transfers end", 60)
    assert [client.output().splitlines()[1] for client in clients] == [f"{SIZE} bytes, checksum right"] * 2


class Turns:
    """Two members of a cluster; ``leader`` is the one that serves."""

    def __init__(self, leader: Running, other: Running) -> None:
        self.leader, self.other = leader, other
        self._holders: dict[str, tuple[str, str]] = {}  # PR1X → the client and the service that have it, ever

    def change(self, first_port: int, freezes: bool) -> None:
        """The leader freezes, and is back when the other one has taken over; or the other one is told to lead."""
        former, leader = self.leader, self.other
        if freezes:
            former.controller.process.send_signal(signal.SIGSTOP)
        else:
            leader.call("POST", f"/v1/cluster/members/{leader.call('GET', '/v1/cluster')['member']}/lead")
        until(lambda: decides(leader.controller), "the other member serves", 30)
        ports = ("--first-port", first_port, "--flows", 10, "--apart", 0.01, "--answers", 10, "--wait", 10)
        for family in (V4, V6):
            assert set(leader.ask("h1", family.web, *ports)) == {"as3 hello"}
        former.controller.process.send_signal(signal.SIGCONT)
        until(lambda: follows(former.controller), "the former leader has found out", 30)
        self.leader, self.other = leader, former

    def check(self, known: list[dict[str, Any]], rules: set[str]) -> None:
        """These flows and their rules are as they were, and no PR1X has two holders."""
        assert binding_rules(self.leader) >= rules
        flows = {flow["number"]: flow for flow in self.leader.flows()}
        for flow in known:
            now = flows[flow["number"]]
            assert (now["translated"], now["server"]) == (flow["translated"], flow["server"])
        for flow in flows.values():
            holder = flow["client"], flow["service"]
            assert self._holders.setdefault(flow["translated"], holder) == holder


@pytest.mark.row("M20", "masters change five times, first by a frozen controller: no flow, PR1X or rule is lost")
def test_what_one_master_has_made_is_kept_by_the_next(tmp_path: Path) -> None:
    with members(TOPOLOGIES / "figure1.yaml", tmp_path) as (testbed, _, pair):
        turns = Turns(*(Running(testbed, member) for member in pair))
        until(lambda: decides(pair[0]), "the first member serves", 30)
        until(lambda: follows(pair[1]), "the second member follows", 30)
        turns.leader.serve_udp("as2", "as3")
        turns.leader.serve_tcp("as2", "as3")
        turns.leader.enrol("web", WEB, [V4.as2, V6.as2])
        with transfers(turns.leader):
            assert ask_known(turns.leader) == ["as2 hello"] * 2 * KNOWN
            turns.leader.enrol("web", WEB, [V4.as3, V6.as3])  # flows in progress keep their server
            for turn in range(TURNS):
                known, rules = turns.leader.flows(), binding_rules(turns.leader)
                assert len(rules) >= 2 * len(known) >= 4 * KNOWN
                turns.change(30000 + 100 * turn, freezes=turn == 0)
                assert ask_known(turns.leader) == ["as2 hello"] * 2 * KNOWN
                turns.check(known, rules)
        for member in pair:
            log = member.log()
            assert "internal error" not in log
            assert 0 < log.count("switch.released") <= 4 * TURNS
