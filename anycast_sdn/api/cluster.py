"""The cluster over REST: who is there, and what operators may ask it."""

from __future__ import annotations

from anycast_sdn.api.asked import Answer, Asked
from anycast_sdn.cluster.steering import CannotSteer
from anycast_sdn.core.words import listed


def get_cluster(asked: Asked) -> Answer:
    return Answer(asked.views.cluster())


def drain_member(asked: Asked, name: str) -> Answer:
    asked.steering.drain(name)
    return Answer()


def resume_member(asked: Asked, name: str) -> Answer:
    asked.steering.resume(name)
    return Answer()


def forget_member(asked: Asked, name: str) -> Answer:
    asked.steering.forget(name)
    return Answer()


def lead(asked: Asked, name: str) -> Answer:
    asked.steering.lead(name)
    return Answer()


def move(asked: Asked, name: str, switch: str) -> Answer:
    asked.steering.move(switch, name)
    return Answer()


def share(asked: Asked) -> Answer:
    reports = ((each["name"], each["layout"] or {}) for each in asked.views.switch_reports(asked.turn.over))
    if two_tables := [name for name, layout in reports if len({*layout.values()}) == 2]:
        raise CannotSteer(
            f"not while there are switches with two tables, of which one member decides on all: {listed(two_tables)}. "
            "They would lose the next hops of known flows when routes change"
        )
    asked.steering.share(True)
    return Answer()


def gather(asked: Asked) -> Answer:
    asked.steering.share(False)
    return Answer()
