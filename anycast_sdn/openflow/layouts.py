"""Layouts: which one suits a switch with so many tables, and which of the logical tables it has room for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from anycast_sdn.openflow.layout import FIVE_TABLES, HIGHEST, THREE_TABLES, Layout
from anycast_sdn.openflow.next_hops import TWO_TABLES
from anycast_sdn.openflow.one_table import ONE_TABLE
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import FlowRule

_PIPELINE = [table for table in Table if table < Table.EGRESS]  # what every switch needs


def suited(tables: int) -> Layout:
    """For a switch with so many tables; 0: it does not say how many."""
    if tables >= len(_PIPELINE) or not tables:
        return FIVE_TABLES
    if tables == 1:
        return ONE_TABLE
    return THREE_TABLES if tables >= 3 else TWO_TABLES.of_switch()


@lru_cache
def places(tables: int) -> Mapping[Table, int]:
    """By logical table: the one of such a switch that carries it, as ``suited`` has it."""
    layout = suited(tables)
    return MappingProxyType({table: layout.table(table) for table in Table})


def carried_in(tables: int, table: int) -> list[Table]:
    """The logical tables that this table of such a switch carries."""
    return [logical for logical, place in places(tables).items() if place == table]


def carries(layout: Layout, tables: int, logical: int) -> bool:
    """Does a switch with so many tables have the one that carries a logical one?  0: it does not say."""
    return not tables or layout.table(logical) < tables


def highest(layout: Layout) -> int:
    """The highest priority that a rule of the pipeline can have on the switch."""
    return max(layout.on_switch(FlowRule(table, HIGHEST, (), 0)).priority for table in _PIPELINE)
