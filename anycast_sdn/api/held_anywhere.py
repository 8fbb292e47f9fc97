"""Who had an address at a moment, by the binding logs of all members of a cluster (``GET /v1/bindings/history``).

Each member answers from its own log; the one that a client asks puts the answers together.  The rules this file keeps:

- A flow that several members have served, one after the other, is shown once: since when the first of them knows it,
  and how it has ended at the last one.
- That another member served flows then is a gap only as long as that one has not answered, too.
- ``incomplete`` names members that may know more, and have not answered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from anycast_sdn.store.bindings.records import ANOTHER_LED, HANDED_OVER

HISTORY = "/v1/bindings/history"
ANSWER_S = 5.0  # in which other members answer

_OF_FLOW = ("edge", "translated", "client", "client_port", "service", "service_port", "protocol")


def together(answers: Mapping[str, Mapping[str, Any]], member: str, others: Collection[str]) -> dict[str, Any]:
    """By the names of members → one answer.  ``member``: that is asked; ``others``: that may have served flows then."""
    first = answers.get(member) or next(iter(answers.values()))
    may_know = {*others, *(name for each in answers.values() for name in each["incomplete"])}
    incomplete = sorted(may_know - answers.keys())
    begins = [each["begins"] for each in answers.values() if each["begins"] is not None]
    gaps = [gap | {"member": name} for name, each in answers.items() for gap in each["gaps"]]
    return {
        **first,
        "bindings": _flows(each | {"member": name} for name, found in answers.items() for each in found["bindings"]),
        "gaps": [gap for gap in gaps if incomplete or gap["reason"] != ANOTHER_LED],
        "begins": min(begins, default=None),
        "incomplete": incomplete,
    }


def _flows(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The latest first."""
    flows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for each in found:
        flows.setdefault(tuple(each[name] for name in _OF_FLOW), []).append(each)
    shown = [_last(same) | {"from": min(each["from"] for each in same)} for same in flows.values()]
    return sorted(shown, key=lambda each: str(each["from"]), reverse=True)


def _last(same: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """By the member that has got the flow last."""
    return max(same, key=lambda each: (each["ended_by"] != HANDED_OVER, each["from"]))
