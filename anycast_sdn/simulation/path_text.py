"""A packet's path through a switch as text: tables, rules, actions, and what the connection tracker does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from anycast_sdn.core.model import Address, FlowKey, text
from anycast_sdn.description.model import Port
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.pipeline import ROW, kind_of, number_of
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    CT_DNAT,
    CT_ESTABLISHED,
    CT_INVALID,
    CT_NEW,
    CT_RELATED,
    CT_REPLY,
    CT_SNAT,
    OFPP_CONTROLLER,
    OFPP_IN_PORT,
    OFPP_TABLE,
    Action,
    CheckSize,
    Copy,
    DecTtl,
    FinTimeout,
    FlowRule,
    ForgetInPort,
    Load,
    Move,
    Output,
    PopVlan,
    Resubmit,
    SetField,
    ToGroup,
    Track,
    Unread,
    Value,
)
from anycast_sdn.simulation.effects import TraceStep, TrackerStep
from anycast_sdn.simulation.network import SimulatedNetwork

_RESERVED = {OFPP_CONTROLLER: "to the controller", OFPP_TABLE: "through the tables"}
_STATES = {
    CT_NEW: "no connection yet", CT_ESTABLISHED: "known", CT_RELATED: "an error about a known one",
    CT_REPLY: "a reply", CT_INVALID: "invalid", CT_SNAT: "source translated", CT_DNAT: "destination translated",
}  # fmt: skip
_SMALL = 0xFFFF  # no address of a host
_WHOLE = (32, 128)  # bits of an address, and of its register


class PathText:
    """``names``: those of addresses, which may become more."""

    def __init__(self, net: SimulatedNetwork, names: Mapping[Address, str]) -> None:
        self._net = net
        self._names = names

    def steps(self, switch: str, steps: Iterable[TraceStep | TrackerStep]) -> Iterator[str]:
        for step in steps:
            yield from self._tracker(step) if isinstance(step, TrackerStep) else self._step(switch, step)

    def _step(self, switch: str, step: TraceStep) -> Iterator[str]:
        table = f"{f'  {step.table.value} {step.table.name.lower()}':<14} "
        rule = step.rule
        if rule is None:
            yield f"{table}no rule matches: dropped"
            return
        kind = kind_of(rule.cookie)
        assert kind is not None
        row = ROW[kind]
        did = [self.action(switch, action) for action in step.done]
        if rule.goto is not None and not step.end:
            did.append(f"→ {Table(rule.goto).name.lower()}")
        yield f"{table}{row.matches}: {', '.join(did) or 'dropped'}"
        if row.counter:
            yield f"{'':<15}why: {row.why} (counted as {row.counter})"
        if step.end == "meter":
            yield f"{'':<15}dropped: too many packets for the controller (meter {rule.meter})"
        elif step.end == "ttl":
            yield f"{'':<15}dropped: its TTL is used up"
        elif step.before != step.after and step.after is not None:
            yield f"{'':<15}{self.flow(step.after)}"

    def _tracker(self, step: TrackerStep) -> Iterator[str]:
        """'tracker  zone 4: known, label 10.2.0.10 (AS2), source translated → tracked_out', and its translation."""
        found = [what for bit, what in _STATES.items() if step.state & bit]
        found += [f"label {self._label(step.label)}"] * any(step.label)
        onward = "" if step.table is None else f" → {step.table.name.lower()}"
        yield f"{'  tracker':<15}zone {step.zone}: {', '.join(found)}{onward}"
        if step.before != step.after and step.before and step.after:
            yield f"{'':<15}{self.flow(step.before)}"
            yield f"{'':<15}becomes {self.flow(step.after)}"

    def rule(self, rule: FlowRule) -> str:
        kind = kind_of(rule.cookie)
        assert kind is not None
        matches = ", ".join(f"{field.name}={self.value(field.value)}" for field in rule.match)
        sets = ", ".join(self.action("", action) for action in rule.actions)
        idle = f", idle timeout {rule.idle_timeout} s" if rule.idle_timeout else ""
        idle += f", hard timeout {rule.hard_timeout} s" if rule.hard_timeout else ""
        number = f" {number_of(rule.cookie)}" if number_of(rule.cookie) else ""
        return f"{kind.name.lower()}{number} in {Table(rule.table).name.lower()}: {matches} ⇒ {sets}{idle}"

    def action(self, switch: str, action: Action) -> str:
        match action:
            case SetField(name, value):
                return f"{name} := {self.value(value)}"
            case DecTtl():
                return "TTL − 1"
            case PopVlan():
                return "the tag is removed"
            case Output(port) if port in _RESERVED:
                return _RESERVED[port]
            case Output(port):
                return f"out by port {port} to {' or '.join(self._net.peers(Port(switch, port)))}"
            case ToGroup(number):
                slots = Counter(readback.slots(self._net.switches[switch].groups[number]))
                several = f" of {slots.total()} slots, {len(slots)} servers (a real switch may choose another slot)"
                return "select group" + several * (len(slots) > 1)
            case CheckSize(limit):
                return f"larger than {limit} bytes?"
            case FinTimeout():
                return "FIN and RST remembered"
            case Copy():
                return "copy to the controller"
            case Resubmit(table, port):
                name = Table(table).name.lower()
                return f"again → {name}" if port == OFPP_IN_PORT else f"→ {name}, port {port}"
            case ForgetInPort():
                return "in_port := none"
            case Load() | Move() | Track():
                return self._tracking(action)
            case Unread():
                return "something unknown"

    def _tracking(self, action: Load | Move | Track) -> str:
        match action:
            case Load("xxreg2", bytes() as mark):
                return f"xxreg2 := {mark.hex()}"
            case Load(name, value, mask):
                return f"{name}{'' if mask is None else ' in part'} := {self.value(value)}"
            case Move(source, destination, bits, 0, 0) if bits in _WHOLE:
                return f"{destination} := {source}"
            case Move(source, destination, bits, source_bit, destination_bit):
                ends = (destination, destination_bit), (source, source_bit)
                return " := ".join(f"{name}[{bit}..{bit + bits - 1}]" for name, bit in ends)
            case Track(zone, table, commit, _, nat, label, mark):
                does = [f"connection tracker, zone {zone}", *["commit"] * commit]
                if nat and nat.first != nat.last:
                    does.append(f"source {self.value(nat.first)} to {self.value(nat.last)}")
                does += [] if label is None else [f"label := {self._label(label)}"]
                does += [] if mark is None else [f"mark := {mark}"]
                return ", ".join(does) + ("" if table is None else f" → {Table(table).name.lower()}")

    def _label(self, label: bytes) -> str:
        """That of an IPv4 address has only its last 32 bits."""
        return self.value(label if any(label[:12]) else label[12:])

    def value(self, value: Value) -> str:
        if isinstance(value, int):
            address = value.to_bytes(8, "big")[-4:]  # in a register, perhaps
            known = value > _SMALL and address in self._names
            return f"{text(address)} ({self._names[address]})" if known else str(value)
        if len(value) == 6:
            return value.hex(":")
        name = self._names.get(value)
        return f"{text(value)} ({name})" if name else text(value)

    def flow(self, key: FlowKey) -> str:
        """'10.1.0.10:40000 → 198.18.0.1:80/tcp  (H → ANY)'."""
        ends = [self._names.get(address) for address in key[:2]]
        return f"{key}  ({' → '.join(name or '…' for name in ends)})" if any(ends) else str(key)
