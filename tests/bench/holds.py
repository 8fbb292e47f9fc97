"""Table 7: the longest time that the hub is held, by what makes work for the whole network at once.

No switches and no wires: the controller of a large network, the registry and the views, called as ``app`` calls them,
in one process.  A piece of work is what runs before other green threads may run: an event with the encoding of its
messages, or one slice of the work that follows.  The table shows the longest piece, and the time of all of them.  By
itself: ``python tests/bench/holds.py [--quick | --design] [--rest]``.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # this project, also where it is not installed

import asked  # noqa: E402
import checked  # noqa: E402
from pieces import Held, Piece, Stopwatch  # noqa: E402
from tabulate import tabulate  # noqa: E402

from anycast_sdn.control.controller import Controller  # noqa: E402
from anycast_sdn.control.outcome import Outcome  # noqa: E402
from anycast_sdn.control.pace import Pace  # noqa: E402
from anycast_sdn.control.registry import Registry  # noqa: E402
from anycast_sdn.core.bindings import Binding  # noqa: E402
from anycast_sdn.core.groups import Groups  # noqa: E402
from anycast_sdn.core.model import (  # noqa: E402
    UDP,
    AnycastGroup,
    FlowKey,
    Gateway,
    Neighbour,
    Prefix,
    Server,
    ServerState,
    packed,
    text,
)
from anycast_sdn.core.roles import ClientEdgeRole, Side, Subnet  # noqa: E402
from anycast_sdn.description.model import Link, Network, Port, Switch, Uplink  # noqa: E402
from anycast_sdn.engines.flow_rules import FlowRules  # noqa: E402
from anycast_sdn.fabric.egress import Route  # noqa: E402
from anycast_sdn.openflow import builders, codec  # noqa: E402
from anycast_sdn.openflow.features import Features  # noqa: E402
from anycast_sdn.openflow.layout import FIVE_TABLES  # noqa: E402
from anycast_sdn.openflow.pipeline import cookie  # noqa: E402
from anycast_sdn.openflow.row import Kind  # noqa: E402
from anycast_sdn.openflow.rules import Barrier, Message, Output, PacketOut  # noqa: E402
from anycast_sdn.openflow.tables import Tables  # noqa: E402
from anycast_sdn.process import garbage  # noqa: E402
from anycast_sdn.store.sqlite import SqliteStore  # noqa: E402

HELD_S = 0.02  # nothing should hold the hub for longer


class Scale(NamedTuple):
    switches: int
    links: int
    edges: int  # of the switches: client and server edges at once
    groups: int  # with a prefix and some servers each; one server is in all of them
    servers: int
    prefixes: int  # those of the groups, and those of one more group, which has one server behind each edge
    ports: int  # without hosts
    bindings: int
    put: int  # prefixes of one request
    learned: int  # routes, by BGP


DESIGN = Scale(200, 1000, 50, 5000, 10_000, 10_000, 60_000, 200_000, 3000, 10_000)
LARGE = Scale(100, 400, 25, 2000, 5000, 5000, 30_000, 100_000, 3000, 5000)
SMALL = Scale(40, 100, 10, 500, 1000, 1000, 6000, 20_000, 300, 1000)
COMMON = "10.1.0.10"  # at the first edge
ROUTER = "192.168.255.2"


class _Wire:
    """Hands out transaction ids, as a channel does."""

    ofproto_parser = codec.parser
    ofproto = codec.ofp

    def __init__(self) -> None:
        self.xid = 0

    def set_xid(self, message: Any) -> int:
        self.xid += 1
        message.set_xid(self.xid)
        return self.xid


def network(scale: Scale) -> Network:
    draw = random.Random(scale.switches)
    pairs = {(number, (number + 1) % scale.switches) for number in range(scale.switches)}
    while len(pairs) < scale.links:
        a, b = sorted(draw.sample(range(scale.switches), 2))
        pairs.add((a, b))
    ports = itertools.count(1000)
    links = [
        Link(Port(f"s{a}", next(ports)), Port(f"s{b}", next(ports)), draw.randint(1, 20)) for a, b in sorted(pairs)
    ]
    anycast = Prefix.parse("198.0.0.0/8")
    switches, subnets = [], []
    for number in range(scale.switches):
        if number < scale.edges:
            role = ClientEdgeRole((Prefix.parse(f"172.{16 + number // 16}.{number % 16 * 16}.0/20"),), (anycast,))
            switches.append(Switch(f"s{number}", number + 1, role, True))
            server = Gateway.parse(f"10.{1 + number}.0.1/16")
            client = Gateway.parse(f"11.{1 + number}.0.1/16")
            subnets.append(Subnet(f"n{number}", f"s{number}", Side.SERVER, (server,), (1, 2, 3)))
            subnets.append(Subnet(f"c{number}", f"s{number}", Side.CLIENT, (client,), (4, 5)))
        else:
            switches.append(Switch(f"s{number}", number + 1))
    link = Gateway.parse("192.168.255.1/24")
    uplinks = (Uplink("up", "s1", 9, (link,), (packed(ROUTER),)),) if scale.edges > 1 else ()
    return Network("holds", (anycast,), tuple(switches), tuple(links), tuple(subnets), uplinks=uplinks)


def enrolled(scale: Scale) -> dict[str, AnycastGroup]:
    common = Server(packed(COMMON))
    servers = [Server(packed(_address(scale, number))) for number in range(scale.servers - 1)]
    groups = {}
    for number in range(scale.groups):
        prefix = Prefix.parse(f"198.18.{number >> 8}.{number & 255}/32")
        some = (common, *servers[number :: scale.groups])
        groups[f"g{number}"] = AnycastGroup(f"g{number}", (prefix,), {server.address: server for server in some})
    wide = [Prefix.parse(f"198.{64 + (number >> 12)}.{number >> 4 & 255}.{(number & 15) << 4}/28")
            for number in range(scale.prefixes - scale.groups)]  # fmt: skip
    groups["wide"] = AnycastGroup("wide", tuple(wide), {server.address: server for server in servers[: scale.edges]})
    return groups


def _address(scale: Scale, number: int) -> str:
    edge, host = number % scale.edges, 100 + number // scale.edges
    return f"10.{1 + edge}.{host >> 8}.{host & 255}"


def _mac(address: str) -> bytes:
    return b"\x02\x00" + packed(address)


class Hub:
    """The controller of the large network at work."""

    def __init__(self, scale: Scale, directory: Path) -> None:
        self.scale = scale
        self.network = network(scale)
        dpids = {switch.name: switch.dpid for switch in self.network.switches}
        self._peers: dict[tuple[int, int], tuple[int, int]] = {}  # (dpid, port) → the other end of the link there
        for link in self.network.links:
            a, b = ((dpids[end.switch], end.number) for end in (link.a, link.b))
            self._peers |= {a: b, b: a}
        self.now = 0.0
        self.wire = _Wire()
        self.encode = codec.encoder(FIVE_TABLES).encode
        self.tickets: list[tuple[int, int]] = []
        groups = enrolled(scale)
        self.store = SqliteStore(str(directory / "holds.db"))
        self.store.open(groups.values())
        self.held: Held | None = None
        self.sent: list[tuple[int, Message]] | None = None  # (dpid, message); None: nobody listens
        at_once = Pace(1 << 20, 1 << 20, 1 << 20, 1 << 20)  # this part is not measured
        self.controller = Controller(self.network, Groups(), random.Random(1), at_once)
        self.registry = Registry(self.network, self.store, self._set_groups)
        self._set_groups(self.registry.groups)
        for address, port, dpid in self._hosts():  # before switches connect, as if read back from them
            self.controller.switches[dpid].neighbours.adopt(packed(address), Neighbour(_mac(address), port), self.now)
        for number, switch in enumerate(self.network.switches):
            self._take(self.controller.synchronise(switch.dpid, Tables(), Features(), self.now), encode=False)
            for port in range(scale.ports // scale.switches):
                self._take(self.controller.port_changed(switch.dpid, 2000 + port, True, self.now), encode=False)
            if number < scale.edges:
                self._bind(switch.dpid, scale.bindings // scale.edges)
            self._finish(encode=False)
        for address, port, dpid in self._hosts():
            self._appears(address, port, dpid)
        self._finish(encode=False)
        assert not self.controller.updating()
        self.controller.slices.pace = Pace()

    def _hosts(self) -> Iterator[tuple[str, int, int]]:
        """(address, port, dpid): all servers, and the router."""
        for number in range(self.scale.servers - 1):
            address = _address(self.scale, number)
            yield address, 1, int(address.split(".")[1])
        yield COMMON, 2, 1
        if self.network.uplinks:
            yield ROUTER, 9, 2

    def _set_groups(self, groups: Groups) -> None:
        self._take(self.controller.set_groups(groups, self.now))

    def _bind(self, dpid: int, count: int) -> None:
        engine = self.controller.switches[dpid].engine
        assert isinstance(engine, FlowRules)
        client_edge = engine.edge
        pool = int.from_bytes(client_edge.role.translation_prefixes[0].network, "big")
        for number in range(min(count, 4000)):
            key = FlowKey(packed(f"11.{dpid}.{number >> 8}.{number & 255}"), packed("198.18.0.1"), UDP, 5000, 53)
            server = packed(_address(self.scale, 0))
            client_edge.adopt(Binding(number + 1, key, (pool + number + 1).to_bytes(4, "big"), "g0", 0.0, server))

    def _appears(self, address: str, port: int, dpid: int | None = None) -> Outcome:
        """A host sends ARP."""
        dpid = dpid or int(address.split(".")[1])
        own = self.controller.switches[dpid].mac
        frame = builders.arp_reply(_mac(address), packed(address), own, packed(address))
        out = self.controller.packet_in(dpid, cookie(Kind.ARP), port, frame, self.now)
        self._take(out, encode=False)
        return out

    # ---------------------------------------------------------------- pieces

    def _take(self, out: Outcome, encode: bool = True) -> None:
        for dpid, messages in out.outbox.items():
            if self.sent is not None:
                self.sent += [(dpid, message) for message in messages]
            if encode:
                self.encode(self.wire, messages)
            self.tickets += [(dpid, m.ticket) for m in messages if isinstance(m, Barrier) and m.ticket]

    def _slices(self) -> Iterator[Callable[[], Outcome]]:
        """The controller's remaining work, in the pieces in which ``app`` does it."""
        while True:
            if self.controller.is_busy():
                yield lambda: self.controller.work(self.now)
            elif self.tickets:
                some, self.tickets = self.tickets[:200], self.tickets[200:]
                yield lambda some=some: self.controller.confirmed(some, self.now)  # type: ignore[misc]
            else:
                return

    def _finish(self, encode: bool = True) -> list[Piece]:
        pieces = []
        for act in self._slices():
            watch = Stopwatch()
            garbage.collect_new()
            self._take(act(), encode)
            garbage.exempt_new()
            pieces.append(watch.piece())
        return pieces

    def once(self, act: Callable[[], object]) -> Held:
        """Without the work that follows."""
        watch = Stopwatch()
        act()
        return Held([watch.piece()])

    def measure(self, event: Callable[[], Outcome | object]) -> Held:
        """An event and all the work that follows."""
        watch = Stopwatch()
        garbage.collect_new()
        out = event()
        if isinstance(out, Outcome):
            self._take(out)
        garbage.exempt_new()
        return Held([watch.piece(), *self._finish()])

    def connect(self, dpid: int, found: Tables) -> Held:
        """A switch connects and holds ``found``, as ``process.connections`` handles it."""
        pieces = self.measure(lambda: self.controller.begin_reading(dpid, found, Features())).pieces
        done = False
        while not done:

            def read_on() -> Outcome:
                nonlocal done
                out = self.controller.read_on(dpid, self.now)
                done = out is None
                return out or Outcome()

            pieces += self.measure(read_on).pieces
        return Held(pieces + self.measure(lambda: self.controller.end_reading(dpid, {}, self.now)).pieces)

    def holds(self, dpid: int) -> Tables:
        """What the controller has installed on a switch, without bindings."""
        installed = self.controller.switches[dpid].installed
        return Tables.of(installed, installed.groups.values(), installed.meters.values())

    def tick(self, seconds: float, silent: str = "") -> Held:
        """Links carry LLDP, and hosts answer ARP, but the ``silent`` one; that is not measured."""
        pieces = []
        for _ in range(int(seconds / 0.25)):
            self.now += 0.25
            self.sent = []
            pieces += self.measure(lambda: self.controller.tick(self.now)).pieces
            sent, self.sent = self.sent, None
            self._deliver(sent, silent)
            pieces += self.tick_switches(silent)
        return Held(pieces)

    def tick_switches(self, silent: str = "") -> list[Piece]:
        """What time brings for each switch; see ``tick``."""
        pieces = []
        self.sent = []
        for dpid in self.controller.switches:
            pieces += self.measure(lambda dpid=dpid: self.controller.tick_switch(dpid, self.now)).pieces  # type: ignore[misc]
        sent, self.sent = self.sent, None
        self._deliver(sent, silent)
        return pieces

    def _deliver(self, sent: Iterable[tuple[int, Message]], silent: str) -> None:
        for dpid, message in sent:
            if not isinstance(message, PacketOut):
                continue
            frame = message.frame
            if frame[12:14] == b"\x88\xcc":
                (output,) = message.actions
                assert isinstance(output, Output)
                if peer := self._peers.get((dpid, output.port)):
                    self._take(self.controller.packet_in(peer[0], cookie(Kind.LLDP), peer[1], frame, self.now), False)
            elif frame[12:14] == b"\x08\x06" and (address := text(frame[38:42])) != silent:
                self._appears(address, 9 if address == ROUTER else 2 if address == COMMON else 1, dpid)

    def bind_to_common(self, count: int) -> list[tuple[int, int]]:
        """As many flows, at all client edges, are pinned to the common server → (dpid, number) of each.

        They are further flows of clients that have some to the same service: with the same PR1X, from other ports.
        """
        bound = []
        for edge in range(self.scale.edges):
            engine = self.controller.switches[edge + 1].engine
            assert isinstance(engine, FlowRules)
            former = [flow for flow in engine.flows if flow.server != packed(COMMON)]
            number = max(flow.number for flow in engine.flows)
            for more in range(count // self.scale.edges):
                flow = former[more % len(former)]
                key = flow.key._replace(source_port=6000 + more // len(former))
                number += 1
                engine.edge.adopt(Binding(number, key, flow.translated, "g0", 0.0, packed(COMMON)))
                bound.append((edge + 1, number))
        return bound

    def end(self, flows: Iterable[tuple[int, int]]) -> None:
        for dpid, number in flows:
            self.controller.switches[dpid].engine.end(number, self.now)


def operations(hub: Hub) -> Iterator[tuple[str, Held]]:
    """Events of the clock, of operators and of the network."""
    yield "nothing: the clock, 2 s", hub.tick(2.0)
    yield from _enrolments(hub)
    yield from _failures(hub)
    yield from _losses(hub)
    yield from _connections(hub)
    yield from _look_ups(hub)
    yield from checked.operations(hub, lambda number: packed(_address(hub.scale, number)))


def _enrolments(hub: Hub) -> Iterator[tuple[str, Held]]:
    scale, registry, controller, measure = hub.scale, hub.registry, hub.controller, hub.measure
    new = Server(packed("10.2.200.10"))
    yield "one server enrolled", measure(lambda: registry.put_server("g7", new))
    yield "it drains", measure(lambda: registry.put_server("g7", Server(new.address, 1, ServerState.DRAINING)))
    yield "it is removed", measure(lambda: registry.delete_server("g7", new.address))
    wide = controller.groups.get("wide")
    assert wide is not None
    more = Server(packed("10.2.200.11"))
    yield "one server enrolled in the widest group", measure(lambda: registry.put_server("wide", more))
    yield "it is removed again", measure(lambda: registry.delete_server("wide", more.address))
    prefixes = [Prefix.parse(f"198.128.{number >> 8}.{number & 255}/32") for number in range(scale.put)]
    service = AnycastGroup("put", tuple(prefixes))
    yield f"PUT of a group with {scale.put:,} prefixes", measure(lambda: registry.put_group(service))
    yield "its first server", measure(lambda: registry.put_server("put", Server(packed(_address(scale, 3)))))
    yield "DELETE of the group", measure(lambda: registry.delete_group("put"))


def _failures(hub: Hub) -> Iterator[tuple[str, Held]]:
    """Ports, links and routes of routers."""
    scale, registry, controller, measure = hub.scale, hub.registry, hub.controller, hub.measure
    first = hub.network.switches[0].dpid
    yield (
        f"a port with a server of {scale.groups:,} groups: down",
        measure(lambda: controller.port_changed(first, 2, False, hub.now)),
    )
    yield "the server is back", measure(lambda: hub._appears(COMMON, 2))
    link = max(
        hub.network.links,
        key=lambda link: sum(
            controller.routes.next_hops(prefix).get(end.switch) == end.number
            for prefix in list(controller.announcements.announcers)[:200]
            for end in (link.a, link.b)
        ),
    )
    dpid = next(switch.dpid for switch in hub.network.switches if switch.name == link.a.switch)
    yield "a link fails", measure(lambda: controller.port_changed(dpid, link.a.number, False, hub.now))
    yield "a cost changes", measure(lambda: controller.set_cost(hub.network.links[3].a, 60000, hub.now))
    routes = {Prefix.parse(f"20.{number >> 8}.{number & 255}.0/24"): Route(1, 0, 0, packed("192.168.255.2"))
              for number in range(scale.learned)}  # fmt: skip
    if hub.network.uplinks:
        yield (
            f"a router advertises {scale.learned:,} routes",
            measure(lambda: controller.set_learned("up", routes, hub.now)),
        )
        new = Server(packed("10.2.200.10"))
        yield "one server enrolled then", measure(lambda: registry.put_server("g8", new))
        fewer = dict(list(routes.items())[:-1])
        yield "the router withdraws one", measure(lambda: controller.set_learned("up", fewer, hub.now))


def _losses(hub: Hub) -> Iterator[tuple[str, Held]]:
    first = hub.network.switches[0].dpid
    for count in (1000, 100_000):
        flows = hub.bind_to_common(count)
        hub.measure(lambda: hub.controller.port_changed(first, 2, False, hub.now))
        yield f"{count:,} flows leave a server that is lost: 3.5 s", hub.tick(3.5, silent=COMMON)
        assert not any(hub.controller.switches[dpid].engine.flows.pinned_to(packed(COMMON)) for dpid, _ in flows)
        yield "the server is back", Held([*hub.measure(lambda: hub._appears(COMMON, 2)).pieces, *hub._finish()])
        hub.end(flows)


def _connections(hub: Hub) -> Iterator[tuple[str, Held]]:
    controller, measure = hub.controller, hub.measure
    last = hub.network.switches[-1].dpid
    yield "a switch without roles is gone", measure(lambda: controller.disconnected(last, hub.now))
    yield "and back, empty", hub.connect(last, Tables())
    for dpid, name in ((1, "a client and server edge"), (2, "one with an uplink"))[: 1 + bool(hub.network.uplinks)]:
        yield f"{name} is gone", measure(lambda: controller.disconnected(dpid, hub.now))  # noqa: B023
        yield "and back, empty", hub.connect(dpid, Tables())
        held = hub.holds(dpid)
        yield f"{name} is gone again", measure(lambda: controller.disconnected(dpid, hub.now))  # noqa: B023
        yield "and back, with all that it should hold", hub.connect(dpid, held)


def _look_ups(hub: Hub) -> Iterator[tuple[str, Held]]:
    """Work that changes nothing."""
    controller = hub.controller
    groups = controller.groups
    addresses = [packed(f"198.64.{number}.1") for number in range(100)]
    for _ in range(2):
        held = hub.measure(lambda: [groups.covering(address) for address in addresses])
    yield "the service of 100 addresses", held


def measured(scale: Scale, directory: Path, rest_alone: bool) -> Iterator[tuple[str, Held]]:
    begin = time.perf_counter()
    garbage.disable_automatic()
    hub = Hub(scale, directory)
    print(f"{scale.switches} switches are connected, after {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    if not rest_alone:
        yield from operations(hub)
    yield from asked.requests(hub)
    yield from asked.last(hub)


def rows(scale: Scale, directory: Path, rest_alone: bool) -> Iterator[dict[str, Any]]:
    for name, held in measured(scale, directory, rest_alone):
        yield {"operation": name, "longest_ms": 1000 * held.longest, "worked_ms": 1000 * held.worked,
               "pieces": len(held.pieces), "all_ms": 1000 * sum(piece.taken for piece in held.pieces)}  # fmt: skip
        print(f"{name}: {1000 * held.longest:.1f} ms", file=sys.stderr, flush=True)


def run(options: Any, rest_alone: bool = False) -> dict[str, Any]:
    scale = SMALL if options.quick else DESIGN if options.design else LARGE
    found = list(rows(scale, options.directory, rest_alone))
    show(scale, found)
    return {"scale": scale._asdict(), "rows": found}


def show(scale: Scale, found: Iterable[dict[str, Any]]) -> None:
    words = ", ".join(f"{value:,} {name}" for name, value in scale._asdict().items())
    print(f"\nThe longest time that the hub is held; {1000 * HELD_S:.0f} ms are allowed.  {words}.\n")
    print(tabulate(
        [{"operation": row["operation"], "longest (ms)": f"{row['longest_ms']:.1f}",
          "longest work (ms)": f"{row['worked_ms']:.1f}", "pieces": row["pieces"],
          "together (ms)": f"{row['all_ms']:.0f}"} for row in found],
        headers="keys",
    ))  # fmt: skip


class _Alone(NamedTuple):
    quick: bool
    directory: Path
    design: bool


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a small network: a look, not a result")
    parser.add_argument("--design", action="store_true", help="200 switches: ten minutes and more")
    parser.add_argument("--rest", action="store_true", help="only what comes over REST")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="anycast-sdn-holds-") as name:
        run(_Alone(arguments.quick, Path(name), arguments.design), arguments.rest)
