"""Who held a translation address at a time?  Found in the files of the binding log; nothing is written.

The file that was being written at that time is searched, and the next one, because records come a little later than
what they tell of: by an index if there is one, and else line by line, which takes a tenth of a second.  When a flow
ended is looked for in later files by bisection: each file begins with the flows that are open.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from anycast_sdn.core.model import Address
from anycast_sdn.store.bindings import index, records
from anycast_sdn.store.bindings.files import LONGEST_LINE, Damaged, all_files, is_packed, until_damage, whole_lines
from anycast_sdn.store.bindings.held import Gap, Held, gap_of, held
from anycast_sdn.store.bindings.records import STOP, Record, milliseconds, moment, protocol_name, shown

MOST_FOUND = 1000
MOST_TRIES = 3


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
    """``at``: milliseconds since 1970; ``port``: the source port that the server has seen.  Raises OSError."""
    for _ in range(MOST_TRIES):
        try:
            return _search(path, translated, at, port)
        except FileNotFoundError:
            pass  # it was renamed, compressed or deleted meanwhile
    return _search(path, translated, at, port)


def _search(path: Path, translated: Address, at: int, port: int | None) -> Found:
    files = all_files(path)
    began = list(files)
    if not began:
        return Found()
    here = max((number for number, when in enumerate(began) if when <= at), default=None)
    if here is None:
        return Found(begins=began[0])
    paths = [files[each] for each in began]
    near = paths[here : here + 2]  # what happened just before a file began may be in that one
    in_file = cache(lambda file: {each.id: each for each in held_in(file, translated)})
    had_it = [
        each
        for each in {id: each for path in reversed(near) for id, each in in_file(path).items()}.values()
        if each.flow.since <= at
        and (each.ended is None or each.ended >= at)
        and (port is None or not each.flow.client_port or (each.flow.translated_port or each.flow.client_port) == port)
    ]
    had_it.sort(key=lambda each: -each.flow.since)
    found = [_to_its_end(each, paths[here + 1 :], in_file) for each in had_it[:MOST_FOUND]]
    gaps = [gap for path in near for gap in gaps_in(path) if gap.contains(at)]
    if damage := damage_of(paths[here]):
        gaps.append(Gap(began[here], at, damage))
    if here == len(paths) - 1 and (end := stopped(paths[here])) is not None and at > end:
        gaps.append(Gap(end, at, "the controller is stopped"))
    return Found(found, gaps, began[0])


def _to_its_end(
    found: Held, later: Sequence[Path], in_file: Callable[[Path], Mapping[tuple[str, int, int], Held]]
) -> Held:
    """The flow with its end, from the last file that has it."""
    low, high = 0, len(later)
    while found.ended is None and low < high:
        middle = (low + high) // 2
        then = in_file(later[middle]).get(found.id)
        if then is None:
            high = middle
        else:
            found, low = then, middle + 1
    return found


def held_in(path: Path, translated: Address) -> list[Held]:
    """All that had this address, in the time of one file."""
    found = index.held_by(path, translated)
    if found is None:
        lines = lines_with(path, b'Address":"%s"' % shown(translated).encode())
        records_of_it = (each for each in filter(None, map(_record, lines)) if each.translated == translated)
        found = held(records_of_it)
    return found


def gaps_in(path: Path) -> list[Gap]:
    """Those that end in the time of one file, as far as it can be read."""
    found = index.gaps_of(path)
    if found is None:
        lines = map(records.read, lines_with(path, b'"gapFrom":'))
        found = [gap for gap in map(gap_of, filter(None, lines)) if gap]
    return found


def damage_of(path: Path) -> str:
    """Why a file without an index cannot be read to its end; "": it can."""
    if is_packed(path) and index.gaps_of(path) is None:
        try:
            for _ in whole_lines(path):
                pass
        except Damaged as error:
            return str(error.strerror)
    return ""


def stopped(path: Path) -> int | None:
    """When the controller stopped, if that is the last record of the file."""
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LONGEST_LINE))
        last = file.read().removesuffix(b"\n").rpartition(b"\n")[2]
    found = records.read(last)
    return milliseconds(found["time"]) if found and found["event"] == STOP else None


def _record(text: bytes) -> Record | None:
    found = records.read(text)
    return records.record_of(found) if found else None


def lines_with(path: Path, part: bytes) -> Iterator[bytes]:
    """The whole lines of a file that have ``part`` in them, in order, as far as it can be read."""
    if is_packed(path):
        yield from (text for text in until_damage(whole_lines(path)) if part in text)
        return
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # it is empty
            return
        with content:
            at = content.find(part)
            while at >= 0:
                begin = content.rfind(b"\n", max(0, at - LONGEST_LINE), at) + 1
                end = content.find(b"\n", at)
                if end < 0:
                    return  # it is not complete yet, or cut off
                yield content[begin:end]
                at = content.find(part, end)


def _shown(found: Held) -> dict[str, Any]:
    flow = found.flow
    return {
        "translated": shown(flow.translated),
        "from": moment(flow.since),
        "to": None if found.ended is None else moment(found.ended),
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


