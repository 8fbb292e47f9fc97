"""What the leader knows of flows whose master is another controller."""

from __future__ import annotations

import json
import random

import pytest

from anycast_sdn.control import mirror
from anycast_sdn.control.mirror import BadBatch, Mirror
from anycast_sdn.core.bindings import NOT_KNOWN, Binding, BindingTable, Half
from anycast_sdn.core.flow_events import EndedBy
from anycast_sdn.core.model import AS_THE_EDGE, TCP, FlowKey, GroupValidity, packed
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow.row import Kind
from tests.unit.engines import samples
from tests.unit.engines.samples import KEY, SERVER

AGES = 1000.0  # what the clock of the leader is ahead
V6 = FlowKey(packed("2001:db8:1::10"), packed("2001:db8:f::1"), TCP, 40000, 443)


def flow(number: int, **changes) -> Binding:
    low = number % 256
    return Binding(number, KEY._replace(source_port=low), bytes((203, 0, 113, low)), "dns", 5.0)._replace(**changes)


class Both:
    """The flows of a master, and the leader's mirror of them."""

    def __init__(self) -> None:
        self.master = BindingTable()
        self.leader: Engine = samples.engine()
        self.mirror = Mirror(self.leader)
        self.mirror.begin()
        self.master.watch(True)

    def send(self, now: float = 6.0) -> None:
        numbers = list(self.master.pop_touched())
        flows = {number: self.master.by_number(number) for number in numbers}
        there, ended = [each for each in flows.values() if each], [each for each in flows if not flows[each]]
        self.mirror.take(json.loads(json.dumps(mirror.batch(there, ended, now))), now + AGES)

    def known(self) -> list[Binding]:
        return [each._replace(since=each.since - AGES) for each in self.leader.flows]


def test_the_leader_knows_flows_as_their_master_does():
    both = Both()
    for each in (
        flow(1),
        flow(2, server=SERVER, installed=Half.BOTH, reply_s=0.0123, choice=7, port=3),
        flow(3, server=SERVER, installed=Half.IN, closed=Half.OUT, swept=True, reply_s=NOT_KNOWN),
        flow(4, server=SERVER, reset=True, closed=Half.BOTH, translated_port=5060),
        flow(5 << 32, key=KEY.whole, validity=GroupValidity(udp_s=17)),
        flow(6, key=V6, translated=packed("2001:db8:64::6"), group="web", server=packed("2001:db8:2::10")),
    ):
        both.master.put(each)
    both.send()
    assert both.known() == list(both.master)
    assert both.leader.flows.pinned_to(SERVER) == 3
    assert [each.validity for each in both.leader.flows].count(AS_THE_EDGE) == 5


def test_what_becomes_of_flows_is_counted_as_at_their_master():
    draw, both = random.Random(3), Both()
    for _ in range(60):
        for _ in range(draw.randrange(20)):
            number = draw.randrange(1, 40)
            if (there := both.master.by_number(number)) and draw.random() < 0.4:
                both.master.remove(there)
            else:
                both.master.put(flow(number, server=draw.choice([None, SERVER]), installed=draw.choice(list(Half))))
        both.send()
        assert both.known() == list(both.master)
        assert both.leader.flows.in_group("dns") == both.master.in_group("dns")
        assert both.leader.flows.rules == both.master.rules
        assert len(both.leader.flows) == len(both.master)


def test_a_flow_keeps_the_time_of_its_beginning():
    both = Both()
    both.master.put(flow(1))
    both.send(6.0)
    both.master.put(flow(1, server=SERVER))
    both.send(7.5)  # its way took longer
    assert both.known() == list(both.master)


def test_while_all_flows_are_sent_anew_those_that_were_known_count():
    both = Both()
    for number in (1, 2, 3):
        both.master.put(flow(number, server=SERVER))
    both.send()
    both.mirror.whole()
    assert both.mirror.is_whole
    both.mirror.end()
    assert not both.mirror.is_whole
    both.mirror.begin()
    both.master.remove(flow(1))
    both.master.put(flow(2, server=SERVER))
    both.master.pop_touched()  # this line was lost
    both.master.put(flow(2, server=SERVER))
    both.master.put(flow(3, server=SERVER))
    both.send()
    assert both.leader.flows.pinned_to(SERVER) == 3
    both.mirror.whole()
    assert both.known() == list(both.master)


def test_a_flow_takes_the_place_of_one_whose_end_was_not_sent():
    both = Both()
    both.master.put(flow(1))
    both.master.put(flow(2))
    both.send()
    other = KEY._replace(source=packed("10.1.0.77"))
    both.master.remove(flow(1))
    both.master.remove(flow(2))
    both.master.pop_touched()
    both.master.put(flow(11, key=flow(1).key))
    both.master.put(flow(12, key=other, translated=flow(2).translated))
    both.send()
    assert both.known() == list(both.master)


@pytest.mark.parametrize(
    "sent",
    [[], [[], "", ""], [[], "", "AAAA", ""], [[], "!", "", ""], [["dns"], "", "", ""], 7, None, [[], 1, 2, 3]],
)
def test_what_is_no_batch_is_refused_and_changes_nothing(sent):
    both = Both()
    with pytest.raises(BadBatch):
        both.mirror.take(sent, 0.0)
    assert not len(both.leader.flows)


def test_statistics_are_as_the_master_has_told():
    engine = samples.engine()
    leader = Mirror(samples.engine())
    here = engine.statistics(1.0)._replace(closed={EndedBy.IDLE: 3}, opened=4, rules=8)
    leader.told(json.loads(json.dumps(mirror.shown(here))))
    assert leader.statistics == here
    with pytest.raises(BadBatch):
        leader.told([{"ipv4": "many"}])


def test_a_controller_that_becomes_the_master_of_the_flows_finds_them_on_the_switch():
    """What it was told of them says nothing of which addresses are free."""
    engine = samples.engine()
    mirrored = Mirror(engine)
    mirrored.begin()
    mirrored.take(mirror.batch([flow(1, server=SERVER)], [], 6.0), 6.0)
    engine.forget_flows()
    assert not len(engine.flows)
    assert not engine.flows.pinned_to(SERVER)
    assert engine.flows.holders.of(flow(1).translated) is None
    samples.read(engine)
    assert samples.held(engine.packet_handlers[Kind.FIRST_PACKET](4, samples.packet(), samples.GROUPS, 7.0).messages)
