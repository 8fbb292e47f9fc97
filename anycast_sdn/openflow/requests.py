"""What a switch can be asked about its rules."""

from __future__ import annotations

from typing import NamedTuple

from anycast_sdn.openflow.row import Table


class RulesRequest(NamedTuple):
    """The rules whose cookies equal ``cookie`` under ``mask``, in one logical table or, where it is None, in all."""

    cookie: int
    mask: int
    table: Table | None = None

    def covers(self, cookie: int) -> bool:
        """Is a rule with this cookie asked for?  A switch that ignores cookies answers with others, too."""
        return not (cookie ^ self.cookie) & self.mask
