"""What a switch holds when it connects, taken up a slice at a time, so that nobody else has to wait (M20).

At the controller's start the switch's own rules are its memory: bindings are rebuilt from them.  After a mere
reconnect the controller knows better: bindings keep the rules that the switch holds, what is not as it should be is
put anew, and what the controller does not know, goes.

Meanwhile the switch goes on, and so do its reports.  What has happened to a binding since the switch was asked is
newer than what was found: rules that have gone since are not believed, and bindings that were needed since are left
alone.  An audit finds what may be wrong with those.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from anycast_sdn.core.bindings import Binding
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import Address, Neighbour, Prefix
from anycast_sdn.engines.flow_rules import Translation
from anycast_sdn.openflow import readback
from anycast_sdn.openflow.pipeline import number_of
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, FlowRule, Message
from anycast_sdn.openflow.tables import Tables

READ_AT_ONCE = 500  # rules, and
SETTLED_AT_ONCE = 200  # bindings: some milliseconds


class ReadingBack:
    """``step`` until there is nothing left; then ``routes`` and ``others`` are what the switch holds besides.

    ``route``: the rule for a prefix and a port, as it should be.  ``begins``: this is the first that the controller
    sees of the switch.
    """

    def __init__(
        self, found: Tables, translation: Translation | None, route: Callable[[Prefix, int], FlowRule], begins: bool
    ) -> None:
        self.resized: list[Message] = []  # routes that are there, and should say how large packets may be
        self._route = route
        self.routes: dict[Prefix, int] = {}
        self.others: list[FlowRule] = []
        self.hosts: dict[Address, Neighbour] = {}  # of these
        self.begins = begins
        self._translation = translation
        self._wiped = not begins and not found.flows
        self._rules = list(found.flows.values())
        self._found: dict[int, list[FlowRule]] = {}  # binding's number → the rules with its cookies
        self._gone: set[int] = set()  # cookies of bindings' rules that have gone since
        self._to_adopt: list[int] | None = None
        self._to_settle: list[Binding] | None = None
        if translation:
            translation.needed = set()

    def rule_gone(self, cookie: int) -> None:
        """The switch has reported that a rule has gone, after what was found."""
        self._gone.add(cookie)

    def step(self, groups: Groups, now: float) -> list[Message] | None:
        """A slice of the work → what the switch is to be told because of it; None when all is done."""
        if self._rules:
            self._classify()
            return []
        translation = self._translation
        if translation is None:  # it was a client edge when these were made
            return self._strays()
        if self._to_adopt is None:
            self._to_adopt = list(self._found) if self.begins else []
        if self._to_adopt:
            some, self._to_adopt = self._to_adopt[:SETTLED_AT_ONCE], self._to_adopt[SETTLED_AT_ONCE:]
            translation.adopt({number: self._believed(number) for number in some}, groups, now, self.hosts)
            return []
        if self._to_settle is None:
            self._to_settle = list(translation.edge.bindings)
            self._to_settle.reverse()
        if self._to_settle:
            return self._settle(translation, now)
        translation.needed = None
        return self._strays()

    def _classify(self) -> None:
        some, self._rules[-READ_AT_ONCE:] = self._rules[-READ_AT_ONCE:], []
        for rule in some:
            if readback.half_of(rule):
                self._found.setdefault(number_of(rule.cookie), []).append(rule)
            elif route := readback.route(rule):
                self.routes[route[0]] = route[1]
                if rule != (ours := self._route(*route)):
                    self.resized.append(AddFlow(ours))
            else:
                self.others.append(rule)
                if host := readback.host(rule):
                    address, mac, port = host
                    self.hosts[address] = Neighbour(mac, port)

    def _believed(self, number: int) -> list[FlowRule]:
        return [rule for rule in self._found.get(number, ()) if rule.cookie not in self._gone]

    def _settle(self, translation: Translation, now: float) -> list[Message]:
        assert self._to_settle
        some, self._to_settle[-SETTLED_AT_ONCE:] = self._to_settle[-SETTLED_AT_ONCE:], []
        messages: list[Message] = []
        for binding in some:
            rules = self._believed(binding.number)
            self._found.pop(binding.number, None)
            if not translation.is_untouched(binding):
                continue
            messages += translation.put_whole(binding, now) if self._wiped else translation.settle(binding, rules, now)
        return messages

    def _strays(self) -> list[Message] | None:
        """Rules of bindings that there are not."""
        some = list(islice(self._found, SETTLED_AT_ONCE))
        if not some:
            return None
        rules = [rule for number in some for rule in self._found.pop(number)]
        if translation := self._translation:
            rules = [rule for rule in rules if translation.edge.bindings.by_number(number_of(rule.cookie)) is None]
        return [*map(DeleteFlow, rules)]
