"""What operators are told while a network breaks and is repaired: the same by REST and in the log, each thing once."""

from __future__ import annotations

from typing import Any

import pytest
from ring import cut, ring
from support import Running, until

WEB = "198.18.0.1/32"


class Told:
    """The events since it was made, or since this one."""

    def __init__(self, network: Running, since: int | None = None) -> None:
        self._network = network
        self._since = max(event["id"] for event in self._ask(0)) if since is None else since

    def _ask(self, since: int) -> list[dict[str, Any]]:
        return self._network.call("GET", f"/v1/events?since={since}&limit=1000")["events"]  # type: ignore[no-any-return]

    def all(self) -> list[dict[str, Any]]:
        return self._ask(self._since)

    def of(self, kind: str, **members: object) -> list[dict[str, Any]]:
        return [
            event
            for event in self.all()
            if event["type"] == kind and all(event["data"].get(name) == value for name, value in members.items())
        ]


@pytest.mark.row("M34", "a cut link, the sites that move, a lost switch and their return: one event and one line each")
def test_a_link_that_is_cut_and_a_switch_that_is_lost_are_told_with_what_follows(tmp_path: Any) -> None:
    with ring(tmp_path) as network:
        start = Told(network, since=0)
        until(lambda: start.of("controller.health", status="ok"), "all is well, for two seconds", 30)
        told = Told(network)
        until(lambda: "ars1" in str(network.call("GET", "/v1/topology")["catchment"][WEB]["arh1"]), "as1 serves site 1")
        with cut(network, "c1", 1):
            until(lambda: told.of("link.down", ends=["c1:1", "c2:2"]), "the cut is told")
            moved = {"switch": "arh1", "before": "ars1", "after": "ars3"}
            [event, *_] = until(lambda: told.of("catchment.changed", **moved), "that site 1 moves is told")
            assert (event["severity"], event["groups"], event["edge"]) == ("warning", ["web"], "arh1")
            assert WEB in event["data"]["prefixes"] or "2001:db8:a::1/128" in event["data"]["prefixes"]
        until(lambda: told.of("link.up", ends=["c1:1", "c2:2"]), "the return is told", 30)
        until(lambda: told.of("catchment.changed", before="ars3", after="ars1"), "that site 1 is back is told")
        assert not told.of("switch.lost")
        network.testbed.stop_switch("c6")
        until(lambda: told.of("switch.lost", switch="c6"), "the lost switch is told", 30)
        network.testbed.start_switch("c6")
        until(lambda: told.of("switch.connected", switch="c6"), "that it is back is told", 30)
        events = told.all()
        assert [event["id"] for event in events] == list(range(events[0]["id"], events[0]["id"] + len(events)))
        lines = network.controller.log().splitlines()
        for event in events:
            line = f"{event['type']}: {event['message']}"
            same = [other for other in events if (other["type"], other["message"]) == (event["type"], event["message"])]
            assert sum(each.endswith(line) for each in lines) >= len(same), line
        assert len(told.of("switch.lost")) == 1
        assert len(told.of("link.down", ends=["c1:1", "c2:2"])) == 1
