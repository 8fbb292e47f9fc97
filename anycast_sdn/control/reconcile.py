"""Reconciliation: the messages that make a switch hold exactly what it should.  wanted − installed = messages.

A first connection, a reconnection, a restart of the controller and every change of configuration go by this one
way.  Rules are compared by their key (table, priority, match); one that differs in anything else is added again, which
replaces it.

Order: meters and groups that rules refer to, then rules, then deletions.  New rules are installed before old ones are
deleted, so that an update loses no packet.  A barrier separates groups from the rules that refer to them.

``changes`` compares two sets of rules.  ``Reconciler`` says which rules of a switch to compare: only those where wanted
and installed may differ (``Comparisons``).  When the switch connects that is everywhere; then it goes in portions, in
this order: meters and constant rules, hosts, egress routes, services with their select groups, servers, the rules that
admit clients' packets, and last the deletion of what is not wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from anycast_sdn.control.comparisons import GROUP_COST, Comparisons, ToCompare
from anycast_sdn.control.egress import Egress
from anycast_sdn.control.installed import Installed
from anycast_sdn.control.neighbours import Neighbours
from anycast_sdn.control.server_places import ServerPlaces
from anycast_sdn.control.serving import Serving
from anycast_sdn.control.throttle import Throttle
from anycast_sdn.control.wanted import WantedRules
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, AnycastGroup, Neighbour, Prefix
from anycast_sdn.core.slots import Slots, Spread, apportioned, most_slots, table_size
from anycast_sdn.description.model import Switch
from anycast_sdn.engines.engine import Engine
from anycast_sdn.fabric.graph import LOCAL
from anycast_sdn.openflow import entries
from anycast_sdn.openflow.rules import (
    AddFlow,
    Barrier,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    FlowRule,
    GroupRule,
    Message,
    RuleKey,
    SetGroup,
    SetMeter,
)
from anycast_sdn.openflow.tables import Tables

EGRESS_AT_ONCE = 200  # egress routes that are changed in one step, besides those that ordered updates change


def changes(wanted: Tables, installed: Tables) -> list[Message]:
    """The messages that turn ``installed`` into ``wanted``; none when they are equal.

    Deletions come last, after a barrier.
    """
    first: list[Message] = [
        SetMeter(meter, exists=number in installed.meters)
        for number, meter in wanted.meters.items()
        if installed.meters.get(number) != meter
    ]
    first += [
        SetGroup(group, exists=number in installed.groups)
        for number, group in wanted.groups.items()
        if installed.groups.get(number) != group
    ]
    if first:
        first.append(Barrier())
    rules: list[Message] = [AddFlow(rule) for key, rule in wanted.flows.items() if installed.flows.get(key) != rule]
    gone = [DeleteFlow(rule) for key, rule in installed.flows.items() if key not in wanted.flows]
    if rules and gone:
        rules.append(Barrier())
    rules += gone
    last: list[Message] = [DeleteGroup(number) for number in installed.groups if number not in wanted.groups]
    last += [DeleteMeter(number) for number in installed.meters if number not in wanted.meters]
    return first + rules + ([Barrier(), *last] if last else [])


class Reconciler:
    """Of one switch.  The wanted rules follow from ``serving``, ``egress``, ``neighbours`` and ``engine``."""

    def __init__(
        self,
        described: Switch,
        wanted: WantedRules,
        installed: Installed,
        serving: Serving,
        egress: Egress,
        neighbours: Neighbours,
        server_places: ServerPlaces,
        engine: Engine,
        throttle: Throttle,
    ) -> None:
        self._described = described
        self._wanted = wanted
        self._installed = installed
        self._serving = serving
        self._egress = egress
        self._neighbours = neighbours
        self._server_places = server_places
        self._engine = engine
        self._throttle = throttle
        self._comparisons = Comparisons()
        self._checked_at: dict[Address, int] = {}  # server → the port in the rule for its answers to checks
        self._constant: dict[RuleKey, FlowRule] = {}  # see ``WantedRules.constant``, as installed

    # ---------------------------------------------------------------- where wanted and installed may differ

    @property
    def needs_comparison(self) -> bool:
        """Is there something to compare now?"""
        return bool(self._comparisons) or self._egress.is_changed

    @property
    def has_much_to_compare(self) -> bool:
        return self._comparisons.constant

    @property
    def has_more_to_compare(self) -> bool:
        """Is something left for which ``compare_more`` is to be called?"""
        return self._comparisons.is_postponed or self._installed.unchecked > 0 or self._egress.is_changed

    def compare_more(self, groups: Groups, most: int) -> int:
        """The next ``reconcile`` compares about ``most`` more of the rules that are postponed since the switch has
        connected → how many; 0: all have been compared."""
        if self._comparisons.has_just_connected:
            self._comparisons.postpone(
                ToCompare(
                    engine=True,
                    hosts=dict.fromkeys(address for address, _ in self._neighbours.known()),
                    egress=dict.fromkeys(self._egress.selected),
                    services=dict.fromkeys((*self._serving, *self._serving.services(groups))),
                    servers=dict.fromkeys(self._servers_with_rules(groups)),
                    anycast=dict.fromkeys(self._services_with_rules(groups)),
                    checked=dict.fromkeys(self._serving.checked),
                )
            )
            return most  # collecting them was enough for one slice

        sized: set[Spread | None] = set()

        def size(service: Prefix) -> int:
            group = groups.owner(service)
            spread = Spread(group.name, service.is_v6) if group else None
            is_next = spread not in sized
            sized.add(spread)
            return 1 + GROUP_COST * is_next  # services that share a select group come one after the other

        compared = self._comparisons.resume(most, size)
        return compared or self._comparisons.delete_strays(most, self._installed.unchecked)

    def recheck_service(self, service: Prefix) -> None:
        """Other servers here may serve it than before."""
        self._comparisons.add_service(service)

    def recheck_spread(self, spread: Spread) -> None:
        """Its slots here may be others; followed by ``compare_more``."""
        if self._serving.number(spread) is not None:
            self._comparisons.postpone_spreads([spread])

    def replace_groups(self) -> list[Message]:
        """All select groups are deleted by these messages, with the rules that need them; ``compare_more`` adds others.

        It is not known which of them the switch holds, and in which form.
        """
        numbers = dict.fromkeys(filter(None, map(self._serving.number, map(self._serving.spread, self._serving))))
        for service in self._serving:
            self._installed.remove(entries.service(service, 0))
        for number in numbers:
            self._installed.remove_group(number)
        self._comparisons.postpone_services(self._serving)
        return [*map(DeleteGroup, numbers), Barrier()]

    def recheck_server(self, address: Address) -> None:
        """It was enrolled or removed, in any of its groups, or has its first flow here, or has none any more."""
        if self._described.client_edge:  # no other switch has rules for servers' replies
            self._comparisons.add_servers([address])

    def recheck_anycast(self, services: Iterable[Prefix]) -> None:
        """Other groups may have these ANY/n than before."""
        if self._described.client_edge:
            self._comparisons.postpone_anycast(services)

    def recheck_checked(self, address: Address) -> None:
        """Checks of a server here have begun, or ended."""
        self._comparisons.add_checked(address)

    def checked_at(self, address: Address) -> int | None:
        """The port from which a server's answers to checks reach the controller; None: they do not."""
        return self._checked_at.get(address)

    def recheck_constant_rules(self) -> None:
        """The features of the switch or its ports to other switches may be others."""
        self._comparisons.add_constant_rules()

    def recheck_meters(self) -> None:
        """Other ports are throttled."""
        self._comparisons.add_meters()

    def connected(self) -> None:
        """What the switch holds has been read into ``Installed``."""
        self._constant = {}
        self._checked_at = {}
        self._comparisons.connected()

    def disconnected(self) -> None:
        self._comparisons.disconnected()

    def discard_due(self) -> None:
        """The switch is away: nothing can be sent, and everything is compared when it connects."""
        self._comparisons.pop_due()
        self._egress.pop_changed(None)

    # ---------------------------------------------------------------- from what is installed to what is wanted

    def reconcile(self, groups: Groups, routes: Mapping[Prefix, int | None]) -> list[Message]:
        """Record that the switch holds what is wanted → the messages that make it so.

        ``routes``: those that it is to install now, see ``fabric.routing.Changes``.
        """
        due = self._comparisons.pop_due()
        come_or_gone = [prefix for prefix, port in routes.items() if not port or not self._installed.routes.get(prefix)]
        new, old = self._installed.switch_over(routes)
        for prefix, port in routes.items():
            if port != LOCAL:
                self._egress.routed_elsewhere(prefix)
        due.egress |= self._egress.pop_changed(EGRESS_AT_ONCE)
        if self._described.server_edge:  # a route that ends here and the rule of the service are changed together
            both = (*routes, *due.egress)
            due.services |= {prefix: None for prefix in both if groups.owner(prefix) or prefix in self._serving}
        if self._egress.has_uplinks:
            due.egress |= dict.fromkeys((*routes, *due.services))
        self._comparisons.postpone_spreads(self._serving.spreads_towards((*come_or_gone, *due.egress)))
        numbers = self._assign_slots(due, groups)
        places: dict[RuleKey, FlowRule | None] = {}
        if due.constant:
            places = dict.fromkeys(self._constant)
            self._constant = {rule.key: rule for rule in self._wanted.constant()}
        places.update(self._places(due, groups))
        places.update(self._place_checks(due))
        wanted, held = self._compared(places, numbers, due)
        self._installed.replace(held, wanted)
        if due.strays:
            strays = self._installed.pop_strays(due.strays)
            held = Tables(held.flows | strays.flows, held.groups | strays.groups, held.meters | strays.meters)
        messages = changes(replace(wanted, flows=wanted.flows | new), replace(held, flows=held.flows | old))
        self._installed.changes += bool(messages)
        return messages

    def _assign_slots(self, due: ToCompare, groups: Groups) -> set[int]:
        """Set by which slots each ANY/n that is due is served → the numbers that the select groups had.

        Where other groups get another number by that, their ANY/n become due, too.
        """
        numbers = set(filter(None, map(self._serving.number, due.spreads)))
        for spread in due.spreads:
            self._change_slots(spread, groups)
        queue = list(due.services)
        for service in queue:
            before, group = self._serving.spread(service), groups.owner(service)
            now = Spread(group.name, service.is_v6) if group else before
            if now is None:
                continue
            numbers.update(filter(None, map(self._serving.number, (before, now))))
            renumbered = self._serving.serve(service, now, self._slots_of(service, group) if group else ())
            numbers.update(renumbered.values())
            others = [other for each in renumbered for other in self._serving.services_of(each)]
            queue += [other for other in others if other not in due.services]
            due.services |= dict.fromkeys(others)
            due.spreads |= dict.fromkeys(filter(None, (before, now, *renumbered)))
        return numbers

    def _change_slots(self, spread: Spread, groups: Groups) -> None:
        """Set the slots of a spread anew; whether its ANY/n are served here at all is not changed by that."""
        group = groups.get(spread.group)
        if group is None or self._serving.number(spread) is None:
            return
        if wanted := self._serving.wanted(group, spread.is_v6):
            self._serving.set_slots(spread, wanted)
        services = self._serving.services_of(spread)
        first, key = next((service, self._wanted.fragments_key(service)) for service in services)
        has_fragments = self._wanted.features.fragment_flags
        differ = has_fragments and self._installed.flows.get(key) != self._fragments_of(first, groups)[0]
        if self._wanted.serves_alone(spread.is_v6):
            key = entries.service(first, 0).key
            differ |= self._installed.flows.get(key) != self._capture_of(first)
        if differ:
            self._comparisons.postpone_services(services)  # those of the others differ, too

    def _slots_of(self, service: Prefix, group: AnycastGroup) -> Slots:
        """The slots of an ANY/n here.  Servers that leave stay until others receive the packets
        (``fabric.ordered_update``)."""
        wanted = self._serving.wanted(group, service.is_v6)
        if not wanted and self._installed.delivers(service) and service not in self._egress.selected:
            return apportioned(self._serving.leaving(group, service), table_size(group, service.is_v6))
        return wanted

    def _servers_with_rules(self, groups: Groups) -> list[Address]:
        """The servers whose replies this switch has rules for."""
        if not self._described.client_edge:
            return []
        return sorted(groups.servers() | self._engine.flows.pinned_servers())

    def _services_with_rules(self, groups: Groups) -> Iterable[Prefix]:
        """The ANY/n that this switch has rules for as a client edge."""
        if not self._described.client_edge:
            return ()
        return (*self._engine.services, *(prefix for group in groups for prefix in group.prefixes))

    def _places(self, due: ToCompare, groups: Groups) -> Iterator[tuple[RuleKey, FlowRule | None]]:
        """Where rules are to be compared, and the rule that should be there; None: none."""
        if due.constant:
            yield from self._constant.items()
        if due.engine:
            yield from ((rule.key, rule) for rule in self._engine.wanted_rules())
        for address in due.hosts:
            if neighbour := self._neighbours.get(address):
                rule = self._wanted.host(address, neighbour)
                yield rule.key, rule
        for prefix in due.egress:
            router = self._egress.selected.get(prefix)
            yield self._wanted.egress_key(prefix), self._wanted.egress(prefix, router) if router else None
        for prefix in due.services:
            yield entries.service(prefix, 0).key, self._capture_of(prefix)
            if self._wanted.features.fragment_flags:
                fragments, server = self._fragments_of(prefix, groups)
                yield self._wanted.fragments_key(prefix), fragments
                yield from self._wanted.tracked_fragments(prefix, server)
        for address in due.servers:
            yield from self._engine.places_of_server(address, groups)
        for service in due.anycast:
            yield from self._engine.places_of_service(service, groups)

    def _place_checks(self, due: ToCompare) -> dict[RuleKey, FlowRule | None]:
        """Record where the servers are that are checked → as ``_places``, for their answers."""
        places: dict[RuleKey, FlowRule | None] = {}
        for address in due.checked:
            if before := self._checked_at.pop(address, None):
                places[self._wanted.check_answers(address, before).key] = None
            there = self._neighbours.get(address) if address in self._serving.checked else None
            if there:
                self._checked_at[address] = there.port
                rule = self._wanted.check_answers(address, there.port)
                places[rule.key] = rule
        return places

    def _compared(
        self, places: Mapping[RuleKey, FlowRule | None], numbers: set[int], due: ToCompare
    ) -> tuple[Tables, Tables]:
        """→ (what is wanted at these places, and what is installed there), with the select groups and the meters."""
        wanted = self._wanted.tables(
            filter(None, places.values()),
            [*filter(None, map(self._server_group, due.spreads))],
            self._wanted.meters(self._throttle.held) if due.meters else (),
        )
        held = self._installed.at(places, numbers | wanted.groups.keys())
        if due.meters:
            held.meters = self._installed.meters_besides_strays(wanted.meters)
        return wanted, held

    def _server_group(self, spread: Spread) -> GroupRule | None:
        number = self._serving.number(spread)
        if number is None or self._wanted.serves_alone(spread.is_v6):
            return None
        slots = self._serving.slots(spread)
        return self._wanted.server_group(number, slots, self._server_places.of(slots))

    def _capture_of(self, service: Prefix) -> FlowRule | None:
        """The rule for packets to an ANY/n; None: it is not served here."""
        number = self._serving.number(self._serving.spread(service))
        if number is None:
            return None
        if not self._wanted.serves_alone(service.is_v6):
            return entries.service(service, number)
        server, hosts = self._main_server(service)
        return self._wanted.service_alone(service, server, hosts[server]) if server else None

    def _main_server(self, service: Prefix) -> tuple[Address | None, Mapping[Address, Neighbour | None]]:
        """→ (the server with the most slots of an ANY/n here, where each of its servers is)."""
        served_by = self._serving.slots(self._serving.spread(service))
        hosts = self._server_places.of(served_by)
        return most_slots(server for server in served_by if server in hosts), hosts

    def _fragments_of(self, service: Prefix, groups: Groups) -> tuple[FlowRule | None, Address | None]:
        """What sends all fragments to one server, while their flow has none; → (the rule, the server)."""
        group = groups.owner(service)
        if group is None or not (group.binds_clients or self._wanted.fragments_come):
            return None, None
        server, hosts = self._main_server(service)
        return (self._wanted.service_fragments(service, server, hosts[server]), server) if server else (None, None)
