"""A switch is asked for a role; what it answers, in the words of ``cluster``.

- EQUAL is never asked for: it needs no generation, so nothing would keep two controllers apart.
- Whoever wants to be the master asks for the switch's generation first.  The switch handles both requests one after the
  other, so the answer says whether another controller has been its master since this one was.
- A slave is what the switch makes of it with its own generation: a greater one would be taken from the next master.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.cluster.cluster import Claim, RoleAnswer
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.pending import RoleReply

NO_GENERATION = (1 << 64) - 1  # of a switch that nobody has asked for a role since its start

_Reply: TypeAlias = RoleReply | bool | None  # see ``RoleResult``


class Answered(NamedTuple):
    """``generation``: the switch's own, before it was asked for a role; None: not known."""

    answer: RoleAnswer
    generation: int | None


def ask(switch: Channel, claim: Claim, answered: Callable[[Answered], object]) -> None:
    _Dialogue(switch, claim, answered).begin()


class _Dialogue:
    def __init__(self, switch: Channel, claim: Claim, answered: Callable[[Answered], object]) -> None:
        self._switch = switch
        self._claim = claim
        self._answered = answered
        self._generation: int | None = None

    def begin(self) -> None:
        self._switch.ask_role(ofp.OFPCR_ROLE_NOCHANGE, 0, self._take_generation)
        if self._claim.master:
            self._switch.ask_role(ofp.OFPCR_ROLE_MASTER, self._claim.generation, self._take)

    def _take_generation(self, reply: _Reply) -> None:
        if isinstance(reply, RoleReply):
            self._generation = reply.generation
        if self._claim.master:
            return
        if reply is None:
            self._end(RoleAnswer.SILENT)
        else:  # a switch that does not tell its generation may have roles all the same
            generation = self._claim.generation if self._generation is None else self._generation
            self._switch.ask_role(ofp.OFPCR_ROLE_SLAVE, generation, self._take)

    def _take(self, reply: _Reply) -> None:
        wanted = ofp.OFPCR_ROLE_MASTER if self._claim.master else ofp.OFPCR_ROLE_SLAVE
        if isinstance(reply, RoleReply):
            self._end(RoleAnswer.GRANTED if reply.role == wanted else RoleAnswer.SILENT)
        elif reply is None:
            self._end(RoleAnswer.SILENT)
        else:
            self._end(RoleAnswer.STALE if reply else RoleAnswer.UNSUPPORTED)

    def _end(self, answer: RoleAnswer) -> None:
        self._answered(Answered(answer, self._generation))
