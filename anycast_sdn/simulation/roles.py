"""Roles: which of several controllers may write to a simulated switch, as in Open vSwitch 3.1 (OpenFlow 1.3.5 §6.3.6).

- A new connection is EQUAL and may write.
- MASTER and SLAVE are asked for with a generation; one that is earlier than the last that was accepted is stale, an
  equal one is accepted.  Which one is earlier is a signed distance of 64 bits.  EQUAL needs none.
- A controller that becomes MASTER makes a SLAVE of the one before, which is not told.
- The generation stays when all connections are lost; only a new switch has none.
"""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple

NO_GENERATION = (1 << 64) - 1  # what it says before it has seen one


class Role(Enum):
    """The values of ofp_controller_role."""

    NOCHANGE = 0
    EQUAL = 1
    MASTER = 2
    SLAVE = 3


class RoleReply(NamedTuple):
    role: Role
    generation: int


class Stale(Exception):
    """11/0: the generation is earlier than one that was accepted."""


class IsSlave(Exception):
    """1/10: the controller may not write."""


class Roles:
    def __init__(self) -> None:
        self.generation: int | None = None
        self._of: dict[Hashable, Role] = {}

    def connected(self, controller: Hashable) -> None:
        self._of[controller] = Role.EQUAL

    def disconnected(self, controller: Hashable) -> None:
        self._of.pop(controller, None)

    def of(self, controller: Hashable) -> Role:
        return self._of[controller]

    @property
    def master(self) -> Hashable | None:
        return next((each for each, role in self._of.items() if role is Role.MASTER), None)

    def ask(self, controller: Hashable, role: Role, generation: int = 0) -> RoleReply:
        """Raises Stale."""
        if role in (Role.MASTER, Role.SLAVE):
            if self.generation is not None and _distance(self.generation, generation) < 0:
                raise Stale
            self.generation = generation
        if role is Role.MASTER:
            self._of.update({each: Role.SLAVE for each, its in self._of.items() if its is Role.MASTER})
        if role is not Role.NOCHANGE:
            self._of[controller] = role
        return RoleReply(self._of[controller], NO_GENERATION if self.generation is None else self.generation)

    def check_write(self, controller: Hashable) -> None:
        """Raises IsSlave."""
        if self._of[controller] is Role.SLAVE:
            raise IsSlave


def _distance(earlier: int, later: int) -> int:
    difference = (later - earlier) % (1 << 64)
    return difference - (1 << 64) if difference >> 63 else difference
