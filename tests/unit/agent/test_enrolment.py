"""The machine of one enrolment, against the REST application itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from anycast_sdn.agent.agent_line import read_line
from anycast_sdn.agent.enrolment import GIVE_UP_S, MOST_PAUSE_S, Enrolment, Hopeless, Settings
from anycast_sdn.agent.messages import Answer, Request
from tests.unit.rest_client import Client

SERVER = "10.2.0.10"
PATH = f"/v1/groups/web/servers/{SERVER}"
SILENCE = Answer(0, reason="no controller answers")


class Controller:
    """The REST application, and the time."""

    def __init__(self) -> None:
        self.client = Client(":memory:")
        assert self.client.ask("PUT", "/v1/groups/web", {"prefixes": ["198.18.0.1/32"]}).status_code == 201
        self.now = 1000.0
        self.requests: list[Request] = []

    def carry(self, request: Request) -> Answer:
        response = self.client.ask(request.method, request.path, request.body)
        body: Any = response.json if response.body else None
        reason = "" if response.status_code < 400 else body["detail"]
        return Answer(response.status_code, body, response.headers.get("Location", ""), reason)

    def serve(self, agent: Enrolment, most: int = 20) -> list[str]:
        """Until the agent asks for nothing more → what it logs."""
        lines = []
        while request := agent.next(self.now):
            self.requests.append(request)
            assert len(self.requests) < most, self.requests
            lines += agent.answered(self.carry(request), self.now)
        return lines

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.requests.clear()

    def server(self) -> dict[str, Any]:
        return dict(self.client.get(PATH))

    def patch(self, **changes: Any) -> None:
        assert self.client.ask("PATCH", PATH, changes).status_code == 200


@pytest.fixture
def controller() -> Controller:
    return Controller()


def agent(**settings: Any) -> Enrolment:
    return Enrolment(Settings("web", **settings), SERVER, lambda: 0.5)


def test_a_server_that_is_not_enrolled_is_enrolled_with_its_weight(controller: Controller) -> None:
    ours = agent(weight=3)
    assert controller.serve(ours) == ["it is enrolled in group web"]
    assert ours.is_enrolled
    assert controller.server()["weight"] == 3


def test_what_an_operator_has_set_survives_a_restart_of_the_agent(controller: Controller) -> None:
    controller.serve(agent(weight=3))
    controller.patch(weight=7, state="disabled")
    assert controller.serve(agent(weight=3)) == ["it was enrolled already in group web; an operator has disabled it"]
    assert (controller.server()["weight"], controller.server()["state"]) == (7, "disabled")


def test_a_drained_server_is_active_again_when_its_agent_starts(controller: Controller) -> None:
    controller.serve(agent(weight=3))
    controller.patch(state="draining")
    assert controller.serve(agent()) == ["it takes new flows again in group web"]
    assert (controller.server()["weight"], controller.server()["state"]) == (3, "active")


def test_a_drain_of_an_operator_is_left_alone_while_the_agent_runs(controller: Controller) -> None:
    ours = agent()
    controller.serve(ours)
    controller.patch(state="draining")
    controller.pass_time(60)
    assert controller.serve(ours) == ["it is draining now"]
    controller.pass_time(60)
    assert controller.serve(ours) == []


def test_a_controller_that_has_forgotten_the_server_gets_it_again(controller: Controller) -> None:
    ours = agent(weight=3)
    controller.serve(ours)
    controller.client.ask("DELETE", PATH)
    controller.pass_time(60)
    assert controller.serve(ours) == [
        "the controller has forgotten it: it is enrolled again", "it is enrolled in group web"
    ]  # fmt: skip
    assert controller.server()["weight"] == 3


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_a_refusal_before_the_first_enrolment_ends_the_agent(status: int, controller: Controller) -> None:
    ours = agent()
    ours.next(controller.now)
    if status == 404:  # the server is not there, and neither is its group
        ours.answered(Answer(404, reason="no such server"), controller.now)
        ours.next(controller.now)
    with pytest.raises(Hopeless, match=r"10\.2\.0\.10 cannot be enrolled in group web: because"):
        ours.answered(Answer(status, reason="because"), controller.now)


def test_a_refusal_later_is_logged_once_and_asked_again_with_pauses(controller: Controller) -> None:
    ours, lines, asked = agent(), [], 0
    controller.serve(ours)
    for _ in range(300):
        controller.pass_time(1)
        if ours.next(controller.now):
            asked += 1
            lines += ours.answered(Answer(403, reason="the token is revoked"), controller.now)
    assert lines == ["refused: the token is revoked"]
    assert 10 < asked < 60
    controller.pass_time(60)
    controller.serve(ours)
    assert ours.is_enrolled


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
        ours = Enrolment(Settings("web"), SERVER, lambda: chance)
        ours.next(0)
        ours.answered(SILENCE, 0)
        return next(tenth / 10 for tenth in range(100) if ours.next(tenth / 10))

    assert (pause(0.0), pause(1.0)) == (0.5, 1.0)


def test_an_agent_that_ends_drains_its_server_and_waits_for_its_last_flow(controller: Controller) -> None:
    ours = agent()
    controller.serve(ours)
    controller.client.facts.server_flows = 2
    ours.leave()
    assert controller.serve(ours) == ["it is draining: 2 flows left"]
    assert controller.server()["state"] == "draining"
    controller.pass_time(5)
    assert controller.serve(ours) == []
    assert not ours.has_ended
    controller.client.facts.server_flows = 0
    controller.pass_time(5)
    assert controller.serve(ours) == ["it is drained"]
    assert ours.has_ended
    assert not ours.failure


def test_an_agent_that_ends_removes_its_server_if_asked_to(controller: Controller) -> None:
    ours = agent(remove=True)
    controller.serve(ours)
    controller.client.facts.server_flows = 0
    ours.leave()
    assert controller.serve(ours)[-1] == "it is removed"
    assert controller.client.ask("GET", PATH).status_code == 404


def test_an_agent_that_never_enrolled_its_server_ends_at_once(controller: Controller) -> None:
    ours = agent()
    ours.leave()
    assert ours.has_ended


def test_a_drain_is_given_up_when_no_controller_answers(controller: Controller) -> None:
    ours = agent()
    controller.serve(ours)
    ours.leave()
    began = controller.now
    while not ours.has_ended:
        controller.pass_time(1)
        if ours.next(controller.now):
            ours.answered(SILENCE, controller.now)
    assert GIVE_UP_S < controller.now - began < GIVE_UP_S + MOST_PAUSE_S + 2
    assert ours.failure == "not known to be drained: no controller answers"


def test_the_agent_check_changes_weight_and_state_and_changes_them_back(controller: Controller) -> None:
    ours = agent(weight=200)
    controller.serve(ours)
    for line, weight, state in (
        (b"75%", 150, "active"), (b"drain", 150, "draining"), (b"100%", 200, "draining"), (b"ready", 200, "active"),
        (b"maint 1%", 2, "draining"), (b"up ready 900%", 1000, "active"),
    ):  # fmt: skip
        ours.report_line(read_line(line))
        controller.pass_time(1)
        controller.serve(ours)
        assert (controller.server()["weight"], controller.server()["state"]) == (weight, state), line
    controller.pass_time(1)
    assert controller.serve(ours) == []


def test_ready_does_not_end_what_an_operator_has_begun(controller: Controller) -> None:
    ours = agent()
    controller.serve(ours)
    for state in ("draining", "disabled"):
        controller.patch(state=state)
        controller.pass_time(60)
        controller.serve(ours)
        ours.report_line(read_line(b"ready up"))
        controller.serve(ours)
        assert controller.server()["state"] == state
