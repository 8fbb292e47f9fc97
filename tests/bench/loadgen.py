"""The load: new flows at emulated switches, and an exact check of everything a controller does about them.

One *set-up* is a whole binding: a packet-in with a client's SYN, answered by the outward rule and the
packet-out; then a packet-in with the server's reply, answered by both rules and the packet-out.  A run
may stop at the first half (``whole=False``).  ``window`` set-ups are outstanding at each switch at all
times, the next begins when one is done.

Rules that it holds controllers to, for every single flow, or the run ends with ``Wrong``:
- a packet leaves after its rules;
- both rules of a flow carry the same PR1X, which no other flow has, out of the edge's PRh/k;
- the rules pin the flow to the server that answered, and give the client the service address back.

It has to be faster than any controller.  So first packets are made before the clock starts, rules are
read through one ``struct`` per shape of rule, and each shape is taken apart field by field when it is
first seen.  It relies on outward and inward rules standing in different tables.
"""

from __future__ import annotations

import contextlib
import gc
import math
import select
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from struct import Struct
from typing import Any, NamedTuple

from emulated import ADD, FLOW_MOD, MATCH, PACKET_OUT, EmulatedSwitch, Wrong
from flows import FIRST_PORT, HOST_BITS, REPLY, SERVICE_PORT, Packets

DEADLINE_S = 30.0
STALLED_S = 3.0  # nothing done for so long: what is outstanding is lost
_FIRST_HALF, _OUT, _IN = range(3)

_HEADER = Struct("!xBH")
_RULE = Struct("!2xH 20x BB 4x H")  # length, table, command, priority of a flow-mod
_SEQUENCE = Struct("!I")
_OXM = Struct("!HBB")
_SET_FIELD, _APPLY = 25, 4
_FIELDS = {11: "src", 12: "dst", 26: "src", 27: "dst", 13: "sport", 14: "dport"}  # OXM numbers, both families


class Result(NamedTuple):
    """``lost``: begun, and not done at the end.  ``busy``: the generator's own share of a processor, 0–1."""

    setups: int
    seconds: float
    lost: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    busy: float

    @property
    def rate(self) -> float:
        return self.setups / self.seconds


class Paced(NamedTuple):
    """Flows begun at a given rate.  Times are those of first packets, until they come back out.  ``lost``, ``busy``: as
    in ``Result``.
    """

    begun: int
    seconds: float
    lost: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    busy: float

    @property
    def rate(self) -> float:
        return self.begun / self.seconds


class EdgeLoad:
    """The flows of one client edge: begins them, follows them, checks them."""

    def __init__(self, switch: EmulatedSwitch, packets: Packets) -> None:
        self._switch = switch
        self._packets = packets
        self._packet_out_size = 24 + 16 + packets.frame_size  # with one output action
        self._shapes: dict[tuple[int, ...], tuple[int, Callable[[bytes, int], tuple[Any, ...]]]] = {}
        self._next = 0
        self._fresh: Iterator[tuple[int, bytes]] = iter(())
        self._following: Iterator[tuple[int, bytes]] = iter(())  # each begins when another flow is done
        self._translated: dict[int, bytes] = {}
        self._started: dict[int, float] = {}
        self._out: set[int] = set()
        self._in: set[int] = set()
        self._whole = True
        self.latencies: list[float] = []
        self.first_latencies: list[float] = []  # of the first halves of whole set-ups

    # ---------------------------------------------------------------- control

    def prepare(self, count: int, whole: bool, paced: bool = False) -> None:
        """Makes the next ``count`` flows' first packets.  ``paced``: they begin with ``begin`` alone."""
        flows = range(self._next, self._next + count)
        self._fresh = iter([(flow, self._packets.first(flow)) for flow in flows])
        self._following = iter(()) if paced else self._fresh
        self._next += count
        self._whole = whole
        self._started.clear()
        self.latencies = []
        self.first_latencies = []

    def begin(self, window: int, now: float) -> None:
        self._switch.load = self
        first = []
        for _, (flow, packet_in) in zip(range(window), self._fresh, strict=False):
            self._started[flow] = now
            first.append(packet_in)
        self._switch.send(first)

    def stop(self) -> None:
        """Begins no more flows; outstanding ones go on."""
        self._fresh = self._following = iter(())

    @property
    def outstanding(self) -> int:
        return len(self._started)

    def check(self) -> None:
        """Of all flows so far, every PR1X is different and out of PRh/k."""
        if not self._packets.are_translations(list(self._translated.values())):
            raise Wrong("a translation address was used twice, or is not of the translation prefix")

    # ---------------------------------------------------------------- the hot path

    def take(self, data: bytes, at: int, out: list[bytes], now: float) -> int:
        try:
            return self._take(data, at, out, now)
        except KeyError as error:
            raise Wrong(f"a rule or packet of flow {error} came before what it follows from, or twice") from None

    def _take(self, data: bytes, at: int, out: list[bytes], now: float) -> int:
        size = len(data)
        header, rule, shapes, translations = _HEADER.unpack_from, _RULE.unpack_from, self._shapes, self._translated
        take_rule = self._take_rule
        following, started, whole, reply = self._following, self._started, self._whole, self._packets.reply
        remember = self._switch.rules.pending.append if self._switch.rules.remember else None
        while size - at >= 8:
            kind, length = header(data, at)
            end = at + length
            if end > size:
                return at
            if kind == FLOW_MOD:
                shape = shapes.get(rule(data, at)) or self._learn(data[at:end])
                if shape is None:
                    return at
                if remember:
                    remember(data[at:end])
                take_rule(shape[0], shape[1](data, at), data[at:end])
            elif kind == PACKET_OUT and length == self._packet_out_size:
                (flow,) = _SEQUENCE.unpack_from(data, end - 16)
                if flow < REPLY and whole:
                    out.append(reply(flow, translations[flow]))
                    self.first_latencies.append(now - started[flow])
                else:
                    if flow < REPLY:
                        translations[flow]  # there is a rule
                    else:
                        flow -= REPLY
                        self._out.remove(flow)
                        self._in.remove(flow)
                    self.latencies.append(now - started.pop(flow))
                    for fresh, packet_in in following:
                        started[fresh] = now
                        out.append(packet_in)
                        break
            else:
                return at
            at = end
        return at

    def _take_rule(self, half: int, values: tuple[Any, ...], message: bytes) -> None:
        """Check the rule of a binding, by its ``values``: those that its shape picks."""
        translations = self._translated
        if half == _FIRST_HALF:
            host, port, translated = values
            translations[host | port - FIRST_PORT << HOST_BITS] = translated
        elif half == _OUT:
            host, port, translated, address = values
            flow = host | port - FIRST_PORT << HOST_BITS
            if translations[flow] != translated or address != self._packets.server:
                raise Wrong(f"outward rule of flow {flow}: {message.hex()}")
            self._out.add(flow)
        else:
            translated, port, address, host = values
            flow = host | port - FIRST_PORT << HOST_BITS
            if translations[flow] != translated or address != self._packets.service:
                raise Wrong(f"inward rule of flow {flow}: {message.hex()}")
            self._in.add(flow)

    # ---------------------------------------------------------------- shapes of rules

    def _learn(self, message: bytes) -> tuple[int, Callable[[bytes, int], tuple[Any, ...]]] | None:
        """The shape of a binding's rule, taken apart field by field; None for any other rule."""
        _, _, command, _ = key = _RULE.unpack_from(message)
        matched, written = _places(message)
        if command != ADD or not {"src", "dst", "sport", "dport"} <= matched.keys() or "src" not in written:
            return None
        width = len(self._packets.service)
        address = f"{width}s"
        value = {name: message[place : place + width] for name, place in matched.items()}
        if value["dst"] == self._packets.service:
            picks = [(matched["src"] + width - 2, "H"), (matched["sport"], "H"), (written["src"], address)]
            half = _FIRST_HALF
            if "dst" in written:
                half = _OUT
                picks.append((written["dst"], address))
        else:
            half = _IN
            picks = [(matched["dst"], address), (matched["dport"], "H"), (written["src"], address)]
            picks.append((written["dst"] + width - 2, "H"))
            from_port = int.from_bytes(message[matched["sport"] :][:2], "big")
            if value["src"] != self._packets.server or from_port != SERVICE_PORT:
                raise Wrong(f"inward rule: {message.hex()}")
        self._shapes[key] = half, _picker(picks)
        return self._shapes[key]


def _picker(picks: Sequence[tuple[int, str]]) -> Callable[[bytes, int], tuple[Any, ...]]:
    """Reads the fields at these offsets of a message and returns them in the order asked for."""
    form, at = "!", 0
    for offset, code in sorted(picks):
        form += f"{offset - at}x{code}"
        at = offset + Struct("!" + code).size
    unpack = Struct(form).unpack_from
    if list(picks) == sorted(picks):
        return unpack
    arranged = itemgetter(*(sorted(picks).index(pick) for pick in picks))
    return lambda data, at: arranged(unpack(data, at))


def _places(message: bytes) -> tuple[dict[str, int], dict[str, int]]:
    """Where the addresses and ports of a flow-mod stand: in its match, and in its set-field actions.

    Fields with a mask are left out: they are no flow's.
    """
    end = MATCH + int.from_bytes(message[MATCH + 2 : MATCH + 4], "big")
    matched = dict(_oxm_places(message, MATCH + 4, end))
    written: dict[str, int] = {}
    at = MATCH + (end - MATCH + 7) // 8 * 8
    while at < len(message):
        kind, size = Struct("!HH").unpack_from(message, at)
        action = at + 8
        while kind == _APPLY and action < at + size:
            action_kind, action_size = Struct("!HH").unpack_from(message, action)
            if action_kind == _SET_FIELD:
                field_size = message[action + 7]
                written.update(_oxm_places(message, action + 4, action + 8 + field_size))
            action += action_size
        at += size
    return matched, written


def _oxm_places(message: bytes, at: int, end: int) -> Iterator[tuple[str, int]]:
    while at < end:
        _, field, size = _OXM.unpack_from(message, at)
        if field >> 1 in _FIELDS and not field & 1:
            yield _FIELDS[field >> 1], at + 4
        at += 4 + size


# ------------------------------------------------------------------------------ the generator


@contextlib.contextmanager
def _no_garbage() -> Iterator[None]:
    """Nothing is collected meanwhile."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


class LoadGenerator:
    """All emulated switches in one loop, on one processor."""

    def __init__(self, switches: Sequence[EmulatedSwitch]) -> None:
        self.switches = switches
        self._poll = select.epoll()
        self._by_number: dict[int, EmulatedSwitch] = {}

    def connect(self, port: int) -> None:
        deadline = time.monotonic() + DEADLINE_S
        for switch in self.switches:
            switch.connect(port, deadline)
            self._by_number[switch.socket.fileno()] = switch
            self._poll.register(switch.socket, select.EPOLLIN)

    def close(self) -> None:
        self._poll.close()
        for switch in self._by_number.values():
            switch.close()

    @contextlib.contextmanager
    def serving(self, port: int | None = None) -> Iterator[None]:
        """Behaves as switches do, in the background; connects first when a port is given."""
        done = threading.Event()
        failures: list[Exception] = []

        def serve() -> None:
            try:
                if port is not None:
                    self.connect(port)
                while not done.is_set():
                    self._step(0.02)
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
            if failures:
                raise failures[0]

    def _step(self, timeout_s: float) -> None:
        """Waits until at least one switch has received something; handles all of those."""
        for number, events in self._poll.poll(timeout_s):
            switch = self._by_number[number]
            if events & ~select.EPOLLOUT:
                switch.receive(time.perf_counter())
            else:
                switch.flush()
            if switch.wants_to_send or events & select.EPOLLOUT:
                self._poll.modify(number, select.EPOLLIN | (select.EPOLLOUT if switch.wants_to_send else 0))

    def run(self, loads: Sequence[EdgeLoad], window: int, most: int, seconds: float, whole: bool = True) -> Result:
        """At most ``most`` set-ups in all, begun within ``seconds``; all are waited for."""
        window = min(window, math.ceil(most / len(loads)))
        for load in loads:
            load.prepare(max(window, math.ceil(most / len(loads))), whole)
        with _no_garbage():
            start, cpu = time.perf_counter(), time.process_time()
            for load in loads:
                load.begin(window, start)
            end = self._until_done(loads, start + seconds)
            busy = time.process_time() - cpu
        for load in loads:
            load.check()
        latencies = [latency for load in loads for latency in load.latencies]
        if len(latencies) < 2:
            raise Wrong("the controller sets up no flows")
        cuts = statistics.quantiles(latencies, n=100, method="inclusive")
        lost = sum(load.outstanding for load in loads)
        p50, p99, worst = (1e3 * latency for latency in (cuts[49], cuts[98], max(latencies)))
        return Result(len(latencies), end - start, lost, p50, p99, worst, busy / (end - start))

    def run_at(self, rate: float, load: EdgeLoad, seconds: float) -> Paced:
        """Whole set-ups, so many begun in a second, whatever becomes of those before; all are waited for."""
        load.prepare(math.ceil(rate * seconds), whole=True, paced=True)
        with _no_garbage():
            begun, cpu, start = 0, time.process_time(), time.perf_counter()
            while (now := time.perf_counter()) < start + seconds:
                due = int((now - start) * rate)
                load.begin(due - begun, now)
                begun = due
                self._step(max(0.0, start + (begun + 1) / rate - time.perf_counter()))
            busy = time.process_time() - cpu
            self._until_done([load], start + seconds)
        load.check()
        cuts = statistics.quantiles(load.first_latencies, n=100, method="inclusive")
        p50, p99, worst = (1e3 * latency for latency in (cuts[49], cuts[98], max(load.first_latencies)))
        return Paced(begun, seconds, load.outstanding, p50, p99, worst, busy / seconds)

    def _until_done(self, loads: Sequence[EdgeLoad], deadline: float) -> float:
        """When the last set-up was done."""
        done, done_at = 0, time.perf_counter()
        while any(load.outstanding for load in loads):
            self._step(0.1)
            now = time.perf_counter()
            if now > deadline:
                for load in loads:
                    load.stop()
            if (count := sum(len(load.latencies) for load in loads)) != done:
                done, done_at = count, now
            elif now - done_at > STALLED_S:
                break
        return done_at
