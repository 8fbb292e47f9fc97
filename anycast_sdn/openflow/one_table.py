"""One table: the layout of a switch that has no more.  It holds what a core needs, and keeps hosts out.

As in ``layout``, the logical tables differ in their priorities.  Rules of ingress that only let packets go on, to the
client edge's table, cannot: there is no other table, and no packet is looked up twice.  They are installed below
everything else, where no packet matches them.  So what ingress does not drop, or send to the controller, is looked up
among the routes at once.

- From other switches and routers all packets come in, so that is what the pipeline does.
- From hosts only packets of certain sources may come in, and there no rule lets them: all of them are dropped by the
  rule for anything else from that port.  A switch with one table is no edge (``judgement``).
- From ports that lead nowhere no packet may come in.  In other layouts no rule lets them in; here there is a rule for
  each such port that drops (``entries.closed``).
"""

from __future__ import annotations

from dataclasses import replace

from anycast_sdn.openflow.layout import ANYTHING_ELSE, Shared
from anycast_sdn.openflow.pipeline import ROW, kind_of
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.rules import FlowRule, PopVlan, Unread


class OneTable(Shared):
    def on_switch(self, rule: FlowRule) -> FlowRule:
        if rule.table == Table.INGRESS and (rule.goto is not None or rule.priority == ANYTHING_ELSE):
            return replace(rule, table=0, priority=ANYTHING_ELSE, goto=None)
        return super().on_switch(rule)

    def logical(self, rule: FlowRule) -> FlowRule:
        if rule.table or rule.priority != ANYTHING_ELSE:
            return super().logical(rule)
        kind = kind_of(rule.cookie)
        if kind is None or ROW[kind].table is not Table.INGRESS or rule.goto is not None:
            return replace(rule, actions=(*rule.actions, Unread()))
        row = ROW[kind]
        twin = row.untags and rule.actions[:1] == (PopVlan(),)
        return replace(rule, table=row.table, priority=row.priority + twin, goto=row.goto)


ONE_TABLE = OneTable(
    (Table.INGRESS, Table.CLIENT_OUT, Table.SERVICE, Table.CLIENT_IN, Table.ROUTES),
    *((table,) for table in Table if table >= Table.EGRESS),
)
