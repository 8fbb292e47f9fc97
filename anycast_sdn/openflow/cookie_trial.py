"""CookieTrial: does a switch keep the cookies of its rules?

The controller tells by them which rules are its own, and what each is for.  A rule is installed that no packet matches,
and looked for in the list of rules, by its match.  A switch that lists it with another cookie keeps none; where it is
not listed at all, nothing is known.  Open vSwitch is not asked.
"""

from __future__ import annotations

from collections.abc import Callable

from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.connection import Connection
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, Field, FlowRule, eth_type, match

COOKIE = 0xA17C_FF00_0000_0005
_RULE = FlowRule(
    Table.ROUTES, 977, match(eth_type(False), Field("ipv4_src", bytes(4)), Field("ipv4_dst", bytes(4))), COOKIE
)


class CookieTrial:
    """``done`` is called: does the switch keep cookies, as far as is known?"""

    def __init__(self, switch: Connection, done: Callable[[bool], None]) -> None:
        self._switch = switch
        self._done = done

    def begin(self) -> None:
        self._switch.try_out(AddFlow(_RULE), self._take)

    def _take(self, taken: bool | None, why: str) -> None:
        if not taken:
            self._end(True)
            return
        held = self._switch.layout.on_switch(_RULE)
        nowhere = {"eth_type": 0x0800, "ipv4_src": "0.0.0.0", "ipv4_dst": "0.0.0.0"}
        request = codec.flow_stats_request(self._switch, held.table, fields=nowhere)

        def take_rules(body: bytes | None) -> None:
            listed = [each.cookie for each in decoding.split_flow_stats(body or b"") if _is_at(each.whole, held)]
            self._end(not listed or COOKIE in listed)

        self._switch.ask(request, take_rules)

    def _end(self, keeps: bool) -> None:
        self._switch.send([DeleteFlow(_RULE)])
        self._done(keeps)


def _is_at(entry: bytes, rule: FlowRule) -> bool:
    """By the table and the priority of an entry of OFPMP_FLOW (OF 1.3.5 §7.3.5.2)."""
    return entry[2] == rule.table and int.from_bytes(entry[12:14], "big") == rule.priority
