#!/usr/bin/env python3
"""How fast the binding log is written and searched: .venv/bin/python tests/bench/attribution.py [RECORDS] [FOLDER]

Flows of 20,000 a second, each opened, pinned and closed after 3 s, at an edge with a /16 and with some 20,000 flows
that stay.  What is written goes through the process that writes the log, as in the controller; then random addresses
at random times are searched, by an index or without it.
"""

from __future__ import annotations

import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from anycast_sdn.core.model import packed
from anycast_sdn.store.bindings import index, messages, search
from anycast_sdn.store.bindings.files import INDEX, SIZE, Files, all_files, beside, earlier
from anycast_sdn.store.bindings.log import BindingLog
from anycast_sdn.store.bindings.records import CLOSED, OPENED, PINNED, Record

RATE = 20_000  # flows a second, in the log's time
LIVES_S = 3
ANY, AS2 = packed("198.18.0.1"), packed("10.2.0.10")
T0 = 1_750_000_000_000
BATCH = 1000  # flows in one frame: those of 50 ms


def record(event: str, when: int, number: int, server: bytes | None = None, ended_by: str = "") -> messages.Message:
    client = b"\x0a" + (number % 50_000).to_bytes(3, "big")
    since = T0 + number * 1000 // RATE
    return (event, when, "arh1", number, "web", client, 1024 + number % 60_000, ANY, 443, 6, address(number), server,
            since, ended_by)  # fmt: skip


def address(number: int) -> bytes:
    return b"\xcb\x00" + (number * 7 % 65_536).to_bytes(2, "big")


def told(first: int, flows: int) -> list[messages.Message]:
    """What becomes of flows while so many begin."""
    changes = []
    for number in range(first, first + flows):
        now = T0 + number * 1000 // RATE
        changes.append(record(OPENED, now, number))
        changes.append(record(PINNED, now + 1, number, AS2))
        old = number - LIVES_S * RATE
        if old > 0 and old % 500:  # one of 500 stays
            changes.append(record(CLOSED, now, old, AS2, "closed"))
    return changes


def write(path: Path, total: int) -> None:
    """So many records go through the process that writes."""
    ours, its = socket.socketpair()
    words = [sys.executable, "-m", "anycast_sdn.store.bindings.writer", str(path), "90", str(SIZE)]
    writer = subprocess.Popen(words, stdin=its.fileno())
    its.close()
    ours.recv(1000)  # it has begun
    frames = [messages.framed(told(first, BATCH)) for first in range(1, total // 3 + 1, BATCH)]
    began = time.monotonic()
    for frame in frames:
        ours.sendall(frame)
    ours.sendall(messages.framed([(messages.END, T0 + total * 1000 // 3 // RATE)]))
    while ours.recv(1000):
        pass
    took = time.monotonic() - began
    writer.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{total:,} records written in {took:.1f} s: {total / took / 3:,.0f} flows/s; "
          f"{1e6 * (used.ru_utime + used.ru_stime) / total:.1f} µs of processor for each")  # fmt: skip


def fill(path: Path, total: int) -> None:
    """A log with so many records, with the times of its flows."""
    log = BindingLog(Files(path, 90), T0)
    for first in range(1, total // 3 + 1, BATCH):
        for each in told(first, BATCH):
            log.flow(Record._make(each))
        log.write(T0 + first * 1000 // RATE)
    log.stop(T0 + total * 1000 // 3 // RATE)


def searches(path: Path, total: int, count: int = 50) -> list[float]:
    """Milliseconds of each."""
    pick, took = random.Random(7), []
    for _ in range(count):
        number = pick.randrange(1, total // 3)
        began = time.monotonic()
        at = T0 + number * 1000 // RATE + 5
        found = search.search(path, address(number), at)
        took.append(1000 * (time.monotonic() - began))
        assert any(each.flow.number == number for each in found.held), number
    return took


def _gigabytes(files: Iterable[Path]) -> float:
    return sum(file.stat().st_size for file in files) / 1e9


def main(total: int = 10_000_000, folder: str = "") -> None:
    with tempfile.TemporaryDirectory(dir=folder or None) as directory:
        write(Path(directory) / "written.jsonl", min(total, 1_000_000))
        path = Path(directory) / "bindings.jsonl"
        fill(path, total)
        files = all_files(path).values()
        size = sum(file.stat().st_size for file in files)
        print(f"{total:,} records: {len(files)} files, {size / 1e9:.2f} GB, {size / total:.0f} bytes a record")
        ms = sorted(searches(path, total))
        print(f"search without index: median {statistics.median(ms):.0f} ms, max {ms[-1]:.0f} ms")
        began = time.monotonic()
        maker = index.Maker(path)
        while maker.step():
            pass
        took, packed = time.monotonic() - began, earlier(path).values()
        made = [beside(file, INDEX) for file in packed]
        sizes = f"{_gigabytes(made):.2f} and {_gigabytes(packed):.2f} GB"
        print(f"{len(made)} files indexed and compressed in {took:.1f} s: {sizes}")
        ms = sorted(searches(path, total))
        print(f"search with index: median {statistics.median(ms):.0f} ms, max {ms[-1]:.0f} ms")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])
