"""Mastered: as what this controller was a switch's master last, and whether another one has been that since."""

from __future__ import annotations

from typing import NamedTuple

from anycast_sdn.cluster.cluster import RoleAnswer, Turn
from anycast_sdn.process import roles
from anycast_sdn.process.roles import Answered


class Mastered(NamedTuple):
    """By which generation this controller became a switch's master, and the cluster's term then."""

    generation: int
    term: int


def was_only_master(last: Mastered, now: Mastered, answered: Answered, turn: Turn) -> bool:
    """Has nobody else been the switch's master since this controller was?"""
    if answered.answer is RoleAnswer.UNSUPPORTED:
        return turn is Turn.KEPT or last.generation == now.generation
    if answered.generation == roles.NO_GENERATION:  # the switch was started anew
        return last.term == now.term
    return last.generation == answered.generation
