"""What passed an interface, as tcpdump saw it: evidence that does not rest on the code under test.

Frames are read from tcpdump's capture file and taken apart here, independently of the controller's own
parser.  A capture begins when tcpdump says that it listens, and ends when it has written every packet
that the kernel kept for it.
"""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import NamedTuple

from programs import end, launch

from anycast_sdn.core.model import SCTP, TCP, UDP, FlowKey, text

DEADLINE_S = 10.0
BUFFER_KIB = 1 << 16
IDLE_REPORTS = 10  # equal reports of tcpdump's counts, ``REPORT_S`` apart: it has nothing left to write
REPORT_S = 0.05
_COUNTS = rb"(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel"


class Packet(NamedTuple):
    """One IP packet.  Ports are 0 where the protocol, or a later fragment, has none."""

    time_s: float  # since the epoch
    key: FlowKey
    hop_limit: int  # TTL in IPv4
    payload: bytes  # what follows the IP header
    frame: bytes  # all of it, from the Ethernet header on

    @property
    def source(self) -> str:
        return text(self.key.source)

    @property
    def destination(self) -> str:
        return text(self.key.destination)

    def __str__(self) -> str:
        return str(self.key)


def parse(time_s: float, frame: bytes) -> Packet | None:
    """An Ethernet frame → the IP packet in it; None when there is none."""
    ether_type = int.from_bytes(frame[12:14], "big")
    if ether_type == 0x0800:
        start = 14 + 4 * (frame[14] & 15)
        end = 14 + int.from_bytes(frame[16:18], "big")  # Ethernet pads short packets
        later_fragment = int.from_bytes(frame[20:22], "big") & 0x1FFF != 0
        source, destination, protocol, hop_limit = frame[26:30], frame[30:34], frame[23], frame[22]
    elif ether_type == 0x86DD:
        start, later_fragment = 54, False
        end = start + int.from_bytes(frame[18:20], "big")
        source, destination, protocol, hop_limit = frame[22:38], frame[38:54], frame[20], frame[21]
    else:
        return None
    payload = frame[start:end]
    ports = (0, 0)
    if protocol in (TCP, UDP, SCTP) and not later_fragment and len(payload) >= 4:
        ports = struct.unpack_from("!HH", payload)
    return Packet(time_s, FlowKey(source, destination, protocol, *ports), hop_limit, payload, frame)


class Capture:
    """A running tcpdump on one interface, in the namespace of a process if one is given."""

    def __init__(self, interface: str, expression: str, namespace_of: int | None = None) -> None:
        self._namespace_of = namespace_of
        options = ["-n", "-U", "--immediate-mode", "-B", str(BUFFER_KIB), "-w", "-"]
        self._command = ["tcpdump", *options, "-i", interface, expression]

    def __enter__(self) -> Capture:
        # Standard output, because tcpdump gives up root's rights before it opens a file by name.
        self._file = tempfile.TemporaryFile()
        options = {"stdout": self._file, "stderr": subprocess.PIPE}
        self._process = launch(self._command, self._namespace_of, **options)
        self._await_report(rb"listening on")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._catch_up()
        finally:
            end(self._process)

    def frames(self) -> list[bytes]:
        """All frames so far; also while the capture is running."""
        return [frame for _, frame in self._read()]

    def packets(self) -> list[Packet]:
        """The IP packets among the frames."""
        return [packet for time_s, frame in self._read() if (packet := parse(time_s, frame))]

    def first(self, wanted: Callable[[Packet], bool] = lambda _: True, timeout_s: float = DEADLINE_S) -> Packet:
        """The first IP packet that is wanted, as soon as it was seen; TimeoutError when it does not come."""
        (packet,) = self.wait_for(1, wanted, timeout_s)
        return packet

    def wait_for(
        self, count: int, wanted: Callable[[Packet], bool] = lambda _: True, timeout_s: float = DEADLINE_S
    ) -> list[Packet]:
        """The first ``count`` IP packets that are wanted, as soon as they were seen; or TimeoutError.

        No more than these, whatever has come behind them meanwhile.
        """
        deadline = time.monotonic() + timeout_s
        while len(found := list(filter(wanted, self.packets()))) < count:
            if time.monotonic() > deadline:
                seen = "; ".join(map(str, self.packets()))
                raise TimeoutError(f"{len(found)} packets, not {count}; all that were seen: {seen}")
            time.sleep(0.02)
        return found[:count]

    def _read(self) -> Iterator[tuple[float, bytes]]:
        """Times and frames of the records in the capture file (pcap, this machine's byte order)."""
        # pread, because the position of the file belongs to tcpdump, which may still be writing.
        data = os.pread(self._file.fileno(), os.fstat(self._file.fileno()).st_size, 0)
        offset = 24
        while offset + 16 <= len(data):
            seconds, microseconds, length = struct.unpack_from("=III", data, offset)
            start, offset = offset + 16, offset + 16 + length
            if offset <= len(data):  # complete
                yield seconds + microseconds / 1e6, data[start:offset]

    def _catch_up(self) -> None:
        """Waits until tcpdump has written every packet that the kernel kept for it.

        The kernel also counts what it saw before the filter was in place, and tcpdump discards most of that: then the
        two counts never meet, and tcpdump is done when it answers repeatedly and its counts stand still.
        """
        deadline, before, equal = time.monotonic() + DEADLINE_S, (-1, -1), 0
        while time.monotonic() < deadline:
            self._process.send_signal(signal.SIGUSR1)  # tcpdump(1): report the packet counts
            captured, received, dropped = map(int, self._await_report(_COUNTS).groups())
            if dropped:
                raise RuntimeError(f"the capture missed {dropped} packets; a narrower filter helps")
            equal = equal + 1 if (captured, received) == before else 1
            if captured >= received or equal == IDLE_REPORTS:
                return
            before = captured, received
            time.sleep(REPORT_S)
        raise TimeoutError("tcpdump does not catch up with the packets that it received")

    def _await_report(self, pattern: bytes) -> re.Match[bytes]:
        """Reads tcpdump's messages until ``pattern`` is in them."""
        assert self._process.stderr is not None
        said = b""
        deadline = time.monotonic() + DEADLINE_S
        while (found := re.search(pattern, said)) is None:
            ready, _, _ = select.select([self._process.stderr], [], [], max(0, deadline - time.monotonic()))
            chunk = os.read(self._process.stderr.fileno(), 4096) if ready else b""
            if not chunk:
                end(self._process)
                raise RuntimeError(f"{' '.join(self._command)}: {said.decode().strip() or 'says nothing'}")
            said += chunk
        return found
