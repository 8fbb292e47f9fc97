"""The machine of one enrolment, against the REST application itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from anycast_sdn.agent.agent_line import read_line
from anycast_sdn.agent.enrolment import GIVE_UP_S, MOST_PAUSE_S, Enrolment, Hopeless, Settings
from anycast_sdn.agent.messages import Answer, Request
from anycast_sdn.api.access import BY_LOOPBACK, CALLER
from anycast_sdn.api.tokens import Caller
from anycast_sdn.core.model import Lease, packed
from tests.unit.rest_client import Client, end_drains

SERVER, TWIN = "10.2.0.10", "2001:db8:2::10"
PATH = f"/v1/groups/web/servers/{SERVER}"
SILENCE = Answer(0, reason="no controller answers")


class Controller:
    """The REST application, and the time."""

    def __init__(self) -> None:
        self.client = Client(":memory:")
        self.caller = BY_LOOPBACK
        self.now = 1000.0
        self.requests: list[Request] = []
        self.put_group()

    def put_group(self, **settings: Any) -> None:
        prefixes = {"prefixes": ["198.18.0.1/32", "2001:db8:ffff::1/128"]}
        assert self.client.ask("PUT", "/v1/groups/web", prefixes | settings).status_code in (200, 201)

    def carry(self, request: Request) -> Answer:
        fields: dict[str, Any] = {CALLER: self.caller} | ({"HTTP_IF_NONE_MATCH": "*"} if request.anew else {})
        response = self.client.ask(request.method, request.path, request.body, **fields)
        body: Any = response.json if response.body else None
        reason = "" if response.status_code < 400 else body["detail"]
        location = response.headers.get("Location", "").partition("localhost")[2]
        return Answer(response.status_code, body, location, reason)

    def serve(self, agent: Enrolment, answer: Callable[[Request], Answer] | None = None) -> list[str]:
        """Until the agent asks for nothing more → what it logs."""
        lines = []
        while request := agent.next(self.now):
            self.requests.append(request)
            assert len(self.requests) < 20, self.requests
            lines += agent.answered((answer or self.carry)(request), self.now)
        return lines

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.requests.clear()

    def server(self) -> dict[str, Any]:
        return dict(self.client.get(PATH))

    def shows(self, **members: Any) -> bool:
        return members.items() <= self.server().items()

    def patch(self, **changes: Any) -> None:
        assert self.client.ask("PATCH", PATH, changes).status_code == 200


@pytest.fixture
def controller() -> Controller:
    return Controller()


def agent(*addresses: str, **settings: Any) -> Enrolment:
    return Enrolment(Settings("web", addresses or (SERVER,), **settings), lambda: 0.5)


def enrolled(controller: Controller, **settings: Any) -> Enrolment:
    ours = agent(**settings)
    controller.serve(ours)
    assert ours.is_enrolled
    controller.pass_time(1)
    return ours


# ------------------------------------------------------------------------------ enrolment


def test_a_server_that_is_not_enrolled_is_enrolled_with_what_the_agent_was_given(controller: Controller) -> None:
    ours = agent(weight=3, capacity=500, ttl_s=15, deregister_after_s=60)
    assert controller.serve(ours) == ["it is enrolled in group web"]
    assert ours.is_enrolled
    assert controller.shows(weight=3, capacity=500, state="active")
    assert controller.client.registry.server("web", packed(SERVER)).lease == Lease(15, 60)


def test_what_an_operator_has_set_survives_a_restart_of_the_agent(controller: Controller) -> None:
    enrolled(controller, weight=3, capacity=10)
    controller.patch(weight=7, capacity=20, state="disabled")
    lines = controller.serve(agent(weight=3, capacity=10))
    assert lines == ["it was enrolled already in group web; an operator has disabled it"]
    assert controller.shows(weight=7, capacity=20, state="disabled")


def test_a_drained_server_is_active_again_when_its_agent_starts(controller: Controller) -> None:
    enrolled(controller, weight=3)
    controller.patch(state="draining")
    assert controller.serve(agent()) == ["it takes new flows again in group web"]
    assert controller.shows(weight=3, state="active")


def test_a_drain_of_an_operator_is_left_alone_while_the_agent_runs(controller: Controller) -> None:
    ours = enrolled(controller)
    controller.patch(state="draining")
    for _ in range(3):
        controller.pass_time(60)
        assert controller.serve(ours) == []
    assert controller.shows(state="draining")


def test_a_controller_that_has_forgotten_the_server_gets_it_again(controller: Controller) -> None:
    ours = enrolled(controller, weight=3)
    controller.client.ask("DELETE", PATH)
    controller.pass_time(60)
    assert controller.serve(ours) == [
        "the controller has forgotten it: it is enrolled again", "it is enrolled in group web"
    ]  # fmt: skip
    assert controller.shows(weight=3)


def test_an_enrolment_that_others_make_at_the_same_time_is_not_replaced(controller: Controller) -> None:
    ours = agent(weight=3)
    request = ours.next(controller.now)
    assert request
    ours.answered(controller.carry(request), controller.now)
    assert controller.client.ask("PUT", PATH, {"weight": 9}).status_code == 201
    assert controller.serve(ours) == ["it was enrolled already in group web"]
    assert controller.shows(weight=9)


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_a_refusal_before_the_first_enrolment_ends_the_agent(status: int, controller: Controller) -> None:
    def answer(request: Request) -> Answer:
        looks_up = status == 404 and request.method == "GET"  # the server is not there, and neither is its group
        return Answer(status, reason="no such server" if looks_up else "because")

    with pytest.raises(Hopeless, match=r"10\.2\.0\.10 cannot be enrolled in group web: because"):
        controller.serve(agent(), answer)


# ------------------------------------------------------------------------------ renewals and reports


def test_a_lease_is_renewed_three_times_before_it_ends(controller: Controller) -> None:
    ours = enrolled(controller, ttl_s=30)
    renewed = []
    for _ in range(100):
        controller.pass_time(1)
        controller.serve(ours)
        renewed += [controller.now for request in controller.requests if request.path == f"{PATH}/lease"]
    pauses = {later - earlier for earlier, later in pairwise(renewed)}
    assert pauses == {10}


def test_loads_and_checks_are_reported_once_each(controller: Controller) -> None:
    ours = enrolled(controller)
    ours.report_load({"cpu": 0.5, "ttl_s": 15})
    ours.report_checks([{"type": "http", "status": "passing", "output": "status 200"}])
    ours.report_checks([{"type": "agent", "status": "critical", "output": "down"}])
    assert controller.serve(ours) == []
    assert sorted(request.path for request in controller.requests) == [f"{PATH}/checks", f"{PATH}/load"]
    ((_, load),) = controller.client.facts.loads
    assert (load.cpu, load.memory) == (0.5, None)
    begins, results = controller.client.facts.reported
    assert begins[2] == [], "what a former agent has reported counts no more"
    assert [(each.name.type, each.result.passed) for each in results[2]] == [("http", True), ("agent", False)]


def test_reports_that_could_not_be_sent_are_replaced_by_newer_ones(controller: Controller) -> None:
    ours = enrolled(controller)
    controller.serve(ours)
    controller.client.facts.reported.clear()
    for cpu in range(5):
        controller.pass_time(1)
        ours.report_load({"cpu": cpu / 10})
        ours.report_checks([{"type": "http", "status": "critical", "output": str(cpu)}])
        controller.serve(ours, lambda request: SILENCE)
    controller.pass_time(60)
    controller.serve(ours)
    assert [load.cpu for _, load in controller.client.facts.loads] == [0.4]
    assert [each.result.output for _, _, results in controller.client.facts.reported for each in results] == ["4"]


def test_the_http_checks_of_the_group_are_the_agents_to_make(controller: Controller) -> None:
    check = {"type": "http", "port": 8080, "path": "/health"}
    controller.put_group(checks=[check, {"type": "tcp", "port": 80}])
    ours = enrolled(controller)
    (found,) = ours.group_checks
    assert check.items() <= found.items()
    controller.put_group(checks=[])
    controller.pass_time(120)
    controller.serve(ours)
    assert ours.group_checks == []


def test_what_was_reported_of_checks_that_are_made_no_longer_counts_no_more(controller: Controller) -> None:
    ours = enrolled(controller)
    reported = controller.client.facts.reported
    reported.clear()
    result = {"type": "http", "port": 8080, "status": "critical"}
    ours.report_checks([result])
    ours.begin_anew(SERVER)
    ours.report_checks([result | {"port": 80}])
    controller.serve(ours)
    assert [[each.name.port for each in results] for _, _, results in reported] == [[], [80]]


# ------------------------------------------------------------------------------ silence and refusals


def test_a_refusal_later_is_logged_once_and_asked_again_with_pauses(controller: Controller) -> None:
    ours, lines, asked = enrolled(controller), [], 0
    for _ in range(300):
        controller.pass_time(1)
        lines += controller.serve(ours, lambda request: Answer(403, reason="the token is revoked"))
        asked += len(controller.requests)
    assert lines == [f"PUT {PATH}/lease is refused: the token is revoked"]
    assert 10 < asked < 100
    controller.pass_time(60)
    assert controller.serve(ours) == [f"PUT {PATH}/lease is accepted again"]


def test_without_an_answer_it_tries_again_after_pauses_that_grow_to_a_bound(controller: Controller) -> None:
    ours, lines, tries = agent(ttl_s=1000), [], []
    for tenth in range(6000):
        if ours.next(now := controller.now + tenth / 10):
            tries.append(now)
            lines += ours.answered(SILENCE, now)
    assert lines == ["no controller answers; trying again"]
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses[:4] == pytest.approx([0.75, 1.5, 3, 6], abs=0.11)
    assert max(pauses) <= MOST_PAUSE_S
    controller.pass_time(10_000)
    assert controller.serve(ours) == ["the controller answers again", "it is enrolled in group web"]


def test_pauses_differ_from_agent_to_agent() -> None:
    def pause(chance: float) -> float:
        ours = Enrolment(Settings("web", (SERVER,)), lambda: chance)
        ours.next(0)
        ours.answered(SILENCE, 0)
        return next(tenth / 10 for tenth in range(100) if ours.next(tenth / 10))

    assert (pause(0.0), pause(1.0)) == (0.5, 1.0)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_controller_that_is_busy_is_asked_again(status: int, controller: Controller) -> None:
    ours = agent()
    assert controller.serve(ours, lambda request: Answer(status, reason="it is busy")) == ["it is busy; trying again"]
    controller.pass_time(2)
    assert controller.serve(ours) == ["the controller answers again", "it is enrolled in group web"]


@pytest.mark.parametrize("body", [None, [], "ok", {"state": "active"}])
def test_another_program_that_answers_is_no_controller(body: Any, controller: Controller) -> None:
    ours = agent()
    lines = controller.serve(ours, lambda request: Answer(200, body))
    assert lines == ["what answers is no controller; trying again"]
    assert not ours.is_enrolled


# ------------------------------------------------------------------------------ the end


def test_an_agent_that_ends_drains_its_server_and_waits_for_the_end_of_that(controller: Controller) -> None:
    ours = enrolled(controller, drain_deadline_s=100)
    ours.leave(controller.now)
    assert controller.serve(ours) == ["it is draining: 3 flows left"]
    assert controller.shows(state="draining")
    drain = controller.client.registry.server("web", packed(SERVER)).drain
    assert drain
    assert drain.deadline_s == 100
    for _ in range(5):
        controller.pass_time(5)
        assert controller.serve(ours) == []
    assert not ours.has_ended
    end_drains(controller.client)
    controller.pass_time(5)
    assert controller.serve(ours) == ["it is drained"]
    assert ours.has_ended
    assert not ours.failure
    assert controller.shows(state="drained")


def test_while_it_drains_the_lease_is_renewed_and_checks_are_reported(controller: Controller) -> None:
    ours = enrolled(controller)
    ours.leave(controller.now)
    controller.serve(ours)
    controller.client.facts.reported.clear()
    ours.report_checks([{"type": "http", "status": "passing", "output": ""}])
    controller.pass_time(15)
    controller.serve(ours)
    assert f"{PATH}/lease" in [request.path for request in controller.requests]
    assert controller.client.facts.reported


def test_an_agent_that_ends_removes_its_server_if_asked_to(controller: Controller) -> None:
    ours = enrolled(controller, remove=True)
    ours.leave(controller.now)
    controller.serve(ours)
    end_drains(controller.client)
    controller.pass_time(5)
    assert controller.serve(ours) == ["it is drained, and removed"]
    assert controller.client.ask("GET", PATH).status_code == 404


def test_what_an_operator_has_disabled_stays_so_at_the_end(controller: Controller) -> None:
    ours = enrolled(controller)
    controller.client.facts.server_flows = 2
    controller.patch(state="disabled")
    ours.leave(controller.now)
    assert controller.serve(ours) == []
    assert not ours.has_ended, "it waits for its flows all the same"
    controller.client.facts.server_flows = 0
    controller.pass_time(2)
    assert controller.serve(ours) == ["it is disabled: 0 flows left"]
    assert ours.has_ended
    assert controller.shows(state="disabled")


def test_a_disabled_server_is_waited_for_until_the_deadline(controller: Controller) -> None:
    ours = enrolled(controller, drain_deadline_s=10, remove=True)
    controller.patch(state="disabled")
    controller.client.facts.server_flows = 2
    ours.leave(controller.now)
    controller.serve(ours)
    controller.pass_time(5)
    controller.serve(ours)
    assert not ours.has_ended
    controller.pass_time(6)
    assert controller.serve(ours) == ["it is removed"]


def test_a_drain_that_others_end_is_a_failure_with_its_reason(controller: Controller) -> None:
    ours = enrolled(controller)
    ours.leave(controller.now)
    controller.serve(ours)
    controller.patch(state="active")
    controller.pass_time(5)
    controller.serve(ours)
    assert ours.has_ended
    assert ours.failure == "not drained: the server was set to active"


def test_an_agent_that_never_enrolled_its_server_ends_at_once(controller: Controller) -> None:
    ours = agent()
    ours.leave(controller.now)
    assert controller.serve(ours) == []
    assert ours.has_ended


def test_an_enrolment_that_is_under_way_at_the_end_is_drained(controller: Controller) -> None:
    ours = agent()
    controller.serve(ours, lambda request: SILENCE)
    controller.pass_time(2)
    while (request := ours.next(controller.now)) and request.method != "PUT":
        ours.answered(controller.carry(request), controller.now)
    assert request
    ours.leave(controller.now)
    ours.answered(controller.carry(request), controller.now)
    assert "it is draining: 3 flows left" in controller.serve(ours)


def test_a_drain_is_given_up_when_no_controller_answers(controller: Controller) -> None:
    ours = enrolled(controller)
    ours.leave(controller.now)
    began = controller.now
    while not ours.has_ended:
        controller.pass_time(1)
        controller.serve(ours, lambda request: SILENCE)
    assert GIVE_UP_S < controller.now - began < GIVE_UP_S + MOST_PAUSE_S + 2
    assert ours.failure == "not known to be drained: no controller answers"


# ------------------------------------------------------------------------------ the agent check


def test_the_agent_check_changes_weight_state_and_capacity_and_changes_them_back(controller: Controller) -> None:
    ours = enrolled(controller, weight=200)
    for line, weight, state in (
        (b"75%", 150, "active"), (b"drain", 150, "draining"), (b"100%", 200, "draining"), (b"ready", 200, "active"),
        (b"maint 1%", 2, "draining"), (b"up ready 900%", 1000, "active"), (b"0%", 0, "active"),
    ):  # fmt: skip
        ours.report_line(read_line(line))
        controller.pass_time(1)
        controller.serve(ours)
        assert controller.shows(weight=weight, state=state), line
    ours.report_line(read_line(b"maxconn:30"))
    assert controller.serve(ours) == ["capacity is 30 now, as its agent check says"]
    controller.pass_time(1)
    assert controller.serve(ours) == []


def test_what_an_operator_has_disabled_meanwhile_is_not_changed_by_the_agent_check(controller: Controller) -> None:
    ours = enrolled(controller)
    for line, state in ((b"up", "disabled"), (b"drain", "disabled"), (b"ready", "disabled")):
        controller.patch(state=state)
        ours.report_line(read_line(line))
        controller.pass_time(5)
        assert controller.serve(ours) == []
        assert controller.shows(state="disabled")
    controller.patch(state="active")
    ours.report_line(read_line(b"drain"))
    controller.pass_time(15)
    assert controller.serve(ours) == ["state is draining now, as its agent check says"]
    controller.patch(state="disabled")
    ours.report_line(read_line(b"ready"))
    controller.pass_time(5)
    controller.serve(ours)
    assert controller.shows(state="disabled")


def test_a_change_that_was_refused_is_asked_for_again_a_minute_later(controller: Controller) -> None:
    ours = enrolled(controller)
    controller.serve(ours)
    ours.report_line(read_line(b"drain"))

    def refuses(request: Request) -> Answer:
        return Answer(403, reason="not now") if request.method == "PATCH" else controller.carry(request)

    assert controller.serve(ours, refuses) == [f"PATCH {PATH} is refused: not now"]
    controller.pass_time(30)
    assert controller.serve(ours) == []
    controller.pass_time(31)
    said = controller.serve(ours)
    assert said == [f"PATCH {PATH} is accepted again", "state is draining now, as its agent check says"]


def test_ready_does_not_end_what_an_operator_has_begun(controller: Controller) -> None:
    ours = enrolled(controller)
    for state in ("draining", "disabled"):
        controller.patch(state=state)
        controller.pass_time(60)
        controller.serve(ours)
        ours.report_line(read_line(b"ready up"))
        controller.serve(ours)
        assert controller.shows(state=state)


# ------------------------------------------------------------------------------ both addresses


def test_both_addresses_of_a_server_are_enrolled_and_drained_together(controller: Controller) -> None:
    ours = agent(SERVER, TWIN, weight=3)
    assert controller.serve(ours) == ["it is enrolled in group web"]
    assert controller.shows(addresses=[SERVER, TWIN])
    ours.report_load({"cpu": 0.5})
    ours.report_checks([{"type": "http", "status": "passing"}], TWIN)
    ours.report_checks([{"type": "agent", "status": "passing"}])
    controller.client.facts.reported.clear()
    controller.pass_time(1)
    controller.serve(ours)
    assert [server for server, _ in controller.client.facts.loads] == [packed(SERVER), packed(TWIN)], "by one report"
    checks = {server: [each.name.type for each in results] for _, server, results in controller.client.facts.reported}
    assert checks == {packed(SERVER): ["agent"], packed(TWIN): ["http", "agent"]}
    ours.leave(controller.now)
    controller.serve(ours)
    twin = controller.client.registry.server("web", packed(TWIN))
    assert (twin.state.value, twin.weight) == ("draining", 3)


def test_an_agent_that_gets_a_second_address_adds_it(controller: Controller) -> None:
    enrolled(controller)
    assert controller.serve(agent(SERVER, TWIN)) == ["it has both addresses in group web"]
    assert controller.shows(addresses=[SERVER, TWIN])


# ------------------------------------------------------------------------------ access


def test_a_token_that_is_bound_to_the_server_is_enough(controller: Controller) -> None:
    both = frozenset((packed(SERVER), packed(TWIN)))
    controller.caller = Caller("as2", frozenset({"enrol:web"}), both)
    ours, lines = agent(SERVER, TWIN), []
    for _ in range(3):
        lines += controller.serve(ours)
        ours.report_load({"cpu": 0.5})
        ours.report_checks([{"type": "http", "status": "passing"}])
        ours.report_line(read_line(b"50%"))
        controller.pass_time(30)
    ours.leave(controller.now)
    lines += controller.serve(ours)
    end_drains(controller.client)
    controller.pass_time(5)
    lines += controller.serve(ours)
    assert not [line for line in lines if "refused" in line]
    assert ours.has_ended
    assert not ours.failure


@pytest.mark.parametrize("scopes", [frozenset(), frozenset({"read"}), frozenset({"enrol:dns"})])
def test_a_token_without_the_right_is_said_and_ends_the_agent(scopes: frozenset[str], controller: Controller) -> None:
    controller.caller = Caller("other", scopes)
    with pytest.raises(Hopeless, match="cannot be enrolled in group web: "):
        controller.serve(agent())
    controller.client.registry.group("web")
    assert not controller.client.registry.group("web").servers
