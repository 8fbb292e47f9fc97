"""Timeout policies of connection tracker zones, in the database of an Open vSwitch (ovs-vswitchd.conf.db(5)).

``questions`` ask for what the database holds, ``read`` understands the answers, and ``corrections`` make that equal to
what is wanted.  Questions and corrections are the operations of a transaction (RFC 7047 §5.2).  Pure: the caller sends
them.

- The policies are those of a datapath, which all bridges of its type share.  Other zones than ours are left as they
  are, and a transaction is refused if somebody has changed what it relies on.
- Open vSwitch applies the policies only if there is a Datapath record, which it does not make by itself.
- The database removes by itself what no zone refers to any longer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

Operation: TypeAlias = dict[str, Any]
Rows: TypeAlias = Sequence[Mapping[str, Any]]
Timeouts: TypeAlias = Mapping[str, int]

DATABASE = "Open_vSwitch"
KERNEL = "system"  # the type of a datapath, also of bridges that name none


class Unsuitable(Exception):
    """The database is not that of the switch."""


class Found(NamedTuple):
    """What the database holds of the switch's datapath."""

    kind: str  # the datapath's type
    root: Any  # the reference to the only row of Open_vSwitch
    datapaths: Any  # of that row, as it was read
    datapath: Any  # the reference to the datapath's record; None: there is none
    zones: Mapping[int, Timeouts]  # those with a policy


def questions(dpid: int) -> list[Operation]:
    return [
        _select("Bridge", [["datapath_id", "==", f"{dpid:016x}"]], "datapath_type"),
        _select("Open_vSwitch", [], "_uuid", "datapaths"),
        _select("Datapath", [], "_uuid", "ct_zones"),
        _select("CT_Zone", [], "_uuid", "timeout_policy"),
        _select("CT_Timeout_Policy", [], "_uuid", "timeouts"),
    ]


def read(answers: Sequence[Rows]) -> Found:
    """Raises Unsuitable when the switch is no bridge there, or the database is no Open vSwitch's."""
    try:
        return _read(answers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unsuitable(f"it answers otherwise than the database of Open vSwitch: {error!r}") from error


def _read(answers: Sequence[Rows]) -> Found:
    bridges, (root,), datapaths, zones, policies = answers
    kinds = {bridge["datapath_type"] or KERNEL for bridge in bridges}
    if len(kinds) != 1:
        which = "several bridges of different types have" if kinds else "no bridge there has"
        raise Unsuitable(f"{which} the switch's datapath id")
    (kind,) = kinds
    datapath = _mapping(root["datapaths"]).get(kind)
    timeouts = {_id(row["_uuid"]): _mapping(row["timeouts"]) for row in policies}
    with_policy = {_id(row["_uuid"]): timeouts[_id(row["timeout_policy"])] for row in zones
                   if _id(row["timeout_policy"]) in timeouts}  # fmt: skip
    own = next((_mapping(row["ct_zones"]) for row in datapaths if row["_uuid"] == datapath), {})
    known = {zone: with_policy[_id(uuid)] for zone, uuid in own.items() if _id(uuid) in with_policy}
    return Found(kind, root["_uuid"], root["datapaths"], datapath, known)


def corrections(found: Found, wanted: Mapping[int, Timeouts]) -> list[Operation]:
    """What gives all these zones their timeouts; [] when they have them.

    What is right is not touched: connections in a zone whose policy changes go on by the datapath's own timeouts.
    """
    if found.kind == KERNEL:
        wanted = {zone: _of_kernel(timeouts) for zone, timeouts in wanted.items()}
    wanted = {zone: timeouts for zone, timeouts in wanted.items() if found.zones.get(zone) != timeouts}
    if not wanted:
        return []
    operations: list[Operation] = []
    for zone, timeouts in wanted.items():
        pairs = [list(pair) for pair in timeouts.items()]
        operations.append(_insert("CT_Timeout_Policy", f"policy{zone}", timeouts=["map", pairs]))
        operations.append(_insert("CT_Zone", f"zone{zone}", timeout_policy=_new(f"policy{zone}")))
    ours = ["map", [[zone, _new(f"zone{zone}")] for zone in wanted]]
    if found.datapath:
        others_gone = ["ct_zones", "delete", ["set", list(wanted)]]
        return [*operations, _mutate("Datapath", found.datapath, others_gone, ["ct_zones", "insert", ours])]
    return [
        *operations,
        _wait("Open_vSwitch", found.root, datapaths=found.datapaths),
        _insert("Datapath", "datapath", datapath_version="0", ct_zones=ours),
        _mutate("Open_vSwitch", found.root, ["datapaths", "insert", ["map", [[found.kind, _new("datapath")]]]]),
    ]


def _of_kernel(timeouts: Timeouts) -> Timeouts:
    """The kernel has one timeout for ICMP, and calls that the first."""
    return {**timeouts, "icmp_first": max(timeouts["icmp_first"], timeouts["icmp_reply"])}


# ------------------------------------------------------------------------------ as RFC 7047 has it


def _mapping(value: Any) -> dict[Any, Any]:
    """["map", [[key, value], …]] → a dictionary."""
    return {key: value for key, value in value[1]}


def _id(reference: Any) -> str:
    """["uuid", id] → the id; ["set", []], of an optional reference that is missing, → ""."""
    return str(reference[1]) if reference[0] == "uuid" else ""


def _new(name: str) -> Any:
    """The reference to a row that this transaction inserts."""
    return ["named-uuid", name]


def _select(table: str, where: list[Any], *columns: str) -> Operation:
    return {"op": "select", "table": table, "where": where, "columns": list(columns)}


def _insert(table: str, name: str, **row: Any) -> Operation:
    return {"op": "insert", "table": table, "uuid-name": name, "row": row}


def _mutate(table: str, uuid: Any, *mutations: Any) -> Operation:
    return {"op": "mutate", "table": table, "where": [["_uuid", "==", uuid]], "mutations": list(mutations)}


def _wait(table: str, uuid: Any, **row: Any) -> Operation:
    """The transaction is refused unless the row is so."""
    where = [["_uuid", "==", uuid]]
    return {"op": "wait", "timeout": 0, "table": table, "where": where, "columns": list(row), "until": "==",
            "rows": [row]}  # fmt: skip
