"""Ability trials: what a switch accepts of the rules that its roles need, each in its own table and family.

There is a trial for each part of a row (a kind of match, of action, of instruction), and one for a row with all its
parts, since a switch may take each of them and refuse them together.

No packet matches these rules: they are for addresses that no host has, in 240.0.0.0/24 and 100::/64, and those for
ARP and neighbour discovery for a port that the switch has not.  Only a switch that refuses such a port is tried with
one of its own, and sends its neighbours to the controller for as long as it needs to answer.  Rules of trials and
their groups are removed at once.

0.0.0.0 and :: would not do: hosts without an address send from there (DHCP; duplicate address detection, MLD).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, Prefix
from anycast_sdn.openflow.abilities import Ability, Lack, causes, of_family
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.error_words import error_words, may_pass
from anycast_sdn.openflow.frames import ECHO_REQUEST, ICMP_ERRORS, ICMPV6_ERRORS, NEIGHBOUR_SOLICITATION
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.meters import PARTS
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    ETH_ARP,
    OFPP_CONTROLLER,
    PORT_FIELDS,
    VLAN_PRESENT,
    Action,
    AddFlow,
    Bucket,
    DecTtl,
    DeleteCookie,
    DeleteGroup,
    Field,
    FlowRule,
    GroupRule,
    Message,
    Output,
    PopVlan,
    SetField,
    SetGroup,
    ToGroup,
    destination_in,
    eth_type,
    match,
    source_in,
)

_COOKIE = 0xA17C_FF00_0000_0002
_GROUP = 0xFFFF_FE00  # the first of those for trials; the method's own are far below
_MAC = bytes.fromhex("02ac00f7a603")  # nobody's
_NETS = Prefix.parse("240.0.0.0/24"), Prefix.parse("100::/64")  # of no packet (RFC 1112 §4, RFC 6666)
_HOSTS = Prefix.parse("240.0.0.1/32"), Prefix.parse("100::1/128")  # likewise
_NO_PORT = 0xFEFF  # the highest that Open vSwitch takes: no bridge has so many
_NEXT = {
    Table.INGRESS: Table.CLIENT_OUT,
    Table.CLIENT_OUT: Table.SERVICE,
    Table.SERVICE: Table.CLIENT_IN,
    Table.CLIENT_IN: Table.ROUTES,
}
_PUNT = (Output(OFPP_CONTROLLER),)
_NO_TABLE = (
    error_words(ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_BAD_TABLE_ID),
    error_words(ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_BAD_TABLE_ID),
)


class AbilityTrial(NamedTuple):
    """``messages``, in order, are all accepted by a switch that has the ability.

    ``instead``: what is tried if one of them is refused, and decides then.
    """

    ability: Ability
    table: Table | None
    messages: tuple[Message, ...]
    instead: tuple[Message, ...] = ()


def ability_trials(ports: Sequence[int] = (1, 2), no_port: int = _NO_PORT) -> Iterator[AbilityTrial]:
    """``ports``: two of the switch's, or one; ``no_port``: the number of none."""
    yield from _groups(ports)  # before what is sent to one of them
    yield from _plain(ports)
    for v6 in (False, True):
        yield from _matches(v6, ports[0], no_port)
        yield from _actions(v6, ports[0])


@lru_cache(64)  # most switches have the same lowest ports
def _trials_by(ports: tuple[int, ...], no_port: int) -> tuple[AbilityTrial, ...]:
    return tuple(ability_trials(ports, no_port))


def _plain(ports: Sequence[int]) -> Iterator[AbilityTrial]:
    """What concerns both families.  A switch may match one of them alone: what it refuses of one decides the other."""
    of_ipv4, of_ipv6 = _plain_rules(False, ports), _plain_rules(True, ports)
    return (each._replace(instead=other.messages) for each, other in zip(of_ipv4, of_ipv6, strict=True))


def _plain_rules(v6: bool, ports: Sequence[int]) -> Iterator[AbilityTrial]:
    host = _HOSTS[v6]
    nobody = source_in(host), destination_in(host)
    for table, goto in _NEXT.items():  # at the priority of "anything else", which a layout may place elsewhere
        priority = 0 if table is Table.SERVICE else 1
        yield _rule(Ability.GOTO, table, v6, _from(table, v6), goto=goto, priority=priority)
    for table in (Table.INGRESS, Table.CLIENT_OUT, Table.CLIENT_IN, Table.ROUTES):
        yield _rule(Ability.PUNT, table, v6, _from(table, v6), actions=_PUNT)
    yield _rule(Ability.SET_MACS, Table.ROUTES, v6, nobody[1:], actions=(*_macs(), Output(ports[0])))
    yield _rule(Ability.TO_GROUP, Table.SERVICE, v6, nobody[1:], actions=(ToGroup(_GROUP),))
    yield _rule(Ability.MATCH_SCTP, Table.CLIENT_OUT, v6, (*nobody, *_ports(SCTP)))
    tag = Field("vlan_vid", VLAN_PRESENT | 1, VLAN_PRESENT | 1)
    for table in (Table.INGRESS, Table.CLIENT_OUT):
        yield _rule(Ability.MATCH_TAG, table, v6, (nobody[0], tag))
    priority_tag = Field("vlan_vid", VLAN_PRESENT)
    yield _rule(Ability.POP_TAG, Table.INGRESS, v6, (nobody[0], priority_tag), actions=(PopVlan(),))


def _groups(ports: Sequence[int]) -> Iterator[AbilityTrial]:
    def group(number: int, *actions: Action) -> Message:
        outputs = [Output(port) for port in ports[:2]]
        buckets = tuple(Bucket(1, (*actions, output)) for output in outputs)
        return SetGroup(GroupRule(_GROUP + number, buckets), exists=False)

    yield AbilityTrial(Ability.SELECT_GROUP, None, (group(0),))
    yield AbilityTrial(Ability.GROUP_SET_MACS, None, (group(1, *_macs()),))
    yield AbilityTrial(Ability.GROUP_DEC_TTL, None, (group(2, DecTtl()),))
    next_hop = GroupRule(_GROUP + 7, (Bucket(0, (*_macs(), DecTtl(), Output(ports[0]))),), indirect=True)
    yield AbilityTrial(Ability.NEXT_HOP, None, (SetGroup(next_hop, exists=False),))
    for v6 in (False, True):
        new = _addresses(v6)[1]
        yield AbilityTrial(of_family("group_set", v6), None, (group(3 + v6, new),))
        whole = group(5 + v6, new, *_macs(), DecTtl())
        yield AbilityTrial(of_family("group_deliver", v6), None, (whole,))


def _matches(v6: bool, port: int, no_port: int) -> Iterator[AbilityTrial]:
    host, net = _HOSTS[v6], _NETS[v6]
    in_port = Field("in_port", port)
    for table in (*_NEXT, Table.ROUTES):
        yield _rule(of_family("match", v6), table, v6, _from(table, v6))
        yield _rule(of_family("match_prefix", v6), table, v6, _from(table, v6, net))
    for table in (Table.INGRESS, Table.CLIENT_OUT, Table.ROUTES):
        yield _rule(of_family("match_port", v6), table, v6, (in_port, *_from(table, v6, net)))
    nowhere, here = _neighbours(v6, no_port), _neighbours(v6, port)
    yield AbilityTrial(of_family("match_neighbour", v6), Table.INGRESS, (nowhere,), (here,))
    ends = source_in(host), destination_in(host)
    name, protocol = ("icmpv6_type", ICMPV6) if v6 else ("icmpv4_type", ICMP)
    error = min(ICMPV6_ERRORS if v6 else ICMP_ERRORS)
    for table in (Table.CLIENT_OUT, Table.CLIENT_IN):
        flows = [_message(table, v6, (*ends, *_ports(each))) for each in (TCP, UDP)]
        yield AbilityTrial(of_family("match_flow", v6), table, tuple(flows))
        of_icmp = Field("ip_proto", protocol)
        ping = _message(table, v6, (*ends, of_icmp, Field(name, ECHO_REQUEST[protocol])))
        at_port = (in_port,) if table is Table.CLIENT_OUT else ()
        errors = _message(table, v6, (destination_in(net), of_icmp, Field(name, error), *at_port))
        yield AbilityTrial(of_family("match_icmp", v6), table, (ping, errors))
    width = 16 if v6 else 4
    part = Field("ipv6_src" if v6 else "ipv4_src", bytes(width), (PARTS - 1).to_bytes(width, "big"))
    yield _rule(of_family("match_bits", v6), Table.CLIENT_IN, v6, (part, destination_in(net)))


def _actions(v6: bool, port: int) -> Iterator[AbilityTrial]:
    host = _HOSTS[v6]
    ends = source_in(host), destination_in(host)
    for table in (Table.CLIENT_OUT, Table.CLIENT_IN):
        yield _rule(of_family("set", v6), table, v6, ends, actions=_addresses(v6))
        goto = Table.ROUTES if table is Table.CLIENT_IN else _NEXT[table]
        flow = (*ends, *_ports(TCP))
        yield _rule(of_family("translate", v6), table, v6, flow, actions=_addresses(v6), goto=goto)
    onward = DecTtl(), Output(port)
    one_server = (_addresses(v6)[1], *_macs(), *onward)
    yield _rule(of_family("serve", v6), Table.SERVICE, v6, ends[1:], actions=one_server)
    yield _rule(of_family("dec_ttl", v6), Table.ROUTES, v6, ends[1:], actions=onward)
    yield _rule(of_family("deliver", v6), Table.ROUTES, v6, ends[1:], actions=(*_macs(), *onward))


# ------------------------------------------------------------------------------ parts of rules


def _neighbours(v6: bool, port: int) -> Message:
    """What sends ARP, or neighbour solicitations, from this port to the controller."""
    solicitations = (eth_type(True), Field("ip_proto", ICMPV6), Field("icmpv6_type", NEIGHBOUR_SOLICITATION))
    neighbours = solicitations if v6 else (Field("eth_type", ETH_ARP),)
    return AddFlow(FlowRule(Table.INGRESS, 1, match(Field("in_port", port), *neighbours), _COOKIE, _PUNT))


def _message(
    table: Table,
    v6: bool,
    fields: Iterable[Field | None],
    actions: tuple[Action, ...] = (),
    goto: Table | None = None,
    priority: int = 1,
) -> Message:
    return AddFlow(FlowRule(table, priority, match(eth_type(v6), *fields), _COOKIE, actions, goto))


def _rule(
    ability: Ability,
    table: Table,
    v6: bool,
    fields: Iterable[Field | None],
    actions: tuple[Action, ...] = (),
    goto: Table | None = None,
    priority: int = 1,
) -> AbilityTrial:
    return AbilityTrial(ability, table, (_message(table, v6, fields, actions, goto, priority),))


def _from(table: Table, v6: bool = False, net: Prefix | None = None) -> tuple[Field | None, ...]:
    """The addresses that rows of this table match, of hosts or in a prefix."""
    source = _HOSTS[v6] if net is None or table is Table.CLIENT_IN else net
    by_source, by_destination = source_in(source), destination_in(net or _HOSTS[v6])
    if table is Table.INGRESS:
        return (by_source,)
    return (by_destination,) if table in (Table.SERVICE, Table.ROUTES) else (by_source, by_destination)


def _ports(protocol: int) -> tuple[Field, ...]:
    source, destination = PORT_FIELDS[protocol]
    return Field("ip_proto", protocol), Field(source, 1), Field(destination, 1)


def _addresses(v6: bool) -> tuple[SetField, SetField]:
    source, destination = ("ipv6_src", "ipv6_dst") if v6 else ("ipv4_src", "ipv4_dst")
    return SetField(source, _HOSTS[v6].network), SetField(destination, _HOSTS[v6].network)


def _macs() -> tuple[SetField, SetField]:
    return SetField("eth_src", _MAC), SetField("eth_dst", _MAC)


# ------------------------------------------------------------------------------ results


def lacks_of(refused: Mapping[AbilityTrial, str], layout: Layout) -> tuple[Lack, ...]:
    """``refused``: why each of them was, in words → what the switch lacks, without what is explained by other lacks."""
    return causes(_lack(trial, why, layout) for trial, why in refused.items())


def _lack(trial: AbilityTrial, why: str, layout: Layout) -> Lack:
    table = None if trial.table is None else int(layout.table(trial.table))
    return Lack(Ability.TABLE if why in _NO_TABLE else trial.ability, table, why, trial.table)


class AbilityTrials:
    """``done`` is called with what the switch lacks; what it does not answer it is taken to have."""

    def __init__(
        self, switch: Connection, done: Callable[[tuple[Lack, ...]], None], ports: Mapping[int, bool] | None = None
    ) -> None:
        """``ports``: the switch's: is each of them up?  Those that are down are preferred."""
        self._switch = switch
        self._done = done
        ports = ports or {}
        numbers = sorted(number for number in ports if number < ofp.OFPP_MAX)
        numbers.sort(key=ports.__getitem__)
        no_port = next(number for number in range(_NO_PORT, 0, -1) if number not in ports)
        self._trials = _trials_by(tuple(numbers[:2]) or (1, 2), no_port)
        self._refused: dict[AbilityTrial, str] = {}  # why the first of its messages that was refused was
        self._untried: dict[AbilityTrial, str] = {}  # why the switch has not taken it, although it may be able to
        self._left = 0  # so many messages are being tried
        self._may_try_instead = True

    def begin(self) -> None:
        self._try([(message, trial) for trial in self._trials for message in trial.messages])

    def _try(self, attempts: Sequence[tuple[Message, AbilityTrial]]) -> None:
        self._left = len(attempts)
        self._switch.try_all([(message, partial(self._take, trial)) for message, trial in attempts])

    def _take(self, trial: AbilityTrial, taken: bool | None, why: str) -> None:
        if why:
            (self._untried if taken is None and may_pass(why) else self._refused).setdefault(trial, why)
        self._left -= 1
        if self._left:
            return
        again = [trial for trial in self._refused if trial.instead and self._may_try_instead]
        self._may_try_instead = False
        if again:
            self._refused = {trial: why for trial, why in self._refused.items() if trial not in again}
            self._try([(message, trial) for trial in again for message in trial.instead])
            return
        self._switch.send([DeleteCookie(_COOKIE), *self._groups_there()])
        self._refused = {trial: self._refused[trial] for trial in self._trials if trial in self._refused}
        self._done(lacks_of(self._refused, self._switch.layout))

    @property
    def untried(self) -> tuple[Lack, ...]:
        """What was not found out, since the switch has not taken it for a reason that may pass."""
        layout = self._switch.layout
        refused = lacks_of(self._refused, layout)
        return tuple(lack for lack in causes((*refused, *lacks_of(self._untried, layout))) if lack not in refused)

    def _groups_there(self) -> Iterator[Message]:
        """What deletes the groups that were accepted: a switch without groups would refuse that, too."""
        for trial in self._trials:
            for message in () if trial in self._refused else trial.messages:
                if isinstance(message, SetGroup):
                    yield DeleteGroup(message.group.number)
