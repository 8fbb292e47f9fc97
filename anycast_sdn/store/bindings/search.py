"""Who held a translation address at a time?  Found in the files of the binding log; nothing is written.

The file that was being written at that time is searched: by its index if it has one, and else line by line, which
takes a tenth of a second.  When a flow ended is looked for in later files by bisection: each file begins with the flows
that are open.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anycast_sdn.core.model import Address
from anycast_sdn.store.bindings import records
from anycast_sdn.store.bindings.files import all_files
from anycast_sdn.store.bindings.records import CLOSED, STOP, Record, milliseconds, moment, protocol_name, shown

MOST_FOUND = 1000
_LONGEST_LINE = 4096


@dataclass(frozen=True, slots=True)
class Held:
    """A flow that had an address, as one file has it.  ``ended``: None: it was open at the end of the file."""

    flow: Record
    ended: int | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A time of which records are missing."""

    since: int
    until: int
    reason: str
    missing: int | None = None  # how many; None: not known

    def contains(self, at: int) -> bool:
        return self.since <= at <= self.until


@dataclass(slots=True)
class Found:
    """``begins``: when the log begins; None: there is none."""

    held: list[Held] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    begins: int | None = None

    def shown(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "bindings": [_shown(each) for each in self.held],
            "gaps": [
                {"from": moment(each.since), "to": moment(each.until), "reason": each.reason, "missing": each.missing}
                for each in self.gaps
            ],
            "begins": None if self.begins is None else moment(self.begins),
        }


def search(path: Path, translated: Address, at: int, port: int | None = None) -> Found:
    """``at``: milliseconds since 1970; ``port``: the client's, which the server has seen.  Raises OSError."""
    files = all_files(path)
    began = list(files)
    if not began:
        return Found()
    here = max((number for number, when in enumerate(began) if when <= at), default=None)
    if here is None:
        return Found(begins=began[0])
    paths = [files[each] for each in began]
    held = [
        each
        for each in held_in(paths[here], translated)
        if each.flow.since <= at
        and (each.ended is None or each.ended >= at)
        and (port is None or not each.flow.client_port or each.flow.client_port == port)
    ]
    held.sort(key=lambda each: -each.flow.since)
    found = [_to_its_end(each, paths[here + 1 :]) for each in held[:MOST_FOUND]]
    gaps = [gap for path in paths[here : here + 2] for gap in gaps_in(path) if gap.contains(at)]
    if here == len(paths) - 1 and (end := stopped(paths[here])) is not None and at > end:
        gaps.append(Gap(end, at, "the controller is stopped"))
    return Found(found, gaps, began[0])


def _to_its_end(held: Held, later: Sequence[Path]) -> Held:
    """The flow with its end, from the last file that has it."""
    low, high = 0, len(later)
    while held.ended is None and low < high:
        middle = (low + high) // 2
        then = next((each for each in held_in(later[middle], held.flow.translated) if _is_same(each, held)), None)
        if then is None:
            high = middle
        else:
            held, low = then, middle + 1
    return held


def _is_same(one: Held, other: Held) -> bool:
    return one.flow.id == other.flow.id and one.flow.since == other.flow.since


def held_in(path: Path, translated: Address) -> list[Held]:
    """All that had this address, in the time of one file."""
    return fold(filter(None, map(_record, lines_with(path, b'Address":"%s"' % shown(translated).encode()))), translated)


def fold(found: Iterable[Record], translated: Address | None = None) -> list[Held]:
    """The flows of these records, in the order of their beginnings here; ``translated``: of this address alone."""
    open_now: dict[tuple[str, int], Record] = {}
    done: list[Held] = []
    for record in found:
        if translated is not None and record.translated != translated:
            continue
        known = open_now.get(record.id)
        if known and known.since != record.since:
            done.append(Held(known))
            known = None
        if record.event == CLOSED:
            open_now.pop(record.id, None)
            done.append(Held(record, record.when))
        else:
            open_now[record.id] = record
    return done + [Held(record) for record in open_now.values()]


def gaps_in(path: Path) -> Iterator[Gap]:
    for text in lines_with(path, b'"gapFrom":'):
        if (found := records.read(text)) and "gapFrom" in found:
            since, until = milliseconds(found["gapFrom"]), milliseconds(found["time"])
            yield Gap(since, until, found["reason"], found.get("missing"))


def stopped(path: Path) -> int | None:
    """When the controller stopped, if that is the last record of the file."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_LINE))
        last = file.read().removesuffix(b"\n").rpartition(b"\n")[2]
    found = records.read(last)
    return milliseconds(found["time"]) if found and found["event"] == STOP else None


def _record(text: bytes) -> Record | None:
    found = records.read(text)
    return records.record_of(found) if found else None


def lines_with(path: Path, part: bytes) -> Iterator[bytes]:
    """The whole lines of a file that have ``part`` in them, in order."""
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # it is empty
            return
        with content:
            at = content.find(part)
            while at >= 0:
                begin = content.rfind(b"\n", max(0, at - _LONGEST_LINE), at) + 1
                end = content.find(b"\n", at)
                if end < 0:
                    return  # it is not complete yet, or cut off
                yield content[begin:end]
                at = content.find(part, end)


def _shown(held: Held) -> dict[str, Any]:
    flow = held.flow
    return {
        "translated": shown(flow.translated),
        "from": moment(flow.since),
        "to": None if held.ended is None else moment(held.ended),
        "edge": flow.edge,
        "number": flow.number,
        "group": flow.group,
        "client": shown(flow.client),
        "client_port": flow.client_port,
        "service": shown(flow.service),
        "service_port": flow.service_port,
        "protocol": protocol_name(flow.protocol),
        "server": shown(flow.server) if flow.server else None,
        "ended_by": flow.ended_by or None,
    }


