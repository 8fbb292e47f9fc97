"""The agent's loop: probes, measurements and requests, each in its time.

One thread decides: it takes what has happened out of one queue and gives it to the machines (``enrolment``), one for
each address.  Whatever waits for another party waits in a thread of its own: requests (one thread for each address) and
probes.  These only put results into the queue; so do signals.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any, Protocol

from anycast_sdn.agent import load, probes
from anycast_sdn.agent.agent_line import AgentLine
from anycast_sdn.agent.enrolment import Enrolment, Settings
from anycast_sdn.agent.messages import Ask, Request
from anycast_sdn.core.words import address as written

LOG = logging.getLogger(__name__)

TURN_S = 0.5  # the longest time between two looks at the clock
SAME_S = 0.1  # two signals within this are one: timeout(1) sends two


class Manager(Protocol):
    """The service manager, such as systemd."""

    def ready(self, status: str) -> None: ...
    def alive(self, now: float) -> None: ...
    def stopping(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Watch:
    """What the agent looks at on its server."""

    checks: Sequence[probes.HttpTarget] = ()
    agent_check: tuple[str, int] | None = None
    interval_s: float = 5.0


Event = Callable[[float], None]  # takes the time; carried out by the thread that decides


class Agent:
    def __init__(
        self,
        settings: Settings,
        addresses: Sequence[str],
        watch: Watch,
        ask: Ask,
        manager: Manager,
        chance: Callable[[], float],
    ) -> None:
        self._watch = watch
        self._ask = ask
        self._manager = manager
        self._machines = [Enrolment(settings, address, chance) for address in addresses]
        self._outgoing: dict[str, queue.SimpleQueue[Request]] = {address: queue.SimpleQueue() for address in addresses}
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._meter = _meter(addresses)
        self._port = watch.checks[0].port if watch.checks else None
        self._shown: dict[str, str] = {}  # what was logged of each probe
        self._is_ready = False
        self._asked_at: float | None = None  # for the end

    def run(self) -> int:
        """Until it is asked to end and the server is drained → the exit status.  Raises Hopeless."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        for machine in self._machines:
            self._start(partial(self._carry, machine))
        for target in self._watch.checks:
            self._start(partial(self._repeat, partial(self._check, target)))
        if self._watch.agent_check:
            self._start(partial(self._repeat, partial(self._read_line, self._watch.agent_check)))
        measure_at = 0.0
        while not all(machine.has_ended for machine in self._machines):
            now = time.monotonic()
            self._manager.alive(now)
            if now >= measure_at:
                measure_at = now + self._watch.interval_s
                self._measure(now)
            self._send(now)
            try:
                self._events.get(timeout=TURN_S)(time.monotonic())
            except queue.Empty:
                continue
        failures = [f"{machine.address}: {machine.failure}" for machine in self._machines if machine.failure]
        for failure in failures:
            LOG.error(failure)
        LOG.info("stopped")
        return 1 if failures else 0

    # -------------------------------------------------------------------------- the thread that decides

    def _send(self, now: float) -> None:
        for machine in self._machines:
            if request := machine.next(now):
                self._outgoing[machine.address].put(request)
        if not self._is_ready and all(machine.is_enrolled for machine in self._machines):
            self._is_ready = True
            self._manager.ready(f"enrolled: {', '.join(machine.address for machine in self._machines)}")

    def _measure(self, now: float) -> None:
        measured: dict[str, float] = self._meter.measure(now) if self._meter else {}
        if self._port is not None:
            try:
                measured["sessions"] = load.sessions(self._port)
            except OSError as error:
                self._log("sessions", f"sessions cannot be counted: {error}")
        if measured:
            for machine in self._machines:
                machine.report_load(measured)

    def _leave(self, name: str, now: float) -> None:
        LOG.info("%s: draining; a second signal ends the agent at once", name)
        self._manager.stopping()
        for machine in self._machines:
            machine.leave()

    def _log(self, whose: str, line: str, level: int = logging.INFO) -> None:
        """Logs what has changed, and nothing twice."""
        if self._shown.get(whose) != line:
            self._shown[whose] = line
            LOG.log(level, line)

    # -------------------------------------------------------------------------- signals

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        """In the thread that decides, at any place: only puts something into the queue."""
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self._events.put(partial(self._leave, signal.Signals(number).name))
        elif now - self._asked_at >= SAME_S:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    # -------------------------------------------------------------------------- other threads

    def _start(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()

    def _carry(self, machine: Enrolment) -> None:
        """Requests of one address, one after the other."""
        while True:
            answer = self._ask(self._outgoing[machine.address].get())

            def take(now: float, answer: Any = answer) -> None:
                for line in machine.answered(answer, now):
                    LOG.info("%s: %s", machine.address, line)

            self._events.put(take)

    def _repeat(self, probe: Callable[[], Event]) -> None:
        while True:
            began = time.monotonic()
            self._events.put(probe())
            time.sleep(max(self._watch.interval_s - (time.monotonic() - began), 0.1))

    def _check(self, target: probes.HttpTarget) -> Event:
        result = probes.ask_http(target)
        name = str(target)

        def take(now: float) -> None:
            self._log(name, f"{name} {'passes' if result.is_up else 'fails'}: {result.output}")

        return take

    def _read_line(self, address: tuple[str, int]) -> Event:
        line, failed = AgentLine(), ""
        try:
            line = probes.ask_agent(address)
        except ValueError as error:
            failed = f"not understood: {error}"
        except OSError as error:
            failed = f"no answer: {error.strerror or error}"

        def take(now: float) -> None:
            self._log("agent check", f"agent check at {written(*address)}: {failed or line.output or 'answers'}")
            if not failed:
                for machine in self._machines:
                    machine.report_line(line)

        return take


def _meter(addresses: Sequence[str]) -> load.Meter | None:
    try:
        import psutil
    except ImportError:
        LOG.warning("load is not reported, because psutil is not installed: pip install 'anycast-sdn[agent]'")
        return None
    return load.Meter(psutil, addresses)
