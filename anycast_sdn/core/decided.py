"""Decided: what has been decided for the whole network, as one switch asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from anycast_sdn.core.model import Address, AnycastGroup, Prefix
from anycast_sdn.core.slots import Slots


class Decided(NamedTuple):
    is_enrolled: Callable[[Address], bool]  # is this server in any group?
    is_announced: Callable[[Prefix], bool]  # is there an edge that is able to serve this ANY/n?
    is_lost: Callable[[Address, str], bool]  # is this server lost, or has it failed for this group?
    slots: Callable[[AnycastGroup, bool], Slots]  # that the group should have at this switch, in one family
    # The number of the decision by which a new flow of a group gets its server now, in a family.
    choice_of: Callable[[str, bool], int] = lambda group, is_v6: 0
    # Can the switch hold flows of clients in a family, of a protocol?
    can_serve: Callable[[bool, int], bool] = lambda is_v6, protocol: True
    # By which this controller is the switch's master; 0: there is no other controller.
    term: Callable[[], int] = int
