"""A switch may change the order of messages: where a packet needs a rule, a barrier stands between (OF 1.3.5 §6.1)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scenes import SERVICE, ask, managed, payloads

from anycast_sdn.openflow.rules import OFPP_TABLE, Barrier, Output, PacketOut
from anycast_sdn.simulation.observations import Sent


def sent_to_arh1(net):
    sent = [record for record in net.observations.journal if isinstance(record, Sent)]
    return [record.message for record in sent if record.switch == "arh1"]


def messages_to_arh1(net, open_vswitch):
    """The messages to arh1 that the first packets of a flow lead to."""
    for name in net.switches:
        here = managed(net, name)
        here.features = replace(here.features, open_vswitch=open_vswitch)
    net.observations.journal = []
    ask(net, service=SERVICE[False], payload=b"first")
    ask(net, port=40001, service=SERVICE[True], payload=b"second")
    return sent_to_arh1(net)


def unprotected(messages):
    """Packets through the pipeline that come after a change, with no barrier between."""
    found, changed = [], False
    for message in messages:
        if isinstance(message, PacketOut):
            if changed and message.actions == (Output(OFPP_TABLE),):
                found.append(message)
        else:
            changed = not isinstance(message, Barrier)
    return found


@pytest.mark.parametrize("open_vswitch", [True, False])
def test_a_barrier_stands_between_a_rule_and_the_packet_that_needs_it_but_on_open_vswitch(build, open_vswitch):
    net = build("figure1", "as2")
    messages = messages_to_arh1(net, open_vswitch)
    assert bool(unprotected(messages)) is open_vswitch
    assert any(isinstance(message, Barrier) for message in messages) is not open_vswitch
    assert payloads(net.host("h1").received)[-2:] == [b"first", b"second"]


def test_packets_that_wait_for_a_host_come_after_its_rule_and_a_barrier(build):
    net = build("figure1", "as2")
    here = managed(net, "arh1")
    here.features = replace(here.features, open_vswitch=False)
    h2 = net.host("h2").address(False)
    net.set_port(net.host("h2").port, up=False)
    net.settle()
    net.set_port(net.host("h2").port, up=True)
    net.settle()
    net.observations.journal = []
    net.send("as2", net.host("as2").packet(h2, 17, 5000, 5001, payload=b"waits"))
    net.advance(2)
    messages = sent_to_arh1(net)
    assert any(isinstance(message, PacketOut) and message.actions == (Output(OFPP_TABLE),) for message in messages)
    assert not unprotected(messages)
    assert payloads(net.host("h2").received)[-1] == b"waits"
