"""ListingTrial: what does a switch keep of the rules that it accepts, by what it lists of them?

- Their cookies: by them the controller tells which rules are its own, and what each is for.
- The idle timeouts of rules of flows: a switch that takes such a rule, and lists it without its timeout or with
  another, does not end the flow when the controller thinks.

Rules are installed that no packet matches, and looked for in the list of rules by their tables and priorities.  Of one
that is not listed at all, nothing is known.  Open vSwitch is not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from anycast_sdn.core.model import packed, text
from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, Field, FlowRule, eth_type, match

COOKIE = 0xA17C_FF00_0000_0005
_NOBODY = packed("240.0.0.1")  # RFC 1112 §4: no host can have it
_NO_PACKET = match(eth_type(False), Field("ipv4_src", _NOBODY), Field("ipv4_dst", _NOBODY))
_SUCH_RULES = {"eth_type": 0x0800, "ipv4_src": text(_NOBODY), "ipv4_dst": text(_NOBODY)}
IDLE_S = 300  # longer than the trial, and as long as those of flows often are
RULES = (
    FlowRule(Table.ROUTES, 977, _NO_PACKET, COOKIE),
    *(FlowRule(table, 977, _NO_PACKET, COOKIE, idle_timeout=IDLE_S) for table in (Table.CLIENT_OUT, Table.CLIENT_IN)),
)


class ListingTrial:
    """``features``: as far as they are known; ``done`` is called with what has been found."""

    def __init__(self, switch: Connection, features: Features, done: Callable[[Features], None]) -> None:
        self._switch = switch
        self._features = features
        self._done = done
        self._tried = [rule for rule in RULES if features.idle_timeouts or not rule.idle_timeout]
        self._left = len(self._tried)
        self._taken: list[FlowRule] = []
        self._listed: dict[FlowRule, list[tuple[int, int]]] = {}  # cookie and idle timeout of what is in its place

    def begin(self) -> None:
        self._switch.try_all([(AddFlow(rule), partial(self._take, rule)) for rule in self._tried])

    def _take(self, rule: FlowRule, taken: bool | None, why: str) -> None:
        if taken:
            self._taken.append(rule)
        self._left -= 1
        if self._left:
            return
        if not self._taken:
            self._end()
            return
        self._listed = {rule: [] for rule in self._taken}
        self._switch.ask_in_parts(codec.flow_stats_request(self._switch, fields=_SUCH_RULES), self._take_rules)

    def _take_rules(self, body: bytes | None, last: bool) -> None:
        """Part by part: a switch may list all its rules, whatever it is asked for."""
        places = {(held.table, held.priority): rule for rule, held in self._held()}
        for each in decoding.split_flow_stats(body or b""):
            table, priority, idle_s = (int.from_bytes(each.whole[at], "big") for at in _PLACE)
            if rule := places.get((table, priority)):
                self._listed[rule].append((each.cookie, idle_s))
        if last:
            self._end()

    def _held(self) -> list[tuple[FlowRule, FlowRule]]:
        return [(rule, self._switch.layout.on_switch(rule)) for rule in self._taken]

    def _end(self) -> None:
        """A rule of another program may be in the same place: one that is as it should be is enough."""
        self._switch.send(map(DeleteFlow, self._tried))
        listed = [(rule, found) for rule, found in self._listed.items() if found]
        cookies = all(any(cookie == COOKIE for cookie, _ in found) for _, found in listed)
        idle = all(any(idle_s == rule.idle_timeout for _, idle_s in found) for rule, found in listed)
        idle_timeouts = self._features.idle_timeouts and idle
        self._done(replace(self._features, cookies=cookies, idle_timeouts=idle_timeouts))


_PLACE = slice(2, 3), slice(12, 14), slice(14, 16)  # an entry's table, priority, idle timeout, OF 1.3.5 §7.3.5.2
