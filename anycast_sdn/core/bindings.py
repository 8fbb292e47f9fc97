"""BindingTable: the document's state table (step 4b of ARh).

A binding is the state of one flow, or of all that a client sends to one service address (``Affinity``): a client as a
whole, whose key has ``WHOLE`` in the place of the protocol, and no ports.  It is looked up by its five fields when a
client's packet comes, by PR1X and the ports when a reply comes (``core.holders``), and by its number when a switch
reports about one of its rules.

The expiry date of the document is kept by the switch: the rule of each direction has an idle timeout, and
``installed`` says which of the two rules the switch still holds, as far as the controller knows.

The table keeps indexes and counts, and decides nothing: ``core.transitions`` does.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from anycast_sdn.core.holders import Holders, Pair, add, flow_of_reply
from anycast_sdn.core.model import AS_THE_EDGE, TCP, WHOLE, Address, FlowKey, GroupValidity, Prefix
from anycast_sdn.core.roles import AddressRange
from anycast_sdn.core.shared_addresses import SharedAddresses
from anycast_sdn.core.sorted_numbers import SortedNumbers

LOW_BITS = 8  # of a number: bindings with the same low bits are found without a scan of the table
_LOW = (1 << LOW_BITS) - 1
LOSSES_OF_FLOW, FLOWS_WITH_LOSSES = 10, 20_000  # that are remembered
_NO_COUNTS: Mapping[Address, int] = {}


class State(enum.Enum):
    """A binding's life; ``NONE`` is the flow that has no binding."""

    __hash__ = object.__hash__  # Enum's own is written in Python, and this is on the first-packet path

    NONE = "none"
    UNANSWERED = "unanswered"  # PR1X is leased, no server has replied
    PINNED = "pinned"  # the server that replied serves the flow from now on (M17)


class Half(enum.IntFlag):
    """The two directions of a binding, each one flow rule."""

    NONE = 0
    OUT = 1  # H → ANY becomes PR1X → ASg
    IN = 2  # ASg → PR1X becomes ANY → H
    BOTH = 3

    def __or__(self, other: int) -> Half:
        return _HALVES[int.__or__(self, other)]  # the same result as IntFlag's, in a tenth of the time

    @property
    def parts(self) -> tuple[Half, ...]:
        """The single directions in it."""
        return _PARTS[self]


_HALVES = (Half.NONE, Half.OUT, Half.IN, Half.BOTH)
_PARTS = ((), (Half.OUT,), (Half.IN,), (Half.OUT, Half.IN))


class Binding(NamedTuple):
    """The state of one flow, or of a whole client.  A change makes a new value with the same number."""

    number: int  # unique at its edge, 1–2**40-1; part of the cookies of its rules
    key: FlowKey  # H, ANY, ports, protocol
    translated: Address  # PR1X
    group: str
    since: float  # when it was made, on the clock of ``now``
    server: Address | None = None  # ASg, once pinned
    installed: Half = Half.OUT
    closed: Half = Half.NONE  # TCP: the directions in which a FIN was seen
    swept: bool = False  # its rules have no timeouts: the controller's sweep of counters ends it
    reset: bool = False  # TCP: a RST was seen, in either direction
    validity: GroupValidity = AS_THE_EDGE  # what its group had set when it was made
    choice: int = 0  # number of the decision by which its packets got a server (``selection.Choice``); 0: not known
    reply_s: float | None = None  # from its first packet to the first reply of a server; None: there was none
    port: int = 0  # of the switch, where its client was when it was made; 0: not known
    translated_port: int = 0  # beside PR1X, where the switch has chosen another than the client's; 0: the client's

    @property
    def closing(self) -> bool:
        """Has a TCP connection ended, at least in one direction?"""
        return bool(self.closed) or self.reset

    @property
    def is_connection(self) -> bool:
        """Is it a TCP connection that a server has answered?"""
        return self.key.protocol == TCP and self.server is not None

    @property
    def port_there(self) -> int:
        """The source port of its packets in the network, beside PR1X; 0 where there are no ports."""
        return self.translated_port or self.key.source_port

    @property
    def pair(self) -> Pair:
        """The client and the service address."""
        return self.key.source, self.key.destination

    @property
    def state(self) -> State:
        return State.UNANSWERED if self.server is None else State.PINNED


NOT_KNOWN = -1.0  # ``reply_s`` of a binding that was found on a switch


class Loss(NamedTuple):
    """A flow has lost its server, and kept PR1X: the next reply pins it again (M32)."""

    when: float
    server: Address


class BindingTable:
    """All bindings of one client edge.  ``ranges``: the addresses from which its switch chooses by itself."""

    def __init__(self, ranges: Sequence[AddressRange] = ()) -> None:
        self._ranges = ranges
        self._former: list[dict[Any, Any]] = []  # see ``let_go``
        self._begin()

    def clear(self) -> None:
        """It is as one that was just made.  To let go of all bindings at once would take long: see ``let_go``."""
        self._former += [self._by_key, *self._by_number, self._clients, *self.holders.parts]
        self._begin()

    def let_go(self, most: int) -> None:
        """Of so many bindings that were there when the table was cleared; to be called regularly."""
        while self._former and most > 0:
            if not self._former[-1]:
                self._former.pop()
                continue
            self._former[-1].popitem()
            most -= 1

    def _begin(self) -> None:
        self._touched: dict[int, None] | None = None  # see ``watch``
        self._other_servers: set[Address] = set()  # see ``pop_other_servers``
        self._by_key: dict[FlowKey, Binding] = {}
        self._by_number: list[dict[int, Binding]] = [{} for _ in range(1 << LOW_BITS)]  # by the low bits of its number
        self._numbers = SortedNumbers()
        self._of_server: dict[Address, set[int]] = {}  # the numbers of the bindings that are pinned to it
        self._in_group: dict[str, dict[Address, int]] = {}  # group → server → how many of its bindings are pinned to it
        self._has_server = 0
        self._clients: Counter[Address] = Counter()
        self._anycast: Counter[Address] = Counter()
        self._validities: Counter[GroupValidity] = Counter()  # of bindings whose groups set one
        self._ports: Counter[tuple[int, bool]] = Counter()
        self.holders = Holders()  # of their addresses
        self.shared = SharedAddresses(self._ranges)  # of the others: those that the switch has chosen by itself
        self._shares = bool(self._ranges)
        self._whole = 0  # how many bindings are of whole clients
        self.knew_whole = False  # has there been any of a whole client?
        self._losses: dict[int, tuple[Loss, ...]] = {}  # of bindings that have lost servers, by number
        self.rules = 0  # how many the switch holds for all bindings, as far as the controller knows
        self.swept = 0  # how many bindings the sweep ends

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Binding]:
        """In the order of their numbers.  The table may be changed meanwhile."""
        return iter([self._by_number[number & _LOW][number] for number in self._numbers])

    def ending_with(self, bits: int, count: int) -> list[Binding]:
        """The bindings whose numbers end with ``bits``, compared in the lowest ``count`` bits."""
        mask = (1 << count) - 1
        parts = self._by_number[bits & _LOW :: min(mask, _LOW) + 1]
        return [binding for part in parts for number, binding in part.items() if number & mask == bits]

    def by_key(self, key: FlowKey) -> Binding | None:
        """The binding of a client's packet: that of its flow, or of the whole client."""
        return self._by_key.get(key) or (self._by_key.get(key.whole) if self._whole else None)

    def overlaps(self, key: FlowKey) -> bool:
        """Are packets of this key bound already, some of them or all?"""
        return self.by_key(key) is not None or (
            key.is_whole and self.holders.address_of((key.source, key.destination)) is not None
        )

    def by_reply(self, key: FlowKey) -> Binding | None:
        """The binding of a packet to PR1X, as seen on the wire, whoever has sent it."""
        holder = self.holders.of(key.destination)
        if holder is None:
            return self.by_number(self.shared.of_reply(key) or 0) if self._shares else None
        flow = self.by_key(flow_of_reply(holder.pair, key))
        return flow if flow and flow.translated == key.destination else None

    def by_number(self, number: int) -> Binding | None:
        return self._by_number[number & _LOW].get(number)

    def numbers(self) -> set[int]:
        """Of all bindings."""
        return set().union(*self._by_number)

    def numbers_after(self, number: int, limit: int) -> list[int]:
        """The next bindings' numbers, in ascending order.

        A walk through the table by these numbers meets each binding that stays just once, while others come and go.
        """
        return self._numbers.after(number, limit)

    def numbers_before(self, number: int, limit: int) -> list[int]:
        """As ``numbers_after``, backwards: bindings get ascending numbers, so the newest come first."""
        return self._numbers.before(number, limit)

    def pinned_to(self, server: Address) -> int:
        """How many flows this server has (M26: sessions in progress)."""
        return len(self._of_server.get(server, ()))

    def pinned(self) -> int:
        """How many flows have a server."""
        return self._has_server

    def pinned_servers(self) -> set[Address]:
        return set(self._of_server)

    def of_server(self, server: Address) -> list[int]:
        """The numbers of the bindings that are pinned to it."""
        return list(self._of_server.get(server, ()))

    def groups(self) -> list[str]:
        """The groups that have pinned bindings."""
        return list(self._in_group)

    def in_group(self, group: str) -> Mapping[Address, int]:
        """How many bindings of this group are pinned to each server."""
        return self._in_group.get(group, _NO_COUNTS)

    def of_client(self, client: Address) -> int:
        """How many bindings this client has."""
        return self._clients.get(client, 0)  # Counter's own look-up is slow for a missing key

    def use_any_of(self, service: Prefix) -> bool:
        """Are there bindings of any address of this ANY/n?"""
        if service.length == service.bits:
            return service.network in self._anycast
        return any(address in service for address in self._anycast)

    def of_port(self, port: int, v6: bool) -> int:
        """How many bindings of one family the clients at this port have."""
        return self._ports.get((port, v6), 0)

    def port_of(self, translated: Address) -> int:
        """The port of the client that has this PR1X; 0 when it is not known, or no client has it."""
        holder = self.holders.of(translated)
        return holder.port if holder else 0

    def validities(self) -> Iterable[GroupValidity]:
        """Those of the bindings' groups, where they set one."""
        return self._validities.keys()

    def put(self, binding: Binding) -> None:
        """Add a binding, or replace the one with its number."""
        number, key, _, group, _, server, installed, _, swept, *_ = binding
        numbered = self._by_number[number & _LOW]
        before = numbered.get(number)
        if before is None:
            self._enter(binding)
        else:
            if before.installed is not installed:
                self.rules += len(installed.parts) - len(before.installed.parts)
            self.swept += swept - before.swept
            if before.server != server:
                self._unpin(number, group, before.server)
                self._pin(number, group, server)
        self._by_key[key] = numbered[number] = binding
        if self._touched is not None:
            self._touched[number] = None

    def _enter(self, binding: Binding) -> None:
        number, key, translated, group, _, server, installed, _, swept, _, validity, _, _, port, port_there = binding
        self.rules += len(installed.parts)
        self.swept += swept
        self._numbers.add(number)
        self._clients[key.source] += 1
        self._anycast[key.destination] += 1
        if key.protocol == WHOLE:
            self._whole += 1
            self.knew_whole = True
        if validity != AS_THE_EDGE:
            self._validities[validity] += 1
        if self._shares and translated in self.shared:
            self.shared.add(translated, port_there or key.source_port, key, number)
        else:
            self.holders.add(translated, key, number, port)
        if server is not None:
            self._pin(number, group, server)
        if port:
            self._ports[port, len(translated) == 16] += 1

    def _pin(self, number: int, group: str, server: Address | None) -> None:
        if server is not None:
            self._has_server += 1
            if server in self._of_server:
                self._of_server[server].add(number)
            else:
                self._of_server[server] = {number}
                self._other_servers.add(server)
            if group not in self._in_group:
                self._in_group[group] = {}
            counts = self._in_group[group]
            counts[server] = counts.get(server, 0) + 1

    def _unpin(self, number: int, group: str, server: Address | None) -> None:
        if server is not None:
            self._has_server -= 1
            self._of_server[server].remove(number)
            if not self._of_server[server]:
                del self._of_server[server]
                self._other_servers.add(server)
            counts = self._in_group[group]
            counts[server] -= 1
            if not counts[server]:
                del counts[server]
                if not counts:
                    del self._in_group[group]

    def note_loss(self, number: int, loss: Loss) -> None:
        """Of the oldest of very many, and of one flow that loses servers again and again, something is forgotten."""
        self._losses[number] = (*self._losses.pop(number, ()), loss)[-LOSSES_OF_FLOW:]
        if len(self._losses) > FLOWS_WITH_LOSSES:
            del self._losses[next(iter(self._losses))]

    def losses_of(self, number: int) -> Sequence[Loss]:
        """The servers that a flow has lost, in order."""
        return self._losses.get(number, ())

    def remove(self, binding: Binding) -> None:
        if self._touched is not None:
            self._touched[binding.number] = None
        before = self._by_number[binding.number & _LOW].pop(binding.number)
        if self._losses:
            self._losses.pop(binding.number, None)
        self._numbers.remove(binding.number)
        self._unpin(before.number, before.group, before.server)
        add(self._clients, before.key.source, -1)
        add(self._anycast, before.key.destination, -1)
        self._whole -= before.key.protocol == WHOLE
        if before.validity != AS_THE_EDGE:
            add(self._validities, before.validity, -1)
        if before.port:
            add(self._ports, (before.port, len(before.translated) == 16), -1)
        self.rules -= len(before.installed.parts)
        self.swept -= before.swept
        del self._by_key[binding.key]
        if self._shares and binding.translated in self.shared:
            self.shared.remove(binding.translated, binding.port_there, binding.key, binding.number)
        else:
            self.holders.remove(binding.translated, binding.number)

    # ---------------------------------------------------------------- what changes

    def watch(self, on: bool) -> None:
        """From now on it is noted which bindings change; whoever wants that has to ``pop_touched`` some times a second.

        A binding that changes often is noted once, and one that has ended by its number alone.
        """
        self._touched = {} if on else None

    def pop_touched(self) -> Iterable[int]:
        """The numbers of the bindings that are new, have changed or have ended since the last call."""
        touched = self._touched or {}
        if touched:
            self._touched = {}
        return touched

    def pop_other_servers(self) -> set[Address]:
        """Those that have got their first binding, or lost their last one, since the last call."""
        others, self._other_servers = self._other_servers, set()
        return others
