"""The last hour in some figures, as the dashboard shows them (M34)."""

from __future__ import annotations

from typing import Any

import pytest
from checks import be_silent, checked, recover
from scenes import SECOND_SERVICE, ask

from anycast_sdn.views.history import EVERY_S, History

START = 1_700_000_000.0


class Watched:
    """Figure 1 with one server in use, sampled as by the controller."""

    def __init__(self) -> None:
        self.net = checked()
        self.net.advance(1)
        self.history = History()
        self._port = 20000
        self.sample()

    def sample(self) -> None:
        self.history.sample(self.net.controller, self.net.counters, self.net.now)

    def advance(self, seconds: float, flows: int = 0) -> None:
        """``flows``: new ones in each sample."""
        for _ in range(int(seconds / EVERY_S)):
            for _ in range(flows):
                self._port += 1
                ask(self.net, port=self._port)
            self.net.advance(EVERY_S)
            self.sample()

    def view(self, last_s: int = 30, step_s: int = 10) -> dict[str, Any]:
        return self.history.view(last_s, step_s, lambda when: START + when - self.net.now)

    def series(self, name: str, last_s: int = 30, step_s: int = 10) -> list[float | None]:
        series: list[float | None] = self.view(last_s, step_s)["series"][name]
        return series


def test_before_the_first_sample_nothing_is_known() -> None:
    assert History().view(3600, 60, lambda when: when) == {"step_s": 60, "end": None, "series": {}}


def test_all_series_are_of_the_same_steps_and_end_now() -> None:
    net = Watched()
    net.advance(20, flows=5)
    view = net.view(last_s=60)
    assert (view["step_s"], view["end"]) == (10, "2023-11-14T22:13:20.000Z")
    assert {"opened_per_s", "pinned", "first_reply_p95_ms", "unanswered_share", "dropped_per_s",
            "pool_used_share:arh1:ipv4", "pool_used_share:arh1:ipv6"} <= view["series"].keys()  # fmt: skip
    assert {name: len(values) for name, values in view["series"].items() if len(values) != 6} == {}


def test_what_was_before_the_start_is_not_known() -> None:
    net = Watched()
    net.advance(20, flows=5)
    opened = net.series("opened_per_s", last_s=60)
    assert opened[:4] == [None] * 4
    assert opened[4:] == pytest.approx([1.0, 1.0], rel=0.15)


def test_levels_are_known_from_the_first_sample_on() -> None:
    net = Watched()
    assert net.series("pinned") == [None, None, 0]
    assert net.series("pool_used_share:arh1:ipv4") == [None, None, 0.0]
    assert net.series("opened_per_s") == [None, None, None]


def test_rates_are_those_of_their_step_and_levels_those_at_its_end() -> None:
    net = Watched()
    net.advance(10, flows=5)
    net.advance(10)
    net.advance(10, flows=10)
    assert net.series("opened_per_s") == pytest.approx([1.0, 0.0, 2.0], rel=0.15)
    assert net.series("pinned") == [10, 10, 30]
    assert net.series("pool_used_share:arh1:ipv4") == pytest.approx([10 / 254, 10 / 254, 30 / 254], abs=1e-4)
    assert net.series("opened_per_s", step_s=30) == pytest.approx([1.0], rel=0.15)


def test_loss_and_time_to_the_first_reply_are_those_of_the_flows_of_the_step() -> None:
    net = Watched()
    net.advance(10, flows=5)
    be_silent(net.net.host("as2"))
    net.advance(10, flows=5)
    recover(net.net.host("as2"))
    net.advance(10)
    assert net.series("unanswered_share") == [0.0, 100.0, None]
    times = net.series("first_reply_p95_ms")
    assert times[0] is not None
    assert 0 < times[0] < 100
    assert times[1:] == [None, None], "nobody has answered"


def test_packets_that_were_dropped_are_counted_in_their_step() -> None:
    net = Watched()
    net.advance(10)
    for port in range(20):
        ask(net.net, service=SECOND_SERVICE[False], port=50000 + port)
    net.advance(10)
    net.advance(10)
    assert net.series("dropped_per_s") == pytest.approx([0.0, 2.0, 0.0], rel=0.15)


def test_what_a_switch_has_dropped_before_it_was_read_first_is_of_no_step() -> None:
    net = Watched()
    switch = net.net.controller.switch("ars2")
    assert switch
    switch.dropped = {"no_route": 5000}
    net.advance(10)
    switch.dropped = {"no_route": 5020}
    net.advance(10)
    switch.dropped = {"no_route": 10}  # it has started again
    net.advance(10)
    assert net.series("dropped_per_s") == pytest.approx([0.0, 2.0, 1.0])


def test_each_step_is_known_whatever_the_clock_of_samples_does() -> None:
    net = Watched()
    for number in range(1, 150):
        net.net.advance(EVERY_S + (0.4 if number % 3 else -0.3))
        net.sample()
    assert net.series("opened_per_s", last_s=600, step_s=int(EVERY_S)) == [0.0] * 120


def test_what_was_counted_before_the_controller_began_anew_is_not_subtracted() -> None:
    watched = Watched()
    watched.advance(20, flows=2)
    watched.net.controller.begin_anew()
    watched.net._connect_all()
    watched.advance(10)
    watched.advance(10, flows=1)
    opened = watched.view()["series"]["opened_per_s"]
    assert opened[-2] is None
    assert opened[-1] >= 0
