"""A switch is asked for a role; what it answers, in the words of ``cluster``.

EQUAL is never asked for: it needs no generation, so nothing would keep two controllers apart.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.cluster.cluster import Claim, RoleAnswer
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.pending import RoleReply

Answered = Callable[[RoleAnswer, int], object]


def ask(switch: Channel, claim: Claim, answered: Answered) -> None:
    role = ofp.OFPCR_ROLE_MASTER if claim.master else ofp.OFPCR_ROLE_SLAVE
    switch.ask_role(role, claim.generation, partial(_take, switch, role, answered))


def _take(switch: Channel, role: int, answered: Answered, answer: RoleReply | bool | None) -> None:
    if isinstance(answer, RoleReply):
        answered(RoleAnswer.GRANTED if answer.role == role else RoleAnswer.SILENT, answer.generation)
    elif answer:  # what is its generation then?
        switch.ask_role(ofp.OFPCR_ROLE_NOCHANGE, 0, partial(_take_generation, answered))
    else:
        answered(RoleAnswer.SILENT if answer is None else RoleAnswer.UNSUPPORTED, 0)


def _take_generation(answered: Answered, answer: RoleReply | bool | None) -> None:
    answered(RoleAnswer.STALE, answer.generation if isinstance(answer, RoleReply) else 0)
