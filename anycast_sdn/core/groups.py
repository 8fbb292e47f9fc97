"""Groups: all enrolled groups, with an index for each kind of look-up."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from copy import copy

from anycast_sdn.core.model import FEW, Address, AnycastGroup, Prefix, ServerState


class Groups:
    """All groups at one moment; looked up by service address.  Prefixes never overlap.

    A change of one group makes a new value, which shares what is the same: only the changed group is gone through.
    """

    def __init__(self, groups: Mapping[str, AnycastGroup] | None = None) -> None:
        self._by_name: dict[str, AnycastGroup] = {}
        self._owners: dict[Prefix, str] = {}  # ANY/n → its group
        self._hosts: dict[Address, Prefix] = {}  # the ANY/n that are one address
        self._lengths: Counter[tuple[int, int]] = Counter()  # (bits, length) of the others
        self._memberships: dict[Address, tuple[str, ...]] = {}  # server → its groups
        self._active: set[str] = set()
        self._sorted: dict[int, list[Prefix]] = {32: [], 128: []}  # all ANY/n by bits of an address
        memberships: dict[Address, list[str]] = {}
        for name, group in (groups or {}).items():
            self._enter(name, group)
            self._enter_prefixes(name, group.prefixes)
            for address in group.servers:
                memberships.setdefault(address, []).append(name)
        self._memberships = {address: tuple(names) for address, names in memberships.items()}

    def __iter__(self) -> Iterator[AnycastGroup]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def get(self, name: str) -> AnycastGroup | None:
        return self._by_name.get(name)

    def repins(self, name: str) -> bool:
        """Do flows of this group leave a lost server?  Also those of a group that there is no more."""
        group = self._by_name.get(name)
        return group is None or not group.keeps_at_lost_server

    def names(self) -> Set[str]:
        return self._by_name.keys()

    def servers(self) -> Set[Address]:
        """The servers of all groups."""
        return self._memberships.keys()

    def addresses(self, v6: bool) -> int:
        """How many addresses all ANY/n of one family have together."""
        bits = 128 if v6 else 32
        larger = {length: count for (width, length), count in self._lengths.items() if width == bits}
        single = len(self._sorted[bits]) - sum(larger.values())
        return single + sum(count << bits - length for length, count in larger.items())

    def of_server(self, address: Address) -> tuple[str, ...]:
        """The names of the groups in which it is enrolled."""
        return self._memberships.get(address, ())

    def is_active(self, group: AnycastGroup) -> bool:
        """Has it a server that takes new flows?"""
        return group.name in self._active

    def replaced(self, group: AnycastGroup) -> Groups:
        """A copy with ``group`` added, or in place of the group of its name."""
        return self._changed(group.name, group)

    def without(self, name: str) -> Groups:
        """A copy without the group of this name."""
        return self._changed(name, None)

    def owner(self, service: Prefix) -> AnycastGroup | None:
        """The group that has exactly this ANY/n."""
        name = self._owners.get(service)
        return self._by_name[name] if name is not None else None

    def overlapping(self, prefix: Prefix) -> Iterator[tuple[Prefix, str]]:
        """(ANY/n, its group) for each ANY/n that shares addresses with ``prefix``."""
        in_order = self._sorted[prefix.bits]
        at = bisect_left(in_order, prefix)
        if at and in_order[at - 1].covers(prefix):  # ANY/n do not overlap one another: no other one can cover it
            yield in_order[at - 1], self._owners[in_order[at - 1]]
        while at < len(in_order) and prefix.covers(in_order[at]):
            yield in_order[at], self._owners[in_order[at]]
            at += 1

    def service(self, address: Address) -> Prefix | None:
        """The ANY/n that holds this address, if any."""
        if (service := self._hosts.get(address)) is not None:
            return service
        number, bits = int.from_bytes(address, "big"), 8 * len(address)
        for width, length in self._lengths:
            if width == bits:
                shift = bits - length
                service = Prefix((number >> shift << shift).to_bytes(bits // 8, "big"), length)
                if service in self._owners:
                    return service
        return None

    def covering(self, address: Address) -> AnycastGroup | None:
        """The group whose ANY/n holds this address, if any."""
        service = self.service(address)
        return self._by_name[self._owners[service]] if service is not None else None

    def _enter(self, name: str, group: AnycastGroup) -> None:
        self._by_name[name] = group
        if any(server.state is ServerState.ACTIVE for server in group.servers.values()):
            self._active.add(name)

    def _enter_prefixes(self, name: str, prefixes: Sequence[Prefix]) -> None:
        for prefix in prefixes:
            self._owners[prefix] = name
            if prefix.length == prefix.bits:
                self._hosts[prefix.network] = prefix
            else:
                self._lengths[prefix.bits, prefix.length] += 1
        if len(prefixes) > FEW:
            for bits, in_order in self._sorted.items():
                in_order += [prefix for prefix in prefixes if prefix.bits == bits]
                in_order.sort()
        else:
            for prefix in prefixes:
                insort(self._sorted[prefix.bits], prefix)

    def _leave_prefixes(self, prefixes: Sequence[Prefix]) -> None:
        for prefix in prefixes:
            del self._owners[prefix]
            kind = prefix.bits, prefix.length
            if prefix.length == prefix.bits:
                del self._hosts[prefix.network]
            else:
                self._lengths[kind] -= 1
                if not self._lengths[kind]:
                    del self._lengths[kind]
        if len(prefixes) > FEW:
            self._sorted = {bits: [prefix for prefix in in_order if prefix in self._owners]
                            for bits, in_order in self._sorted.items()}  # fmt: skip
        else:
            for prefix in prefixes:
                in_order = self._sorted[prefix.bits]
                del in_order[bisect_left(in_order, prefix)]

    def _changed(self, name: str, group: AnycastGroup | None) -> Groups:
        """A copy with ``group`` under its name; None: without."""
        changed = copy(self)
        changed._by_name, changed._active = self._by_name.copy(), self._active.copy()
        memberships = changed._memberships = self._memberships.copy()
        before = self._by_name.get(name)
        changed._active.discard(name)
        if group:
            changed._enter(name, group)
        else:
            changed._by_name.pop(name, None)
        was, now = (dict.fromkeys(each.prefixes if each else ()) for each in (before, group))
        if was.keys() != now.keys():
            changed._owners, changed._lengths = self._owners.copy(), self._lengths.copy()
            changed._hosts = self._hosts.copy()
            changed._sorted = {bits: in_order.copy() for bits, in_order in self._sorted.items()}
            changed._leave_prefixes([prefix for prefix in was if prefix not in now])
            changed._enter_prefixes(name, [prefix for prefix in now if prefix not in was])
        old, new = before.servers if before else {}, group.servers if group else {}
        for address in old.keys() - new.keys():
            memberships[address] = tuple(other for other in memberships[address] if other != name)
            if not memberships[address]:
                del memberships[address]
        for address in new.keys() - old.keys():
            memberships[address] = (*memberships.get(address, ()), name)
        return changed
