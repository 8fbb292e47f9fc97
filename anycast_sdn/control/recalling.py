"""Recalling: what a switch does not tell of its flows when it is read, and somebody has kept, is known again then.

Flows of a connection tracker are kept in a file, or by other members of a cluster; codes of services, by the leader.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.kept_flows import KeptFlow
from anycast_sdn.core.model import Prefix
from anycast_sdn.engines.engine import Engine

RECALLED_AT_ONCE = 200  # flows in one slice: some milliseconds


class Recalled(NamedTuple):
    """``to_epoch``: see ``Engine.remember``; ``done``: called when all flows are known again."""

    flows: Iterator[KeptFlow]
    to_epoch: float
    done: Callable[[Engine, float], None]


class Recalling:
    """Of one switch."""

    def __init__(self, engine: Engine, codes: Mapping[Prefix, int]) -> None:
        """``codes``: of services, as the leader has said last, see ``ServiceCodes``."""
        self._engine = engine
        self.codes = codes
        self._adopts_codes = False  # they are of use when all rules have been read
        self._recalled: Recalled | None = None

    def recall(self, recalled: Recalled) -> None:
        self._recalled = recalled

    def begin(self) -> None:
        """The switch is read from now on."""
        self._adopts_codes = True

    def recall_some(self, groups: Groups, now: float) -> bool:
        """When all rules have been read → were there any flows?"""
        if self._adopts_codes:
            self._adopts_codes = False
            if self._engine.codes:
                self._engine.codes.adopt(self.codes)
        recalled = self._recalled
        if recalled is None:
            return False
        if some := list(islice(recalled.flows, RECALLED_AT_ONCE)):
            self._engine.remember(some, groups, recalled.to_epoch, now)
            return True
        self._recalled = None
        recalled.done(self._engine, now)
        return False
