"""ovs-vswitchd is killed and started anew under flows that its connection tracker has: they go on as they were.

A program of its own, for ``own_switch.run_inside``: python restarted_switch.py DIRECTORY
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from own_switch import OwnSwitch
from support import CONNTRACK, PORT, V4, V6, WEB, Running, edited, program, running, until

SIZE, RATE = 1_500_000, 500_000  # bytes, bytes per second: 3 s
FLOWS = 100  # of UDP
AT_ONCE = 40


def of_udp(network: Running) -> list[tuple[object, ...]]:
    members = ("number", "client", "client_port", "protocol", "translated", "server")
    return [tuple(flow[member] for member in members) for flow in network.flows() if flow["protocol"] == "udp"]


def pinned(network: Running, flows: int) -> list[tuple[object, ...]]:
    """These, when the controller knows the servers of all: the switch has answered the clients before it reports."""

    def found() -> list[tuple[object, ...]]:
        known = of_udp(network)
        return known if len(known) == flows and all(server for *_, server in known) else []

    return until(found, "all flows are pinned")


def begin_all(network: Running, flows: int = FLOWS) -> list[str]:
    """Begins so many, a few at a time: of a burst, Open vSwitch drops packets while the controller gets no time."""
    return [each for few, first in slices(flows) for each in until(partial(all_answered, network, few, first), "begun")]


def ask_few_at_once(network: Running, flows: int = FLOWS) -> list[str]:
    """As ``ask_all``, each flow once, with pauses."""
    return [each for few, first in slices(flows) for each in ask_all(network, few, first)]


def slices(flows: int) -> list[tuple[int, int]]:
    """(how many, the first one)."""
    return [(min(AT_ONCE, flows - first), first) for first in range(0, flows, AT_ONCE)]


def all_answered(network: Running, flows: int, first: int) -> list[str]:
    answers = ask_all(network, flows, first)
    return answers if len(answers) == flows else []


def ask_all(network: Running, flows: int = FLOWS, first: int = 0) -> list[str]:
    """The answers to one datagram of each flow, without a burst."""
    options = ("--first-port", 24000 + first, "--flows", flows, "--apart", 0.001, "--answers", flows)
    words = program("udp_client.py", V4.web, PORT, *options)
    return network.run("h2", *words).splitlines()


def main(directory: Path) -> None:
    switch = OwnSwitch()
    with running(edited("figure1.yaml", directory, CONNTRACK), directory) as network:
        network.enrol("web", WEB, [V4.as2, V6.as2])
        network.serve_udp("as2")
        network.serve_tcp("as2")
        words = ["--bytes", SIZE, "--rate", RATE]
        transfers = [network.testbed.spawn("h1", program("tcp_client.py", each.web, PORT, *words)) for each in (V4, V6)]
        until(lambda: all("connected to as2" in each.output() for each in transfers), "the transfers have begun")
        asked = [begin_all(network)]
        before = pinned(network, FLOWS)

        switch.kill()
        switch.start()
        until(lambda: None not in [each.process.poll() for each in transfers], "the transfers end", 60)
        asked.append(ask_all(network))

        assert [each.output().splitlines()[1] for each in transfers] == [f"{SIZE} bytes, checksum right"] * 2
        assert asked == [["as2 hello"] * FLOWS] * 2, asked
        assert of_udp(network) == before
    print("all went on")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
