"""Holders: which client and service each leased PR1X stands for, and which bindings have it.

An address is leased for one pair of a client H and a service address ANY.  It carries one flow of that pair, or several
that their protocols and ports tell apart (``Pooling``).  So PR1X names (H, ANY), and a packet to PR1X, which shows
the other three fields, names its flow.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from anycast_sdn.core.model import Address, FlowKey

Pair: TypeAlias = tuple[Address, Address]  # H, ANY
PortOfFamily: TypeAlias = tuple[int, bool]  # an edge's port, and whether it is about IPv6
_Counted = TypeVar("_Counted")


@dataclass(slots=True)
class Holder:
    """Of one address."""

    pair: Pair
    port: int  # the client's, when the address was leased; 0: not known
    binding: int  # the number of one of its bindings
    others: set[int] | None = None  # those of the others
    carried: bool = False  # a packet of a binding that has ended may have had it
    older: Address | None = None  # the pair's address before this one, and the one after it
    newer: Address | None = None


def flow_of_reply(pair: Pair, reply: FlowKey) -> FlowKey:
    """The client's five fields of a packet to an address of this pair."""
    return FlowKey(pair[0], pair[1], reply.protocol, reply.destination_port, reply.source_port)


class Holders:
    """Of one client edge."""

    def __init__(self) -> None:
        self._holders: dict[Address, Holder] = {}
        self._addresses: dict[Pair, Address] = {}  # the latest one of each pair
        self._clients: Counter[Address] = Counter()
        self._ports: Counter[PortOfFamily] = Counter()

    @property
    def parts(self) -> tuple[dict[Any, Any], ...]:
        """What it consists of; to be let go of some at a time."""
        return self._addresses, self._holders

    def of(self, translated: Address) -> Holder | None:
        return self._holders.get(translated)

    def address_of(self, pair: Pair) -> Address | None:
        """An address that is leased for this pair."""
        return self._addresses.get(pair)

    def of_client(self, client: Address) -> int:
        """How many addresses are leased for this client."""
        return self._clients.get(client, 0)

    def of_port(self, port: int, v6: bool) -> int:
        """How many addresses of one family are leased for clients at this port."""
        return self._ports.get((port, v6), 0)

    def add(self, translated: Address, key: FlowKey, number: int, port: int) -> None:
        """A new binding has this address."""
        holder = self._holders.get(translated)
        if holder is not None:
            if holder.others is None:
                holder.others = set()
            holder.others.add(number)
            return
        pair = key.source, key.destination
        older = self._addresses.get(pair)
        if older:
            former = self._holders[older]
            former.newer, pair = translated, former.pair  # the same object, as there are many
        self._holders[translated] = Holder(pair, port, number, older=older)
        self._addresses[pair] = translated
        self._clients[key.source] += 1
        if port:
            self._ports[port, len(translated) == 16] += 1

    def remove(self, translated: Address, number: int) -> None:
        """The binding has ended."""
        holder = self._holders[translated]
        if holder.others:
            if number == holder.binding:
                holder.binding = holder.others.pop()
            else:
                holder.others.remove(number)
            return
        del self._holders[translated]
        add(self._clients, holder.pair[0], -1)
        if holder.port:
            add(self._ports, (holder.port, len(translated) == 16), -1)
        self._unlink(holder)

    def _unlink(self, holder: Holder) -> None:
        """Its pair keeps the other addresses that it has."""
        older, newer = holder.older, holder.newer
        if older:
            self._holders[older].newer = newer
        if newer:
            self._holders[newer].older = older
        elif older:
            self._addresses[holder.pair] = older
        else:
            del self._addresses[holder.pair]


def add(counter: Counter[_Counted], what: _Counted, step: int) -> None:
    """Add to a count, and remove it when it becomes zero."""
    counter[what] += step
    if not counter[what]:
        del counter[what]
