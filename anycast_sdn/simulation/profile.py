"""Playing a switch after its profile: which messages it refuses, and what it leaves out of those that it takes.

Messages here are values (``openflow.rules``), with the switch's own tables; the testbed's proxy does the same with the
bytes of the wire.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from anycast_sdn.description.profile import (
    ALL_OF_OPENFLOW,
    ERRORS,
    EXPERIMENTER,
    FAMILIES,
    GOTO_NOWHERE,
    MATCH_FIELDS,
    NO_RULE,
    OUT_OF_GROUPS,
    OUT_OF_METERS,
    PORTS,
    Kind,
    OpenFlowError,
    Place,
    Profile,
    error_of,
)
from anycast_sdn.openflow.abilities import Lack
from anycast_sdn.openflow.ability_trials import ability_trials, lacks_of
from anycast_sdn.openflow.adapted import adapted
from anycast_sdn.openflow.error_words import error_words
from anycast_sdn.openflow.fallback_trials import fallback_trials
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.listing_trial import RULES as LISTED
from anycast_sdn.openflow.rules import (
    Action,
    AddFlow,
    Barrier,
    Bucket,
    DecTtl,
    DeleteCookie,
    DeleteEverything,
    DeleteFlow,
    DeleteGroup,
    DeleteMeter,
    EndConnection,
    Field,
    FlowRule,
    Message,
    Output,
    PacketOut,
    PopVlan,
    ReportExpired,
    SetField,
    SetGroup,
    SetMeter,
    ToGroup,
)
from anycast_sdn.openflow.sizes import Sizes
from anycast_sdn.openflow.trials import TRIALS
from anycast_sdn.simulation.refusals import Refused, TableFull

BARRIER = "barrier_request"
_NAMES: dict[type, str] = {
    AddFlow: "flow_mod",
    DeleteFlow: "flow_mod",
    DeleteCookie: "flow_mod",
    DeleteEverything: "flow_mod",
    SetGroup: "group_mod",
    DeleteGroup: "group_mod",
    SetMeter: "meter_mod",
    DeleteMeter: "meter_mod",
    PacketOut: "packet_out",
    EndConnection: EXPERIMENTER,
    ReportExpired: "set_async",
    Barrier: BARRIER,
}
_SELECT, _INDIRECT = "select", "indirect"


class NotInProfile(Refused):
    """The switch refuses this with an OpenFlow error."""

    def __init__(self, error: OpenFlowError, what: str) -> None:
        super().__init__(f"error type {error.type} code {error.code}: {what}")
        self.error = error


class Element(NamedTuple):
    kind: Kind
    name: str


class Closed(Refused):
    """The switch ends its connection."""


def taken(profile: Profile, message: Message) -> Message | None:
    """What the switch makes of a message; None: nothing.  Raises NotInProfile, Closed.

    A rule's tables are the switch's.
    """
    if profile is ALL_OF_OPENFLOW:
        return message
    for element, place in elements(message):
        if profile.closes_at(*element, place):
            raise Closed(f"{element.kind}: {element.name}")
        if profile.refuses(*element, place):
            raise NotInProfile(error_of(*element), f"{element.kind}: {element.name}")
    if profile.ignores("messages", _NAMES[type(message)]):
        return None
    match message:
        case AddFlow(rule):
            if not profile.has_table(rule.table):
                raise NotInProfile(ERRORS["tables"], f"table {rule.table}")
            if rule.goto is not None and not profile.has_table(rule.goto):
                raise NotInProfile(GOTO_NOWHERE, f"goto {rule.goto}")
            return AddFlow(_left_of_rule(profile, rule))
        case SetGroup(group, exists):
            buckets = tuple(Bucket(each.weight, _left_of(profile, each.actions, True)) for each in group.buckets)
            return SetGroup(replace(group, buckets=buckets), exists)
        case PacketOut(frame, in_port, actions):
            return PacketOut(frame, in_port, _left_of(profile, actions))
    return message


def check_room(profile: Profile, held: Iterable[FlowRule], table: int) -> None:
    """For one more rule in a table of the switch.  Raises TableFull."""
    if profile.rules is None and profile.all_rules is None:
        return
    in_tables = Counter(rule.table for rule in held)
    if profile.rules is not None and in_tables[table] >= profile.rules:
        raise TableFull(f"{profile.rules} rules are in table {table} already")
    if profile.all_rules is not None and in_tables.total() >= profile.all_rules:
        raise TableFull(f"{profile.all_rules} rules are here already")


def check_groups(profile: Profile, numbers: Collection[int]) -> None:
    """Is there room for so many?  Raises NotInProfile."""
    if profile.groups is not None and len(numbers) > profile.groups:
        raise NotInProfile(OUT_OF_GROUPS, f"{profile.groups} groups are here already")


def check_meters(profile: Profile, numbers: Collection[int]) -> None:
    """As ``check_groups``."""
    if profile.meters is not None and len(numbers) > profile.meters:
        raise NotInProfile(OUT_OF_METERS, f"{profile.meters} meters are here already")


def found(profile: Profile, features: Features, layout: Layout) -> Features:
    """What trials would find of such a switch, where one without a profile has these features."""
    if profile is ALL_OF_OPENFLOW:
        return features
    layout = adapted(layout, Features(keeps_ttl=features.keeps_ttl))
    description = (profile.manufacturer, profile.hardware, profile.software, "", "")
    open_vswitch = any("Open vSwitch" in words for words in description)
    extensions = {
        name: getattr(features, name) and open_vswitch and all(_takes(profile, each, layout) for each in trial.messages)
        for name, trial in TRIALS.items()
    }
    others = {
        name: all(_takes(profile, each.message, layout) for each in trials)
        for name, trials in groupby(sorted(fallback_trials(), key=attrgetter("feature")), attrgetter("feature"))
    }
    others["removed_reports"] = others["report_flag"] and not profile.ignores("flags", "send_flow_rem")
    others["idle_timeouts"] &= not any(_loses_timeout(profile, layout.on_switch(rule)) for rule in LISTED)
    others["table_output"] &= not profile.ignores("ports", "table")
    meters = features.meters and profile.meters != 0 and _answers_for_meters(profile)
    others["cookies"] = "cookies" not in profile.wrong
    by_name: dict[str, Any] = {**extensions, **others}
    return replace(
        features, **by_name, meters=meters, open_vswitch=open_vswitch, description=description,
        tables=profile.tables, lacks=_lacks(profile, layout), sizes=_sizes(profile),
    )  # fmt: skip


def _sizes(profile: Profile) -> Sizes:
    """What it says that it has room for."""

    def is_said(question: str) -> bool:
        return not (profile.refuses("multipart", question) or profile.ignores("multipart", question))

    numbers = profile.numbered or range(profile.tables)
    rules = profile.said_rules if is_said("table_features") else None
    groups = profile.groups if is_said("group_features") else None
    return Sizes(tuple((number, rules) for number in numbers) if rules else (), groups or 0)


def _answers_for_meters(profile: Profile) -> bool:
    needed: tuple[Element, ...] = (
        Element("messages", "meter_mod"), Element("multipart", "meter_features"), Element("multipart", "meter_config")
    )  # fmt: skip
    return not any(profile.refuses(*each) or profile.ignores(*each) for each in needed)


def _lacks(profile: Profile, layout: Layout) -> tuple[Lack, ...]:
    refused = {}
    for trial in ability_trials():
        refusal = _first_refusal(profile, trial.messages, layout)
        if refusal and trial.instead:
            refusal = _first_refusal(profile, trial.instead, layout)
        if refusal:
            refused[trial] = error_words(*refusal.error)
    return lacks_of(refused, layout)


def _loses_timeout(profile: Profile, rule: FlowRule) -> bool:
    return bool(rule.idle_timeout) and profile.ignores("timeouts", "idle", _place(rule))


def _first_refusal(profile: Profile, messages: Iterable[Message], layout: Layout) -> NotInProfile | None:
    return next(filter(None, (_refusal(profile, message, layout) for message in messages)), None)


def _takes(profile: Profile, message: Message, layout: Layout) -> bool:
    return _refusal(profile, message, layout) is None


def _refusal(profile: Profile, message: Message, layout: Layout) -> NotInProfile | None:
    try:
        if isinstance(message, AddFlow):
            message = AddFlow(layout.on_switch(message.rule))
        elif isinstance(message, SetGroup):
            message = message._replace(group=layout.group_on_switch(message.group))
        taken(profile, message)
    except NotInProfile as refused:
        return refused
    return None


def elements(message: Message) -> Iterator[tuple[Element, Place]]:
    """Everything that a message asks for, and where."""
    yield Element("messages", _NAMES[type(message)]), NO_RULE
    match message:
        case AddFlow(rule):
            yield from ((element, _place(rule)) for element in _of_rule(rule))
        case DeleteFlow(rule):
            yield from ((element, _place(rule)) for element in _of_match(rule))
        case SetGroup(group):
            yield Element("groups", _INDIRECT if group.indirect else _SELECT), NO_RULE
            for bucket in group.buckets:
                yield from ((element, NO_RULE) for element in _of_actions(bucket.actions, True))
        case PacketOut(_, _, actions):
            yield from ((element, NO_RULE) for element in _of_actions(actions))


def _place(rule: FlowRule) -> Place:
    families = (family for number, family in FAMILIES.items() if Field("eth_type", number) in rule.match)
    return Place(rule.table, next(families, None))


def _of_rule(rule: FlowRule) -> Iterator[Element]:
    yield from _of_match(rule)
    if rule.idle_timeout:
        yield Element("timeouts", "idle")
    if rule.hard_timeout:
        yield Element("timeouts", "hard")
    if rule.notify:
        yield Element("flags", "send_flow_rem")
    if rule.meter is not None:
        yield Element("instructions", "meter")
    if rule.actions:
        yield Element("instructions", "apply_actions")
        yield from _of_actions(rule.actions)
    if rule.goto is not None:
        yield Element("instructions", "goto_table")


def _of_match(rule: FlowRule) -> Iterator[Element]:
    for field in rule.match:
        yield Element("match", _field(field.name))
        if field.mask is not None:
            yield Element("masks", _field(field.name))


def _of_actions(actions: tuple[Action, ...], in_bucket: bool = False) -> Iterator[Element]:
    for action in actions:
        yield from _of_action(action, in_bucket)


def _of_action(action: Action, in_bucket: bool) -> Iterator[Element]:
    name = _action(action)
    yield Element("actions", name)
    if in_bucket:
        yield Element("bucket_actions", name)
    if isinstance(action, SetField):
        yield Element("set", _field(action.name))
    if isinstance(action, Output) and action.port in PORTS:
        yield Element("ports", PORTS[action.port])


def _action(action: Action) -> str:
    match action:
        case SetField():
            return "set_field"
        case DecTtl():
            return "dec_nw_ttl"
        case PopVlan():
            return "pop_vlan"
        case Output():
            return "output"
        case ToGroup():
            return "group"
        case _:
            return EXPERIMENTER


def _field(name: str) -> str:
    return name if name in MATCH_FIELDS else EXPERIMENTER


def _left_of_rule(profile: Profile, rule: FlowRule) -> FlowRule:
    """The rule without what the switch leaves out of it."""
    place = _place(rule)

    def leaves_out(kind: Kind, name: str) -> bool:
        return profile.ignores(kind, name, place)

    return replace(
        rule,
        actions=_left_of(profile, rule.actions, place=place) * (not leaves_out("instructions", "apply_actions")),
        goto=None if leaves_out("instructions", "goto_table") else rule.goto,
        meter=None if leaves_out("instructions", "meter") else rule.meter,
        idle_timeout=0 if leaves_out("timeouts", "idle") else rule.idle_timeout,
        hard_timeout=0 if leaves_out("timeouts", "hard") else rule.hard_timeout,
        notify=rule.notify and not leaves_out("flags", "send_flow_rem"),
    )


def _left_of(
    profile: Profile, actions: tuple[Action, ...], in_bucket: bool = False, place: Place = NO_RULE
) -> tuple[Action, ...]:
    return tuple(
        action
        for action in actions
        if not any(profile.ignores(*element, place) for element in _of_action(action, in_bucket))
    )
