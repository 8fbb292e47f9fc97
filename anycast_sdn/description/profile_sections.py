"""How a profile is written: under ``profile`` of a switch in a network file, or as a file of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description import profile
from anycast_sdn.description.problems import reason
from anycast_sdn.description.profiles import PROFILES
from anycast_sdn.description.section import Section, Setting, as_in, list_of, optional
from anycast_sdn.description.text import shown
from anycast_sdn.description.values import Form, NotOfForm


def _one_of(names: tuple[str | int, ...]) -> Form:
    known = list(dict.fromkeys(names))

    def read(value: object) -> object:
        if value not in known:
            raise NotOfForm(f"is none of {', '.join(map(str, known))}")
        return value

    return Form(read, {"enum": known})


_Field = Annotated[str, _one_of(profile.NAMES["match"])]
_Action = Annotated[str, _one_of(profile.NAMES["actions"])]
_Table = Annotated[int, Field(ge=0, le=profile.ALL_TABLES - 1)]
_OF_RULES = ("match", "masks", "set", "actions", "instructions", "ports", "flags", "timeouts")  # kinds of elements
_Size = Annotated[int, Field(ge=0, le=1 << 24)]


class Elements(Setting):
    """Elements of OpenFlow messages, by the names of OpenFlow 1.3.5 in small letters: a message that has one is meant.

    `experimenter` stands for all fields, actions and messages that are no part of OpenFlow itself.
    """

    of: ClassVar[type] = profile.Elements

    match: list[_Field] = list_of("fields that rules match, such as ipv6_src")
    masks: list[_Field] = list_of("fields that rules match under a mask or a prefix length")
    set: list[_Field] = list_of("fields that the action set_field sets")
    actions: list[_Action] = list_of("actions, such as dec_nw_ttl, set_field, group")
    bucket_actions: list[_Action] = list_of("actions in the buckets of groups")
    instructions: list[Annotated[str, _one_of(profile.NAMES["instructions"])]] = list_of(
        "instructions of rules, such as goto_table, meter"
    )
    ports: list[Annotated[str, _one_of(profile.NAMES["ports"])]] = list_of("reserved ports to which packets are sent")
    groups: list[Annotated[str, _one_of(profile.NAMES["groups"])]] = list_of("types of groups")
    flags: list[Annotated[str, _one_of(profile.NAMES["flags"])]] = list_of("flags of rules, such as send_flow_rem")
    timeouts: list[Annotated[str, _one_of(profile.NAMES["timeouts"])]] = list_of("timeouts of rules")
    messages: list[Annotated[str, _one_of(profile.NAMES["messages"])]] = list_of(
        "messages, such as meter_mod, role_request"
    )
    multipart: list[Annotated[str, _one_of(profile.NAMES["multipart"])]] = list_of(
        "multipart requests, such as table_features"
    )
    tables: list[_Table] = list_of("only rules in these tables of the switch are meant. Left out: all of them")
    family: Annotated[int, _one_of((4, 6))] | None = optional(
        "only rules that match packets of IPv4 (4) or of IPv6 (6) are meant. Left out: all of them"
    )

    @model_validator(mode="after")
    def _names_something(self) -> Elements:
        named = [kind for kind in profile.NAMES if getattr(self, kind)]
        if (self.tables or self.family) and not any(kind in _OF_RULES for kind in named):
            key = "tables" if self.tables else "family"
            raise ValueError(f"{key} only says which rules are meant: write what of them, such as actions: [output]")
        if not named:
            raise ValueError("names no element: write what is meant, such as actions: [dec_nw_ttl]")
        return self


def _each_once(numbers: list[int]) -> list[int]:
    if twice := sorted({number for number in numbers if numbers.count(number) > 1}):
        raise ValueError(f"{twice[0]} is written twice: each table has a number of its own")
    return numbers


def _without_match(ignored: list[Elements]) -> list[Elements]:
    if any(elements.match or elements.masks for elements in ignored):
        raise ValueError("no switch ignores what a rule matches: write match and masks under refuse")
    return ignored


class Late(Setting):
    """A reply that the switch gives late."""

    of: ClassVar[type] = profile.Late

    message: Annotated[str, _one_of((*profile.ANSWERED, *profile.NAMES["multipart"]))] = Field(
        description="the request, such as barrier_request, flow"
    )
    seconds: Annotated[float, Field(ge=0, le=600)] = Field(description="so much later")


class Profile(Section):
    """What a switch does not do: the testbed's Open vSwitch plays it (M28). The controller finds out by itself.

    Instead of a section, the name of a profile may be written.
    """

    like: Annotated[str, _one_of(tuple(PROFILES))] | None = optional(
        "the name of a profile in docs/hardware.md, to which the other keys are added"
    )
    manufacturer: str | None = optional("how the switch describes itself")
    hardware: str | None = optional("how the switch describes itself")
    software: str | None = optional("how the switch describes itself")
    tables: Annotated[int, Field(ge=1, le=profile.ALL_TABLES)] | None = optional("how many tables it has, from 0 on")
    numbered: Annotated[list[_Table], AfterValidator(_each_once)] | None = optional(
        "the numbers of its tables, where they are not those from 0 on"
    )
    refuse: list[Elements] = list_of("what it answers with an error")
    ignore: Annotated[list[Elements], AfterValidator(_without_match)] = list_of(
        "what it leaves out of rules and groups, though it lists them as they were sent, and says nothing; a request "
        "that it leaves unanswered"
    )
    close: list[Elements] = list_of("what ends its connection")
    late: list[Late] = list_of("what it answers late")
    wrong: list[profile.Wrong] = list_of(
        "icmpv6_checksum: wrong where an address was set; lldp: swallowed; cookies: 0 in all that it says; statistics: "
        "all 0; replacing: of rules that replace one, every third is lost with it; "
        "sizes: it says that each table has room for 10"
    )
    quoted: Annotated[int, Field(ge=8, le=profile.QUOTED)] = as_in(
        profile.Profile, "quoted", "how many bytes of what it refuses are in its errors"
    )
    rules: _Size | None = optional("how many rules have room in each of its tables")
    all_rules: _Size | None = optional("how many rules have room in all of its tables together")
    groups: _Size | None = optional("how many groups have room")
    meters: _Size | None = optional("how many meters have room")

    @model_validator(mode="after")
    def _has_one_number_of_tables(self) -> Profile:
        if self.tables and self.numbered and self.tables != len(self.numbered):
            raise ValueError(f"tables: {self.tables}, and numbered names {len(self.numbered)}: leave tables out")
        return self

    def made(self) -> profile.Profile:
        base = PROFILES[self.like] if self.like else profile.Profile()
        given = self.values()
        names = self.model_fields_set - {"like"}
        if self.numbered:
            given["tables"] = len(self.numbered)
            names |= {"tables"}
        elif "tables" in names:  # from 0 on, whatever numbers the other profile has
            given["numbered"] = ()
            names |= {"numbered"}
        changed: dict[str, Any] = {}
        for name in names:
            value = given[name]
            adds = isinstance(value, tuple) and name != "numbered"
            changed[name] = (*getattr(base, name), *value) if adds else value
        return replace(base, **changed)


def _by_name(value: Any) -> Any:
    return {"like": value} if isinstance(value, str) else value


ProfileOrName = Annotated[Profile, BeforeValidator(_by_name)]


def load(name_or_path: str) -> profile.Profile:
    """A profile by its name, or from a file.  Raises ConfigurationError."""
    if name_or_path in PROFILES:
        return PROFILES[name_or_path]
    try:
        values = yaml.safe_load(Path(name_or_path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(PROFILES)
        raise ConfigurationError(
            f"{name_or_path} is neither a file nor the name of a profile: there are {known}"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{name_or_path}: cannot be read: {error}") from error
    try:
        return Profile.model_validate(_by_name(values)).made()
    except ValidationError as failure:
        lines = [
            f"{name_or_path}: {'.'.join(map(str, error['loc']))}: {reason(error, shown)}" for error in failure.errors()
        ]
        raise ConfigurationError("\n".join(lines)) from failure
