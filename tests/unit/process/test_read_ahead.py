"""A controller follows the flows of a switch before it becomes its master; without sockets."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.core.bindings import Binding, Half
from anycast_sdn.core.model import UDP, FlowKey, packed
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.rules import FlowRule, PutBinding
from tests.unit.openflow.test_codec import as_flow_stats
from tests.unit.openflow.test_flow_monitor import PAUSED, RESUMED, told, update
from tests.unit.process.test_roles import ARH1, Controller, End, Switch
from tests.unit.switch_end import multipart

SERVER = packed("10.2.0.10")
MANY = 120  # flows: several slices


def rules_of(*numbers: int) -> list[FlowRule]:
    found = []
    for number in numbers:
        key = FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), UDP, 40000 + number, 53)
        flow = Binding(number, key, packed(f"203.0.113.{number + 1}"), "web", 0.0, SERVER)
        found += [entries.binding(PutBinding(flow, half, 300, 0, False)) for half in Half.BOTH.parts]
    return found


class OpenVSwitch(End):
    """It holds rules of flows, and tells of them and of changes, if it is asked to."""

    def __init__(self, controller: Controller, switch: Switch, rules: Iterable[FlowRule] = ()) -> None:
        self.rules = {rule.cookie: rule for rule in rules}
        self.followed = False
        self.listed: list[tuple[int, int]] = []  # cookie and mask of the questions for rules
        super().__init__(controller.app, switch)

    def _process(self, kind: int, xid: int, data: bytes) -> None:
        if kind == ofp.OFPT_MULTIPART_REQUEST and data[8:10] == b"\xff\xff":
            self.asked.append(kind)
            if int.from_bytes(data[28:30], "big") & 1:  # also of those that there are
                self.followed = True
                self.say(told(*map(update, self.rules.values()), xid=xid))
        elif kind == ofp.OFPT_EXPERIMENTER:
            self.followed = False
        elif kind == ofp.OFPT_MULTIPART_REQUEST and data[8:10] == ofp.OFPMP_FLOW.to_bytes(2, "big"):
            cookie, mask = struct.unpack_from("!QQ", data, 32)
            self.listed.append((cookie, mask))
            covered = [rule for rule in self.rules.values() if rule.cookie & mask == cookie & mask]
            self.say(multipart(ofp.OFPMP_FLOW, b"".join(map(as_flow_stats, covered)), xid))
        else:
            super()._process(kind, xid, data)

    def _list(self, kind: int, xid: int) -> None:
        if kind == ofp.OFPMP_DESC:
            self.say(multipart(kind, b"Nicira".ljust(256, b"\0") + b"Open vSwitch".ljust(800, b"\0"), xid))
        else:
            super()._list(kind, xid)

    def install(self, *rules: FlowRule) -> None:
        """The other controller does."""
        self.rules |= {rule.cookie: rule for rule in rules}
        self.say(told(*map(update, rules)))

    def delete(self, *rules: FlowRule) -> None:
        for rule in rules:
            del self.rules[rule.cookie]
        self.say(told(*(update(rule, 1) for rule in rules)))


def follower(*numbers: int) -> tuple[Controller, OpenVSwitch]:
    """It is the slave of a switch with these flows, and has followed nothing yet."""
    one = Controller()
    end = OpenVSwitch(one, Switch(), rules_of(*numbers))
    one.work(end)
    assert end.followed
    return one, end


def become_master(one: Controller, end: OpenVSwitch) -> None:
    """The fragment that the switch is to send back does not come in time."""
    one.cluster.become_master(5)
    for quarter in range(8):
        one.work(end)
        end.tick(quarter / 4)


def flows(one: Controller) -> list[int]:
    return [flow.number for flow in one.app.controller.switches[ARH1].engine.flows]


def asks_for_flows(end: OpenVSwitch) -> bool:
    return (0, 0) in end.listed


def test_a_slave_follows_in_turns() -> None:
    one, end = follower(*range(1, MANY + 1))
    ahead = one.app.connections._ahead
    assert flows(one) == []
    for _ in range(100):
        ahead._step_all()
    assert flows(one) == [*range(1, MANY + 1)]
    end.install(*rules_of(MANY + 1))
    end.delete(*rules_of(3))
    ahead._step_all()
    assert flows(one) == [1, 2, *range(4, MANY + 2)]


def test_who_becomes_the_master_asks_for_no_rules_of_flows() -> None:
    one, end = follower(*range(1, MANY + 1))
    end.install(*rules_of(MANY + 1))
    become_master(one, end)
    switch = one.app.controller.switches[ARH1]
    assert switch.synchronised
    assert flows(one) == [*range(1, MANY + 2)]
    assert all(flow.installed is Half.BOTH for flow in switch.engine.flows)
    assert not asks_for_flows(end)
    assert not end.followed


def test_a_switch_that_does_not_tell_in_time_what_it_has_held_back_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anycast_sdn.process.read_ahead.PAUSED_S", 0.01)
    one, end = follower(1, 2)
    end.say(PAUSED)
    end.rules |= {rule.cookie: rule for rule in rules_of(3)}
    become_master(one, end)
    assert asks_for_flows(end)
    assert flows(one) == [1, 2, 3]


def test_a_switch_that_goes_on_in_time_is_not_read() -> None:
    one, end = follower(1, 2)
    end.say(PAUSED + told(*map(update, rules_of(3))) + RESUMED)
    end.rules |= {rule.cookie: rule for rule in rules_of(3)}
    become_master(one, end)
    assert flows(one) == [1, 2, 3]
    assert not asks_for_flows(end)


def test_what_cannot_be_followed_is_read() -> None:
    """Two flows that have the same address, for example; then nothing of what was followed is used."""
    one, end = follower(1, 2)
    twin = Binding(8, FlowKey(packed("10.1.0.11"), packed("198.18.0.1"), UDP, 1, 53), packed("203.0.113.8"), "web", 0.0)
    end.install(*rules_of(7), entries.binding(PutBinding(twin, Half.OUT, 300, 0, False)))
    become_master(one, end)
    assert asks_for_flows(end)
    assert flows(one) == [1, 2, 7]
    assert one.app.controller.switches[ARH1].synchronised


def test_a_switch_without_flow_monitors_is_read() -> None:
    one = Controller()
    end = End(one.app, Switch())
    one.work(end)
    one.cluster.become_master(5)
    one.work(end)
    assert one.app.controller.switches[ARH1].synchronised


def test_who_loses_a_switch_follows_it_again() -> None:
    one, end = follower(1, 2)
    become_master(one, end)
    one.cluster.become_slave()
    one.work(end)
    assert end.followed
    assert flows(one) == []
    one.app.connections._ahead._step_all()
    assert flows(one) == [1, 2]


def test_nothing_is_followed_after_the_connection_has_ended() -> None:
    one, end = follower(1)
    end.close("it was enough")
    assert not one.app.connections._ahead._followed
