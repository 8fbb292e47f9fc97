"""What the REST interface shows of what switches are, and can be."""

from __future__ import annotations

from typing import Literal

from anycast_sdn.api.members import said
from anycast_sdn.api.shown_network import Rules
from anycast_sdn.description.section import Section

Family = Literal["ipv4", "ipv6"]


class SwitchDescription(Section):
    """What a switch says of itself (OFPMP_DESC); null: it says nothing."""

    manufacturer: str | None
    hardware: str | None
    software: str | None = said("its version")
    serial: str | None
    datapath: str | None = said("what its operator calls it")


class LackShown(Section):
    """Something that a role needs, and the switch has refused."""

    ability: str
    what: str = said("the same in words, as in: it cannot ...")
    family: Family | None = said("for which the role is lost; null: for both")
    table: int | None = said("the switch's, in which it was tried; null: in none")
    why: str = said("what the switch has answered")


class RoleShown(Section):
    """What a switch can be."""

    role: Literal["client edge", "server edge", "core"]
    wanted: bool = said("has the network file given it this role?")
    families: list[Family] = said("in which it can carry the role out")
    sentence: str = said("the judgement; its subject is the switch")
    doubt: str | None = said("why it is not known whether it can, where nothing says that it cannot; null: it is known")
    lacks: list[LackShown]


class WithoutShown(Section):
    """Something that a switch lacks, and without which it can be used."""

    feature: str
    effect: str = said("what is done instead, or not at all; its subject is the switch")


class TableRoom(Section):
    """What a table of a switch has room for."""

    table: int
    needs: int = said("rules that it should hold, besides those of flows")
    says: int | None = said("for how many rules the switch says that there is room; null: it does not say")


class GroupRoom(Section):
    """As of a table, of groups."""

    needs: int
    says: int | None


class RoomShown(Section):
    """Whether what a switch should hold fits."""

    tables: list[TableRoom]
    groups: GroupRoom


class SwitchReport(Section):
    """What a switch is, what it can be, and what it holds."""

    name: str
    dpid: int = said("its datapath id")
    address: str | None = said("where it is connected from; null: it is not")
    connected: bool = said("is it connected, and has it the rules that it should have?")
    description: SwitchDescription
    tables: int | None = said("how many it says that it has; null: it does not say")
    layout: dict[str, int] | None = said("by table of the pipeline: the table of the switch that carries it")
    roles: list[RoleShown] = said("empty: nothing is known, since it has not connected")
    without: list[WithoutShown]
    unanswered: list[str] = said("what it does not answer when it is asked for it")
    rules: Rules
    room: RoomShown | None = said("null: nothing is known")


class SwitchReports(Section):
    """All switches."""

    switches: list[SwitchReport]
