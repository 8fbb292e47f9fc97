"""What this server's load is, as fractions from 0 to 1 of what it can do (M26).

| member | what it is |
| --- | --- |
| ``cpu`` | the part of the last interval in which the processors, together, were not idle (waiting for disks is idle) |
| ``memory`` | the part of the memory that programs cannot have without swapping: 1 − available / total |
| ``disk`` | the part of the last interval in which the busiest disk was busy; how full it is says nothing about load |
| ``network`` | bytes of the last interval, of the busier direction, by the speed of the link; of the interface with the server's address, or the busiest one; left out where no speed is known, as in most virtual machines |
| ``sessions`` | established TCP connections to the port of the check, from other machines; left out without such a port |

psutil reads all but the sessions.
"""  # noqa: E501 - a table

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

_TCP = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_NO_DISK = re.compile(r"loop|ram|zram|sr|fd")


class Counters(NamedTuple):
    """What grows, at a moment."""

    at: float  # monotonic, s
    cpu_busy_s: float
    cpu_all_s: float
    disks_s: dict[str, float]  # disk → how long it has been busy
    links_bits: dict[str, tuple[int, int]]  # interface → received, sent
    speeds: dict[str, float]  # interface → bits a second, where that is known
    memory: float


def fractions(before: Counters, after: Counters) -> dict[str, float]:
    """Load between two moments."""
    seconds = after.at - before.at
    load = {"memory": _part(after.memory)}
    if (all_s := after.cpu_all_s - before.cpu_all_s) > 0:
        load["cpu"] = _part((after.cpu_busy_s - before.cpu_busy_s) / all_s)
    if seconds <= 0:
        return load
    busy = [busy_s - before.disks_s[disk] for disk, busy_s in after.disks_s.items() if disk in before.disks_s]
    if busy:
        load["disk"] = _part(max(busy) / seconds)
    network = [
        max(now - then for now, then in zip(bits, before.links_bits[link], strict=True)) / seconds / after.speeds[link]
        for link, bits in after.links_bits.items()
        if link in before.links_bits and link in after.speeds
    ]
    if network:
        load["network"] = _part(max(network))
    return load


def _part(value: float) -> float:
    return round(min(max(value, 0.0), 1.0), 4)


class Meter:
    """Measures between one call and the next."""

    def __init__(self, psutil: Any, addresses: Collection[str]) -> None:
        """``addresses``: this server's, which say by which interface its service is reached."""
        self._psutil = psutil
        self._addresses = set(addresses)
        self._last: Counters | None = None

    def measure(self, now: float) -> dict[str, float]:
        """Empty at the first call."""
        before, self._last = self._last, self._counters(now)
        return {} if before is None else fractions(before, self._last)

    def _counters(self, now: float) -> Counters:
        cpu = self._psutil.cpu_times()
        # guest times are in user and nice already
        every = sum(cpu) - getattr(cpu, "guest", 0.0) - getattr(cpu, "guest_nice", 0.0)
        memory = self._psutil.virtual_memory()
        return Counters(
            now,
            every - cpu.idle - getattr(cpu, "iowait", 0.0),
            every,
            self._disks(),
            *self._links(),
            1.0 - memory.available / memory.total,
        )

    def _disks(self) -> dict[str, float]:
        counters = self._psutil.disk_io_counters(perdisk=True) or {}
        return {
            disk: counter.busy_time / 1000
            for disk, counter in counters.items()
            if hasattr(counter, "busy_time") and not _NO_DISK.match(disk)
        }

    def _links(self) -> tuple[dict[str, tuple[int, int]], dict[str, float]]:
        ours = {
            link
            for link, addresses in self._psutil.net_if_addrs().items()
            if any(each.address.partition("%")[0] in self._addresses for each in addresses)
        }
        counters = self._psutil.net_io_counters(pernic=True)
        bits = {
            link: (8 * counter.bytes_recv, 8 * counter.bytes_sent)
            for link, counter in counters.items()
            if (link in ours if ours else link != "lo")
        }
        speeds = {link: each.speed * 1e6 for link, each in self._psutil.net_if_stats().items() if each.speed > 0}
        return bits, speeds


def sessions(port: int) -> int:
    """Established TCP connections to this port, but for those from this machine, such as checks.  Raises OSError."""
    return sum(count_sessions(file.read_bytes(), port) for file in _TCP if file.exists())


def count_sessions(table: bytes, port: int) -> int:
    """``table``: a file of the form of /proc/net/tcp."""
    established = re.compile(rb": ([0-9A-F]+):%04X ([0-9A-F]+):[0-9A-F]{4} 01 " % port)
    return sum(local != peer for local, peer in established.findall(table))
