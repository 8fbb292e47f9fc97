"""`anycast-sdn trace`: what would happen to a flow, switch by switch and table by table.

Three packets of the flow are sent through a simulated network made from the network file: the first packet, the
server's reply, and the second packet, which no longer reaches the controller.  Hosts that the file does not name (the
source, the servers, a unicast destination) are assumed to exist in the subnets of their addresses.

Addresses carry the document's names: H the client, ANY the service, PR1X the translation address, and
AS2 the server as2.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import (
    ICMP,
    ICMPV6,
    PROTOCOL_NAMES,
    SCTP,
    TCP,
    UDP,
    Address,
    AnycastGroup,
    ConfigurationError,
    FlowKey,
    Gateway,
    Prefix,
    Server,
    endpoint,
    packed,
    text,
)
from anycast_sdn.core.tracked_address import PEER
from anycast_sdn.description import enrolment
from anycast_sdn.description.model import Host, Network
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.frames import ICMP_ERRORS, ICMPV6_ERRORS, IpPacket, parse_ip
from anycast_sdn.openflow.rules import (
    ETH_ARP,
    OFPP_CONTROLLER,
    TCP_ACK,
    TCP_RST,
    AddFlow,
    BeginConnection,
    EndConnection,
    PacketOut,
    PutBinding,
)
from anycast_sdn.simulation.network import SimulatedNetwork
from anycast_sdn.simulation.observations import Arrived, Passed, Record, Sent
from anycast_sdn.simulation.path_text import PathText

_PORTED = (TCP, UDP, SCTP)
_SOURCE_PORT = 40000  # when none is given
_PROTOCOLS = {name: number for number, name in PROTOCOL_NAMES.items()}


def trace(network: Network, source_text: str, destination_text: str, group_texts: Sequence[str] = ()) -> str:
    """The paths of a flow's packets, as text.

    ``source_text``: ``10.1.0.10:40000`` or ``10.1.0.10``; ``destination_text``: ``198.18.0.1:80/tcp``,
    ``198.18.0.1/icmp`` or ``198.18.0.1/47``; IPv6 in brackets where a port follows.  ``group_texts``:
    see ``parse_group``; they stand beside the groups of the network file.
    Raises ConfigurationError when one of them cannot be understood or does not fit the network.
    """
    key = parse_flow(source_text, destination_text)
    groups = {group.name: group for group in network.groups}
    for given in group_texts:
        group = parse_group(given)
        _check_group(network, groups, group)
        groups[group.name] = group
    run = _Run(_with_hosts(network, key, groups), Groups(groups), key)
    return "\n".join(run.lines()) + "\n"


# ------------------------------------------------------------------------------ arguments


def parse_flow(source_text: str, destination_text: str) -> FlowKey:
    """The flow of the first packet.  Raises ConfigurationError."""
    end, slash, name = destination_text.rpartition("/")
    if not slash:
        raise ConfigurationError(f"{destination_text}: add the protocol, as in {destination_text}/tcp")
    source, source_port = _endpoint(source_text)
    destination, destination_port = _endpoint(end)
    if len(source) != len(destination):
        raise ConfigurationError(f"{source_text} and {end} are not of the same address family")
    protocol = _protocol(name, len(source) == 16)
    if protocol not in _PORTED:
        if source_port or destination_port:
            raise ConfigurationError(f"{name} has no ports: leave them out")
        return FlowKey(source, destination, protocol, 0, 0)
    if destination_port is None:
        raise ConfigurationError(f"{destination_text}: {name} needs a port, as in {endpoint(destination, 80)}/{name}")
    return FlowKey(source, destination, protocol, source_port or _SOURCE_PORT, destination_port)


def _endpoint(value: str) -> tuple[Address, int | None]:
    """'10.1.0.10:80', '10.1.0.10', '[2001:db8::1]:80', '[2001:db8::1]' or '2001:db8::1'."""
    found = re.fullmatch(r"\[(?P<v6>[^]]*)\](?::(?P<p6>\d+))?|(?P<v4>[^:]*):(?P<p4>\d+)|(?P<bare>.*)", value)
    assert found  # the last branch takes everything
    address = found["v6"] or found["v4"] or found["bare"] or ""
    port = found["p6"] or found["p4"]
    try:
        parsed = packed(address)
    except ValueError as error:
        raise ConfigurationError(f"{value} is not an address, or an address and a port: {error}") from error
    if port is not None and not 1 <= int(port) <= 65535:
        raise ConfigurationError(f"{value}: a port is 1-65535")
    return parsed, None if port is None else int(port)


def _protocol(name: str, v6: bool) -> int:
    number = int(name) if re.fullmatch(r"\d{1,3}", name) else _PROTOCOLS.get(name.lower(), 256)
    if not 0 <= number <= 255:
        raise ConfigurationError(f"{name!a} is not a protocol: use {', '.join(_PROTOCOLS)} or a number up to 255")
    if name.lower() == "icmp" and v6:
        return ICMPV6
    if name.lower() == "icmpv6" and not v6:
        raise ConfigurationError("icmpv6 needs IPv6 addresses")
    return number


def parse_group(value: str) -> AnycastGroup:
    """'web=198.18.0.1/32=10.2.0.10,10.3.0.10'; several prefixes are separated by commas too."""
    parts = value.split("=")
    if len(parts) != 3:
        raise ConfigurationError(f"{value}: write NAME=ANY/n=SERVER[,SERVER], as in web=198.18.0.1/32=10.2.0.10")
    if not all(",".join(parts[1:]).split(",")):
        raise ConfigurationError(f"{value}: a prefix or a server is missing between its commas")
    try:
        prefixes = tuple(map(Prefix.parse, parts[1].split(",")))
        servers = [Server(packed(address)) for address in parts[2].split(",")]
    except ValueError as error:
        raise ConfigurationError(f"{value}: {error}") from error
    return AnycastGroup(parts[0], prefixes, {server.address: server for server in servers})


def _check_group(network: Network, groups: dict[str, AnycastGroup], group: AnycastGroup) -> None:
    try:
        enrolment.check_group(network, groups.values(), group)
        for address in group.servers:
            enrolment.check_server(network, group, address)
    except enrolment.EnrolmentError as error:
        raise ConfigurationError(f"group {group.name}: {error}") from error


def _with_hosts(network: Network, key: FlowKey, groups: dict[str, AnycastGroup]) -> Network:
    """The network, with all hosts that may send or receive packets of the flow."""
    subnet = network.subnet_of(key.source)
    if subnet is None:
        known = ", ".join(f"{gateway.prefix} ({s.name})" for s in network.subnets for gateway in s.gateways)
        raise ConfigurationError(f"{text(key.source)} is in no subnet of {network.name}; the subnets are {known}")
    if reason := enrolment.unusable(_gateway(network, key.source), key.source):
        raise ConfigurationError(f"{text(key.source)} is {reason}: no host can have it")
    there = {address for host in network.hosts for address in host.addresses}
    needed = {key.source, key.destination, *(address for group in groups.values() for address in group.servers)}
    missing = [address for address in sorted(needed - there) if _is_host(network, address)]
    return replace(network, hosts=(*network.hosts, *(_assumed(network, address) for address in missing)))


def _gateway(network: Network, address: Address) -> Gateway:
    gateways = (gateway for subnet in network.subnets for gateway in subnet.gateways)
    return next(gateway for gateway in gateways if address in gateway.prefix)


def _is_host(network: Network, address: Address) -> bool:
    return network.subnet_of(address) is not None and not enrolment.unusable(_gateway(network, address), address)


def _assumed(network: Network, address: Address) -> Host:
    """A host with this address, at a port without another host if there is one."""
    subnet = network.subnet_of(address)
    assert subnet is not None
    taken = {host.port for host in network.hosts if host.subnet == subnet.name}
    port = next((port for port in subnet.ports if port not in taken), subnet.ports[0])
    return Host(text(address), subnet.name, port, (address,))


# ------------------------------------------------------------------------------ the flow's packets


def _is_reset(frame: bytes) -> bool:
    packet = parse_ip(frame)
    return packet.key.protocol == TCP and bool(frame[packet.l4 + 13] & TCP_RST)


class _Delivered(NamedTuple):
    """A packet that a host has received and not answered yet."""

    host: str
    frame: bytes
    packet: IpPacket


class _Run:
    """Sends one flow's packets through a network of its own, and describes their paths."""

    def __init__(self, network: Network, groups: Groups, key: FlowKey) -> None:
        self._network = network
        self._groups = groups
        self._key = key
        self._net = SimulatedNetwork(network, groups)
        self._hosts = {address: host.name for host in network.hosts for address in host.addresses}
        self._client = self._net.host(self._hosts[key.source])
        self._delivered: list[_Delivered] = []
        for host in network.hosts:
            self._net.host(host.name).on_packet = self._holder(host.name)
        self._anycast = any(key.destination in prefix for prefix in network.anycast_prefixes)
        self._names = self._server_names(network, groups) | {key.source: "H"}
        if self._anycast:
            self._names[key.destination] = "ANY"
        self._words = PathText(self._net, self._names)

    def _holder(self, name: str) -> Callable[[bytes, IpPacket], Iterable[bytes]]:
        def hold(frame: bytes, packet: IpPacket) -> tuple[bytes, ...]:
            self._delivered.append(_Delivered(name, frame, packet))
            return ()

        return hold

    def _server_names(self, network: Network, groups: Groups) -> dict[Address, str]:
        """A server that is a host of the file, as2, is called AS2; others are called ASg, or ASg1, ASg2, …"""
        servers = sorted({server for group in groups for server in group.servers})
        assumed = [server for server in servers if self._hosts[server] == text(server)]
        several = len(assumed) > 1
        names = {server: f"ASg{number}" if several else "ASg" for number, server in enumerate(assumed, 1)}
        return names | {server: self._hosts[server].upper() for server in servers if server not in names}

    def lines(self) -> Iterator[str]:
        """The output of ``trace``."""
        yield from self._participants()
        yield from self._send("first packet", self._client.name, self._packet())
        elsewhere = [delivered for delivered in self._delivered if delivered.host != self._client.name]
        if not elsewhere:
            answered = [frame for frame in self._client.received if parse_ip(frame).key.source == self._key.destination]
            done = "Refused" if any(map(_is_reset, answered)) else "Answered"
            yield f"{done} by the edge." if answered else f"Not delivered to {text(self._key.destination)}."
            return
        delivered = elsewhere[0]
        host = self._net.host(delivered.host)
        self._delivered.clear()
        replies = list(host.serve(delivered.frame, delivered.packet))
        if not replies:
            return
        yield from self._send("first reply", host.name, replies[0])
        if self._anycast:
            yield from self._send("second packet", self._client.name, self._packet(tcp_flags=TCP_ACK))
            yield "Later packets take the same path, without the controller."

    def _packet(self, **options: int) -> bytes:
        _, destination, protocol, source_port, destination_port = self._key
        return self._client.packet(destination, protocol, source_port, destination_port, **options)

    def _participants(self) -> Iterator[str]:
        """The addresses of the flow, and a warning if no server is enrolled."""
        service = self._key.destination
        group = self._groups.covering(service) if self._anycast else None
        enrolled = group.servers if group else ()
        servers = [each for each in enrolled if len(each) == len(service) and each != self._key.source]
        width = 2 + max(map(len, ("ANY", *(self._names[address] for address in servers))))
        yield f"{'H':<{width}}{text(self._key.source)}, at {self._client.port}"
        if group:
            yield f"{'ANY':<{width}}{text(service)}, group {group.name}"
        elif self._anycast:
            yield f"{'ANY':<{width}}{text(service)}: no server is enrolled for this anycast address."
            yield f"{'':<{width}}Try --group NAME={text(service)}/{8 * len(service)}=SERVER, or enrol one over REST."
        for address in servers:
            yield f"{self._names[address]:<{width}}{text(address)}, at {self._net.host(self._hosts[address]).port}"
        if any(uplink.bgp for uplink in self._network.uplinks):
            yield "Routes learned by BGP are not known here: only static routes leave by uplinks."

    def _send(self, title: str, sender: str, frame: bytes) -> Iterator[str]:
        """Send one packet of a host; describe its path, and all that follows from it."""
        yield ""
        yield f"{title.upper()}: {self._words.flow(parse_ip(frame).key)}"
        counted = self._counters()
        self._net.observations.journal = []
        self._net.send(sender, frame)
        self._net.settle()
        self._learn_translated()
        for record in self._net.observations.journal:
            self._learn_tracked(record)
        for record in self._net.observations.journal:
            yield from self._show(record)
        for (switch, name), number in (self._counters() - counted).items():
            yield f"controller: dropped at {switch}, counted as {name}" + (f" ({number})" if number > 1 else "")

    def _counters(self) -> Counter[tuple[str, str]]:
        return Counter(
            {
                (switch, name): count
                for switch, drops in self._net.counters.drops.items()
                for name, count in drops.items()
            }
        )

    def _learn_translated(self) -> None:
        for switch in self._net.controller.switches.values():
            for binding in switch.engine.flows:
                self._names[binding.translated] = "PR1X"

    def _learn_tracked(self, record: Record) -> None:
        """H' and K, if the client edge is inside the connection tracker."""
        if isinstance(record, Sent) and isinstance(record.message, BeginConnection):
            self._names[record.message.inside] = "H'"
            self._names[PEER[len(record.message.inside) == 16]] = "K"

    # ---------------------------------------------------------------- as text

    def _show(self, record: Record) -> Iterator[str]:
        match record:
            case Passed(switch, in_port, steps):
                yield f"{switch}, {'from the controller' if in_port >= OFPP_CONTROLLER else f'port {in_port}'}"
                yield from self._words.steps(switch, steps)
            case Sent(switch, AddFlow(rule)):
                yield f"controller → {switch}: add {self._words.rule(rule)}"
            case Sent(switch, PutBinding() as put):
                yield f"controller → {switch}: add {self._words.rule(entries.binding(put))}"
            case Sent(switch, BeginConnection(_, inside, _, translated, server, zone)):
                ends = f"{self._words.value(inside)} becomes {self._words.value(translated)}"
                pinned = "" if server is None else f", label {self._words.value(server)}"
                yield f"controller → {switch}: packet-out, and a connection in zone {zone}: {ends}{pinned}"
            case Sent(switch, EndConnection(zone) as ended):
                yield f"controller → {switch}: end the connection {FlowKey(*ended[1:])} of zone {zone}"
            case Sent(switch, PacketOut(_, _, actions)):
                did = ", ".join(self._words.action(switch, action) for action in actions)
                yield f"controller → {switch}: packet-out, {did}"
            case Sent(switch, message):
                yield f"controller → {switch}: {message}"
            case Arrived(host, frame):
                if int.from_bytes(frame[12:14], "big") == ETH_ARP or not self._is_for(host, frame):
                    return
                packet = parse_ip(frame)
                error = packet.icmp_type in (ICMP_ERRORS if packet.key.protocol == ICMP else ICMPV6_ERRORS)
                what = f"ICMP error, type {packet.icmp_type} code {frame[packet.l4 + 1]}: " if error else ""
                what = "TCP RST: " if _is_reset(frame) else what
                yield f"{host} receives {what}{self._words.flow(packet.key)}"

    def _is_for(self, host: str, frame: bytes) -> bool:
        """A frame reaches all hosts at its port; is it addressed to this one?"""
        return bool(frame[0] & 1) or frame[:6] == self._net.host(host).mac
