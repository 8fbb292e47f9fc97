"""What operators have changed of groups and servers, in words and as events."""

from __future__ import annotations

from collections.abc import Iterator

from anycast_sdn.core.events import Event
from anycast_sdn.core.model import AnycastGroup, Lease, Server, ServerState, text
from anycast_sdn.core.service_events import SHOWN_PREFIXES, GroupAdded, GroupChanged, GroupRemoved, shown
from anycast_sdn.core.words import listed


def group_events(name: str, before: AnycastGroup | None, after: AnycastGroup | None) -> Iterator[Event]:
    """What has happened to the group itself, apart from its servers."""
    if after is None:
        yield GroupRemoved(name, len(before.servers) if before else 0)
    elif before is None:
        yield GroupAdded(name, shown(after.prefixes), len(after.prefixes))
    elif changes := tuple(_group_changes(before, after)):
        yield GroupChanged(name, changes)


def _group_changes(before: AnycastGroup, after: AnycastGroup) -> Iterator[str]:
    """In words."""
    was, now = dict.fromkeys(before.prefixes), dict.fromkeys(after.prefixes)
    for word, prefixes in (("added", now.keys() - was.keys()), ("removed", was.keys() - now.keys())):
        if prefixes:
            yield f"{listed(sorted(map(str, prefixes)), SHOWN_PREFIXES)} {word}"
    for setting in ("affinity", "on_server_loss"):
        old, new = getattr(before, setting), getattr(after, setting)
        if old is not new:
            yield f"{setting} {old.value} → {new.value}"
    for setting in ("min_healthy", "slow_start_s"):
        old, new = getattr(before, setting), getattr(after, setting)
        if old != new:
            yield f"{setting} {old:g} → {new:g}"
    for setting in ("validity", "checks", "selection"):
        if getattr(before, setting) != getattr(after, setting):
            yield f"other {setting}"


def server_changes(before: Server, after: Server) -> Iterator[str]:
    """In words, apart from drains, which are events of their own."""
    for name in ("weight", "capacity"):
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            yield f"{name} {_shown(was)} → {_shown(now)}"
    drains = after.state is ServerState.DRAINING
    is_drained = after.state is ServerState.DRAINED and before.state is ServerState.DRAINING
    if before.state is not after.state and not drains and not is_drained:  # which are events of their own
        yield f"state {before.state.value} → {after.state.value}"
    if before.lease != after.lease:
        yield f"lease {_lease(before.lease)} → {_lease(after.lease)}"
    if before.twin != after.twin and after.twin:
        yield f"enrolled together with {text(after.twin)}"


def _shown(value: int | None) -> str:
    return "none" if value is None else str(value)


def _lease(lease: Lease | None) -> str:
    return f"{lease.ttl_s:g} s" if lease else "none"
