"""Next hops: two tables of a switch carry the pipeline's five.

    0 ingress → 1 client edge, out; server edge; client edge, in; routes

As in ``layout``, the logical tables of one table differ in their priorities.  But a packet that a binding's rule has
rewritten would have to be looked up once more, with the addresses that it has now.  So that rule names the group of its
destination instead: one bucket, which does what the rule does that the destination finds in the pipeline.  When that
changes, a group is modified, and no rule.

- A destination is ASg, H or, while nobody has answered, ANY.  The group of one that is served here is a select group
  with the buckets of that service; all others are indirect.
- Where the destination finds a rule that sends to the controller, or none, its group drops: no meter could limit what
  it sends.  A host that comes back is found by what it sends itself.
- Groups are made before the first rule that names them.  Which there are on a switch, and of which destinations, is
  read from its rules and groups when it connects; those that no rule names are deleted then, and later when the audit
  finds that their destinations have no flows (``control.next_hop_audit``).
- What FIN and RST report (``Kind.TCP_END``) would be recognised among the routes: such switches do not report them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace

from anycast_sdn.core.model import Address, Prefix
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.layout import Layout, Shared
from anycast_sdn.openflow.pipeline import BINDING_KINDS, ROW, kind_of
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import (
    OFPG_ALL,
    OFPP_CONTROLLER,
    AddFlow,
    Barrier,
    Bucket,
    DeleteCookie,
    DeleteEverything,
    DeleteFlow,
    DeleteGroup,
    Field,
    FlowRule,
    GroupRule,
    Message,
    Output,
    PutBinding,
    RemoveBinding,
    SetField,
    SetGroup,
    ToGroup,
    Unread,
    one_object,
)

FIRST_GROUP = 1 << 31  # the numbers of services' groups are lower (``control.group_numbers``)
_BINDINGS = frozenset(BINDING_KINDS.values())
_DESTINATIONS = {"ipv4_dst": 4, "ipv6_dst": 16}
_EVERY_IPV4, _EVERY_IPV6 = Prefix(bytes(4), 0), Prefix(bytes(16), 0)


class NextHops(Shared):
    """The layout of one switch, of which it knows the routes, the services' groups and the next hops' groups."""

    names_next_hops = True

    def __init__(self, *carried: tuple[Table, ...]) -> None:
        super().__init__(*carried)
        self._tables = carried
        self.forget()

    def of_switch(self) -> Layout:
        return NextHops(*self._tables)

    def forget(self) -> None:
        self._is_read = False  # all that was there when it connected
        self._routes = _Routes()
        self._services: dict[int, GroupRule] = {}
        self._numbers: dict[Address, int] = {}
        self._destinations: dict[int, Address] = {}  # by number
        self._next = FIRST_GROUP
        self.groups: dict[int, GroupRule] = {}  # of next hops, as the switch holds them

    @property
    def next_hops(self) -> Mapping[Address, GroupRule]:  # type: ignore[override]
        """Empty until all that was there when it connected has been read."""
        known = self._numbers.items() if self._is_read else ()
        return {destination: self.groups[number] for destination, number in known if number in self.groups}

    # ---------------------------------------------------------------- rules and groups, one by one

    def on_switch(self, rule: FlowRule) -> FlowRule:
        held = super().on_switch(rule)
        if kind_of(rule.cookie) not in _BINDINGS:
            return held
        number = self._numbers.get(destination_of(rule) or b"")
        group = () if number is None else (ToGroup(number),)  # none: a rule that is deleted
        return replace(held, actions=(*held.actions, *group))

    def logical(self, rule: FlowRule) -> FlowRule:
        kind = kind_of(rule.cookie)
        if kind not in _BINDINGS:
            found = super().logical(rule)
            if not self._is_read:
                self._routes.add(found)
            return found
        *actions, last = rule.actions or (Unread(),)
        found = super().logical(replace(rule, actions=tuple(actions)))
        if not isinstance(last, ToGroup) or found.goto is not None:
            return replace(found, actions=(*found.actions, Unread()))
        destination = destination_of(found)
        if not self._is_read and destination and destination not in self._numbers:
            self._enter(destination, last.group)
        if destination is None or self._numbers.get(destination) != last.group:
            return replace(found, actions=(*found.actions, Unread()))  # it is put anew
        return replace(found, goto=ROW[kind].goto)

    def logical_group(self, group: GroupRule) -> GroupRule | None:
        if group.number >= FIRST_GROUP:
            if not self._is_read:
                self.groups[group.number] = group
            return None
        if not self._is_read:
            self._services[group.number] = group
        return super().logical_group(group)

    # ---------------------------------------------------------------- messages

    def with_groups(self, messages: Iterable[Message]) -> Iterator[Message]:
        changed = set[Prefix]()  # the destinations whose next hops may be others now
        for message in messages:
            match message:
                case PutBinding():
                    message = AddFlow(entries.binding(message))
                case RemoveBinding(put):
                    message = DeleteFlow(entries.binding(put))
            if not self._is_read and _is_ours(message):
                yield from self._begin()
            if isinstance(message, AddFlow) and kind_of(message.rule.cookie) in _BINDINGS:
                yield from self._updated(changed)
                yield from self._made_for(message.rule)
            elif isinstance(message, Barrier):
                yield from self._updated(changed)
            yield message
            changed.update(self._take(message))
        yield from self._updated(changed)

    def _begin(self) -> Iterator[Message]:
        """All that the switch held has been read."""
        self._is_read = True
        held = set(self._numbers.values())
        for number in [number for number in self.groups if number not in held]:
            del self.groups[number]
            yield DeleteGroup(number)
        self._next = max(held | {FIRST_GROUP - 1}) + 1
        yield from self._updated({_EVERY_IPV4, _EVERY_IPV6})

    def _take(self, message: Message) -> Iterable[Prefix]:
        """Which destinations may find something else after the message?"""
        match message:
            case AddFlow(rule):
                return self._routes.add(rule)
            case DeleteFlow(rule):
                return self._routes.remove(rule)
            case SetGroup(group, _) if group.number >= FIRST_GROUP:
                pass  # it is put right (``control.next_hop_audit``)
            case SetGroup(group, _):
                self._services[group.number] = self.group_on_switch(group)
                return self._routes.prefixes(lambda rule: _group_of(rule) == group.number)
            case DeleteGroup(number) if number == OFPG_ALL:
                self._services.clear()
                self.groups.clear()
                return self._routes.remove_all(lambda rule: _group_of(rule) is not None)
            case DeleteGroup(number) if number >= FIRST_GROUP:
                self.groups.pop(number, None)
                self._numbers.pop(self._destinations.pop(number, b""), None)
            case DeleteGroup(number):
                self._services.pop(number, None)
                return self._routes.remove_all(lambda rule: _group_of(rule) == number)
            case DeleteCookie(cookie):
                return self._routes.remove_all(lambda rule: rule.cookie == cookie)
            case DeleteEverything():
                self.forget()
        return ()

    def _enter(self, destination: Address, number: int) -> None:
        self._numbers[destination] = number
        self._destinations[number] = destination

    def _made_for(self, binding: FlowRule) -> Iterator[Message]:
        """The group of this binding's destination, if the switch does not hold it yet."""
        destination = destination_of(binding)
        if destination is None:
            return
        number = self._numbers.get(destination)
        if number is None:
            number = self._next
            self._next += 1
            self._enter(destination, number)
        if number not in self.groups:
            yield self._set(number, destination)

    def _updated(self, changed: set[Prefix]) -> Iterator[Message]:
        """The groups of destinations in these prefixes that find something else now.  ``changed`` is empty then."""
        networks = {4: _networks(changed, False), 16: _networks(changed, True)}
        for destination, number in self._numbers.items() if changed else ():
            is_concerned = _is_in(destination, networks[len(destination)])
            if is_concerned and self.groups.get(number) != self._group(number, destination):
                yield self._set(number, destination)
        changed.clear()

    def _set(self, number: int, destination: Address) -> SetGroup:
        exists = number in self.groups
        group = self.groups[number] = self._group(number, destination)
        return SetGroup(group, exists)

    def _group(self, number: int, destination: Address) -> GroupRule:
        rule = self._routes.find(destination)
        service = None if rule is None else self._services.get(_group_of(rule) or 0)
        if service is not None:
            return GroupRule(number, service.buckets)
        sends = rule is not None and rule.meter is None and Output(OFPP_CONTROLLER) not in rule.actions
        actions = rule.actions if rule is not None and sends and _group_of(rule) is None else ()
        return GroupRule(number, (one_object(Bucket(0, self.actions_on_switch(actions))),), indirect=True)


def destination_of(binding: FlowRule) -> Address | None:
    """Where a packet goes that this rule of a binding has rewritten."""
    for action in binding.actions:
        if isinstance(action, SetField) and action.name in _DESTINATIONS and isinstance(action.value, bytes):
            return action.value
    matched = next((field.value for field in binding.match if field.name in _DESTINATIONS), None)
    return matched if isinstance(matched, bytes) else None


def _group_of(rule: FlowRule) -> int | None:
    return next((action.group for action in rule.actions if isinstance(action, ToGroup)), None)


def _is_ours(message: Message) -> bool:
    """Is it about a rule or a group of the pipeline, and so comes after all that there was has been read?"""
    if isinstance(message, AddFlow | DeleteFlow):
        return kind_of(message.rule.cookie) is not None
    return isinstance(message, SetGroup) and message.group.number < FIRST_GROUP


class _Routes:
    """The rules of the tables "server edge" and "routes" that a destination alone finds."""

    def __init__(self) -> None:
        self._rules: dict[Prefix, dict[tuple[bool, int], FlowRule]] = {}  # by (is it of a service, priority)
        self._lengths: dict[bool, Counter[int]] = {False: Counter(), True: Counter()}

    def prefixes(self, which: Callable[[FlowRule], bool]) -> set[Prefix]:
        return {prefix for prefix, rules in self._rules.items() if any(map(which, rules.values()))}

    def add(self, rule: FlowRule) -> tuple[Prefix, ...]:
        """Its destinations, if it is such a rule, and new."""
        prefix = _prefix(rule)
        if prefix is None:
            return ()
        rules = self._rules.get(prefix)
        if rules is None:
            rules = self._rules[prefix] = {}
            self._lengths[prefix.is_v6][prefix.length] += 1
        rank = rule.table == Table.SERVICE, rule.priority
        before, rules[rank] = rules.get(rank), rule
        return (prefix,) if before != rule else ()

    def remove(self, rule: FlowRule) -> tuple[Prefix, ...]:
        """Its destinations, if it was one of them."""
        prefix = _prefix(rule)
        rules = None if prefix is None else self._rules.get(prefix)
        if prefix is None or rules is None:
            return ()
        gone = rules.pop((rule.table == Table.SERVICE, rule.priority), None)
        if not rules:
            del self._rules[prefix]
            self._lengths[prefix.is_v6] -= Counter((prefix.length,))
        return (prefix,) if gone is not None else ()

    def remove_all(self, is_gone: Callable[[FlowRule], bool]) -> list[Prefix]:
        gone = [rule for rules in self._rules.values() for rule in rules.values() if is_gone(rule)]
        return [prefix for rule in gone for prefix in self.remove(rule)]

    def find(self, destination: Address) -> FlowRule | None:
        """The rule that a packet to it matches first."""
        bits, number = 8 * len(destination), int.from_bytes(destination, "big")
        best: tuple[tuple[bool, int], FlowRule] | None = None
        for length in self._lengths[bits == 128]:
            network = (number >> bits - length << bits - length).to_bytes(len(destination), "big")
            for rank, rule in self._rules.get(Prefix(network, length), {}).items():
                if best is None or rank > best[0]:
                    best = rank, rule
        return None if best is None else best[1]


def _networks(prefixes: Iterable[Prefix], v6: bool) -> dict[int, set[int]]:
    """Of one family: how many bits of an address follow → the bits of prefixes before these."""
    found: dict[int, set[int]] = {}
    for prefix in prefixes:
        if prefix.is_v6 is v6:
            left = prefix.bits - prefix.length
            found.setdefault(left, set()).add(int.from_bytes(prefix.network, "big") >> left)
    return found


def _is_in(destination: Address, networks: Mapping[int, Container[int]]) -> bool:
    number = int.from_bytes(destination, "big")
    return any(number >> left in found for left, found in networks.items())


def _prefix(rule: FlowRule) -> Prefix | None:
    """The destinations that a rule of these tables matches, if it matches nothing else."""
    if rule.table not in (Table.SERVICE, Table.ROUTES) or kind_of(rule.cookie) is None:
        return None
    if {field.name for field in rule.match} - _DESTINATIONS.keys() != {"eth_type"}:
        return None
    found = next((field for field in rule.match if field.name in _DESTINATIONS), None)
    if found is None:
        v6 = Field("eth_type", 0x86DD) in rule.match
        return _EVERY_IPV6 if v6 else _EVERY_IPV4
    assert isinstance(found.value, bytes)
    if found.mask is None:
        return Prefix.host(found.value)
    assert isinstance(found.mask, bytes)
    return Prefix(found.value, int.from_bytes(found.mask, "big").bit_count())


TWO_TABLES: Layout = NextHops(
    (Table.INGRESS,),
    (Table.CLIENT_OUT, Table.SERVICE, Table.CLIENT_IN, Table.ROUTES),
    *((table,) for table in Table if table >= Table.EGRESS),
)
