"""What REST shows of the network: switches, topology, links and health; and the cost of a link."""

from __future__ import annotations

from typing import Any

from anycast_sdn.api import reading
from anycast_sdn.api.asked import Answer, Asked
from anycast_sdn.api.life import drain_json
from anycast_sdn.api.tokens import Need
from anycast_sdn.description.model import Port
from anycast_sdn.views.turns import with_turns


def list_switches(asked: Asked) -> Answer:
    switches = with_turns(asked.views.switches(asked.turn.over), asked.turn.over)
    hosts: dict[str, Any] = {"hosts": []} if asked.query.hosts == "none" else {}
    return Answer({"edges": [_with_drain(asked, switch) | hosts for switch in switches]})


def get_switch(asked: Asked, name: str) -> Answer:
    return Answer(_with_drain(asked, asked.views.switch(name, asked.turn.over)))


def list_reports(asked: Asked) -> Answer:
    return Answer({"switches": list(asked.views.switch_reports(asked.turn.over))})


def get_report(asked: Asked, name: str) -> Answer:
    return Answer(asked.views.switch_report(name))


def examine(asked: Asked, name: str) -> Answer:
    return Answer(asked.views.examine(name))


def _with_drain(asked: Asked, switch: dict[str, Any]) -> dict[str, Any]:
    return switch | {"drain": drain_json(asked, asked.registry.edges.get(switch["name"]))}


def get_topology(asked: Asked) -> Answer:
    return Answer(asked.views.topology(asked.query.without, asked.query.group, asked.turn.over))


def get_link(asked: Asked, end: Port) -> Answer:
    return Answer(asked.views.link(end))


def patch_link(asked: Asked, end: Port) -> Answer:
    reading.check_fixed(asked.body, asked.views.link(end))
    return Answer(asked.views.set_link_cost(end, asked.body.cost))


def get_live(asked: Asked) -> Answer:
    return Answer({"status": "ok"})


def get_ready(asked: Asked) -> Answer:
    is_starting = asked.views.health()["status"] == "starting"
    return Answer({"status": "starting" if is_starting else "ok"}, status=503 if is_starting else 200)


def show_caller(asked: Asked) -> Answer:
    return Answer({"name": asked.caller.name, "scopes": sorted(asked.caller.scopes)})


def show_health(asked: Asked) -> Answer:
    """As ``/healthz`` has it, for those who look at it: nothing is wrong with the answer when something else is."""
    return Answer(asked.views.health())


def list_replies(asked: Asked) -> Answer:
    return Answer({"replies": list(asked.views.replies(asked.query.group, asked.turn.over))})


def get_metrics(asked: Asked) -> Answer:
    return Answer(text=asked.views.metrics(asked.fields.get("Accept", ""), asked.turn.over))


def get_history(asked: Asked) -> Answer:
    wanted = asked.query
    return Answer(asked.views.history(wanted.last_s, wanted.step_s, asked.turn.over))


def get_health(asked: Asked) -> Answer:
    health = asked.views.health()
    shown = health if asked.caller.may(Need.READ) else {"status": health["status"]}
    return Answer(shown, status=200 if health["status"] == "ok" else 503)
