"""The switches of a small network, each with its engine, and packets of a flow."""

from __future__ import annotations

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import UDP, FlowKey, Prefix, packed
from anycast_sdn.description import reading
from anycast_sdn.engines.engine import Engine
from anycast_sdn.openflow import builders, entries
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.rules import DeleteFlow, FlowRule, Message, PutBinding, RemoveBinding
from tests.unit.network_files import VALID

KEY = FlowKey(packed("10.1.0.10"), packed("198.18.0.1"), UDP, 40000, 53)
SERVER, OTHER = packed("10.2.0.10"), packed("10.2.0.11")
POOL = Prefix.parse("203.0.113.0/24")
MAC = bytes.fromhex("020000000a01")
FEATURES = Features(tcp_flags=True, fin_timeout=True)
CLIENT_EDGE, CORE, SERVER_EDGE = 1, 2, 3  # datapath ids


class Ascending:
    def randrange(self, stop: int, /) -> int:
        return 0


NETWORK = reading.parse(VALID, "net.yaml")
GROUPS = Groups({group.name: group for group in NETWORK.groups})


def controller() -> Controller:
    return Controller(NETWORK, GROUPS, Ascending())


def engine(dpid: int = CLIENT_EDGE, under: Controller | None = None) -> Engine:
    """A new one, whose switch was read and held nothing."""
    made = (under or controller()).switches[dpid].engine
    read(made)
    return made


def read(one: Engine) -> None:
    """Its switch has connected, and holds nothing."""
    reading = one.begin_reading(FEATURES, begins=True, wiped=False)
    while reading.step(GROUPS, 1, {}):
        pass


def packet(key: FlowKey = KEY) -> bytes:
    return builders.ip_packet(key, eth_src=MAC, eth_dst=bytes(6))


def reply(translated: bytes, server: bytes = SERVER, key: FlowKey = KEY) -> bytes:
    return packet(FlowKey(server, translated, key.protocol, key.destination_port, key.source_port))


def held(messages: list[Message], before: list[FlowRule] | None = None) -> list[FlowRule]:
    """The rules of flows on a switch that had ``before``, and got these messages."""
    rules = {rule.key: rule for rule in before or ()}
    for message in messages:
        if isinstance(message, PutBinding):
            rule = entries.binding(message)
            rules[rule.key] = rule
        elif isinstance(message, RemoveBinding):
            rules.pop(entries.binding(message.put).key, None)
        elif isinstance(message, DeleteFlow):
            rules.pop(message.rule.key, None)
    return list(rules.values())
