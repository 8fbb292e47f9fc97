"""Noted: what a leader leaves to the next one, as text, and read again.

Notes that cannot be read are left out, and logged: they are of a later release, or nobody's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, NamedTuple, TypeVar

from anycast_sdn.control.operations import Kind, Operation, State
from anycast_sdn.control.watched_link import KnownLink
from anycast_sdn.core.checks import HealthStatus
from anycast_sdn.core.health import CheckName, CheckState
from anycast_sdn.core.model import Address, packed, text
from anycast_sdn.description.model import Port
from anycast_sdn.openflow.abilities import Ability, Lack
from anycast_sdn.openflow.features import Features, Tried
from anycast_sdn.openflow.row import Table
from anycast_sdn.openflow.sizes import Sizes

LOG = logging.getLogger(__name__)

Read = TypeVar("Read")
Enrolment = tuple[str, Address]  # (group, server)


class Term(NamedTuple):
    """A controller has led since then.  ``began``: s since the epoch, by its clock."""

    member: str  # its id
    began: float


def _all(notes: Mapping[str, str], what: str, read: Callable[[str, Any], Read]) -> Iterator[Read]:
    """All notes that can be read.  ``read``: from the key and the JSON."""
    for key, written in notes.items():
        try:
            yield read(key, json.loads(written))
        except (ValueError, TypeError, KeyError, AttributeError):
            LOG.warning("etcd has a note that cannot be used, of %s %s", what, ascii(key))


def _shown(value: object) -> str:
    return json.dumps(value, sort_keys=True)


# ------------------------------------------------------------------------------ links


def link_notes(links: Iterable[KnownLink]) -> dict[str, str]:
    return {
        "~".join(map(str, sorted(link.ends))): _shown(
            {"cost": link.cost, "down": link.down, "failures": link.failures}
        )
        for link in links
    }


def links(notes: Mapping[str, str]) -> Iterator[KnownLink]:
    return _all(notes, "link", _link)


def _link(key: str, shown: Any) -> KnownLink:
    (a, _, at_a), (b, _, at_b) = (end.rpartition(":") for end in key.split("~"))
    cost = None if shown["cost"] is None else int(shown["cost"])
    ends = frozenset((Port(a, int(at_a)), Port(b, int(at_b))))
    return KnownLink(ends, cost, bool(shown["down"]), int(shown["failures"]))


# ------------------------------------------------------------------------------ operations


def operation_note(operation: Operation) -> str:
    shown = asdict(operation) | {
        "kind": operation.kind.value, "state": operation.state.value, "addresses": list(map(text, operation.addresses))
    }  # fmt: skip
    return _shown(shown)


def operations(notes: Mapping[str, str]) -> Iterator[Operation]:
    return _all(notes, "operation", _operation)


def _operation(key: str, shown: Any) -> Operation:
    known = {each.name: shown[each.name] for each in fields(Operation) if each.name in shown}
    known |= {
        "kind": Kind(shown["kind"]), "state": State(shown["state"]), "addresses": tuple(map(packed, shown["addresses"]))
    }  # fmt: skip
    return Operation(**known)


# ------------------------------------------------------------------------------ health


def health_key(enrolment: Enrolment) -> str:
    group, server = enrolment
    return f"{group}/{text(server)}"


def health_note(checks: Iterable[tuple[CheckName, CheckState]]) -> str | None:
    """Of checks that do not pass; None: there are none."""
    bad = [
        [*name, state.status.value, state.output]
        for name, state in checks
        if state.status in (HealthStatus.WARNING, HealthStatus.CRITICAL)
    ]
    return _shown(bad) if bad else None


def health(notes: Mapping[str, str]) -> dict[Enrolment, dict[CheckName, tuple[HealthStatus, str]]]:
    return dict(_all(notes, "server", _health))


def _health(key: str, shown: Any) -> tuple[Enrolment, dict[CheckName, tuple[HealthStatus, str]]]:
    group, _, server = key.partition("/")
    states = {CheckName(kind, port, detail): (HealthStatus(status), output)
              for kind, port, detail, status, output in shown}  # fmt: skip
    return (group, packed(server)), states


# ------------------------------------------------------------------------------ features of switches


def tried_note(tried: Tried) -> str:
    lists = {"lacks": tried.features.lacks, "untried": tried.features.untried}
    shown = {name: [[each.ability.value, *each[1:]] for each in lacks] for name, lacks in lists.items()}
    features = asdict(tried.features) | shown
    return _shown({"description": list(tried.description), "features": features})


def tried(note: str | None) -> Tried | None:
    found = _all({"": note}, "a switch", _tried) if note else ()
    return next(iter(found), None)


def _tried(key: str, shown: Any) -> Tried:
    """A feature that is not in the note has not been tried: then nothing is known."""
    noted, others = shown["features"], ("lacks", "untried", "unshown", "tables", "sizes", "description")
    known = {each.name: bool(noted[each.name]) for each in fields(Features) if each.name not in others}
    described = tuple(map(str, noted["description"]))
    lacks, untried = (tuple(_lack(*each) for each in noted[name]) for name in ("lacks", "untried"))
    rules, groups = noted["sizes"]
    sizes = Sizes(tuple((int(table), int(room)) for table, room in rules), int(groups))
    features = Features(
        **known, lacks=lacks, untried=untried, unshown=str(noted["unshown"]), tables=int(noted["tables"]), sizes=sizes,
        description=described,
    )  # fmt: skip
    return Tried(tuple(map(str, shown["description"])), features)


def _lack(ability: str, table: int | None, why: str, logical: int | None) -> Lack:
    return Lack(Ability(ability), table, str(why), None if logical is None else Table(logical))


# ------------------------------------------------------------------------------ who has led


def term_note(term: Term) -> str:
    return _shown([*term])


def terms(notes: Mapping[str, str]) -> Sequence[Term]:
    """The first one first."""
    return list(_all(dict(sorted(notes.items())), "a term", _term))


def _term(key: str, shown: Any) -> Term:
    member, began = shown
    return Term(str(member), float(began))
