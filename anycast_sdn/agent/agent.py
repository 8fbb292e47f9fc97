"""The agent's loop: probes, measurements and requests, each in its time.

One thread decides: it takes what has happened out of one queue and gives it to the machine (``enrolment``).  Whatever
waits for another party waits in a thread of its own: requests, and each probe.  These only put results into the queue;
so do signals.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
LOADS, MAX_TTL_S = 3, 3600.0  # intervals that a report of load is valid for, and the longest time
_DEFAULTS: dict[str, Any] = {"port": 80, "path": "/", "interval_s": 5.0, "timeout_s": 2.0, "expect_status": ()}
MOST_DETAIL, MOST_OUTPUT = 200, 500  # characters of a result that the controller takes


class Manager(Protocol):
    """The service manager, such as systemd."""

    def ready(self, status: str) -> None: ...
    def alive(self, now: float) -> None: ...
    def stopping(self) -> None: ...


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """One that the agent makes, of each of the server's addresses or of one."""

    target: probes.HttpTarget
    interval_s: float
    timeout_s: float = probes.TIMEOUT_S
    passing: frozenset[int] = probes.PASSING  # statuses
    address: str | None = None  # the server's, that the result is about; None: each


@dataclass(frozen=True, slots=True)
class Watch:
    """What the agent looks at on its server, beside what the group says."""

    checks: Sequence[probes.HttpTarget] = ()
    agent_check: tuple[str, int] | None = None
    interval_s: float = 5.0
    load: bool = True


Event = Callable[[float], None]  # takes the time; carried out by the thread that decides


class Agent:
    def __init__(
        self, settings: Settings, watch: Watch, ask: Ask, manager: Manager, chance: Callable[[], float]
    ) -> None:
        self._addresses = settings.addresses
        self._watch = watch
        self._ask = ask
        self._manager = manager
        self._machine = Enrolment(settings, chance)
        self._outgoing: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._meter = _meter(settings.addresses) if watch.load else None
        self._given = {HttpCheck(target, watch.interval_s) for target in watch.checks}
        self._checks: dict[HttpCheck, _Repeated] = {}  # that are being made
        self._shown: dict[str, str] = {}  # what was logged last of each
        self._measure_at = 0.0
        self._is_ready = False
        self._asked_at: float | None = None  # for the end

    def run(self) -> int:
        """Until it is asked to end and the server is drained → the exit status.  Raises Hopeless."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        threading.Thread(target=self._carry, daemon=True).start()
        if self._watch.agent_check:
            _Repeated(partial(self._read_line, self._watch.agent_check), self._watch.interval_s, self._events).start()
        while not self._machine.has_ended:
            now = time.monotonic()
            self._manager.alive(now)
            self._adjust_checks()
            if self._watch.load and now >= self._measure_at:
                self._measure_at = now + self._watch.interval_s
                self._measure(now)
            if request := self._machine.next(now):
                self._outgoing.put(request)
            try:
                self._events.get(timeout=TURN_S)(time.monotonic())
            except queue.Empty:
                continue
        if self._machine.failure:
            LOG.error(self._machine.failure)
        LOG.info("stopped")
        return 1 if self._machine.failure else 0

    # -------------------------------------------------------------------------- the thread that decides

    def _answered(self, answer: Any, now: float) -> None:
        for line in self._machine.answered(answer, now):
            LOG.info("%s: %s", self._addresses[0], line)
        if self._machine.is_enrolled and not self._is_ready:
            self._is_ready = True
            self._manager.ready(f"enrolled: {' and '.join(self._addresses)}")

    def _adjust_checks(self) -> None:
        """The checks that are made are those of the command line and of the group."""
        wanted = self._given | set(self._checks_of_the_group())
        for check in self._checks.keys() - wanted:
            self._checks.pop(check).stop()
            self._machine.begin_anew(check.address)
        for check in wanted - self._checks.keys():
            self._checks[check] = _Repeated(partial(self._check, check), check.interval_s, self._events)
            self._checks[check].start()

    def _checks_of_the_group(self) -> Iterator[HttpCheck]:
        for given in self._machine.group_checks:
            check = _DEFAULTS | dict(given)
            passing = frozenset(check["expect_status"]) or probes.PASSING
            for address in self._addresses:
                url = f"http://{written(address, check['port'])}{check['path']}"
                try:
                    target = probes.http_target(url)
                except ValueError as error:
                    self._log(url, f"a check of the group cannot be made: {error}")
                else:
                    yield HttpCheck(target, check["interval_s"], check["timeout_s"], passing, address)

    def _measure(self, now: float) -> None:
        measured: dict[str, float] = {}
        try:
            measured |= self._meter.measure(now) if self._meter else {}
        except (OSError, RuntimeError) as error:  # of psutil, for what this system does not tell
            self._log("load", f"load cannot be measured: {error}")
        if self._checks:
            port = next(iter(self._checks)).target.port
            try:
                measured["sessions"] = load.sessions(port)
            except OSError as error:
                self._log("sessions", f"sessions cannot be counted: {error}")
        if measured:
            self._machine.report_load(measured | {"ttl_s": min(LOADS * self._watch.interval_s + 2, MAX_TTL_S)})

    def _leave(self, name: str, now: float) -> None:
        LOG.info("%s: draining; a second signal ends the agent at once", name)
        self._manager.stopping()
        self._machine.leave(now)

    def _log(self, whose: str, line: str) -> None:
        """Logs what has changed, and nothing twice."""
        if self._shown.get(whose) != line:
            self._shown[whose] = line
            LOG.info(line)

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

    def _carry(self) -> None:
        """Requests, one after the other."""
        while True:
            request = self._outgoing.get()
            try:
                self._events.put(partial(self._answered, self._ask(request)))
            except Exception as error:  # a fault of ours: it ends the agent, and is not lost with this thread
                self._events.put(partial(_raise, error))

    def _check(self, check: HttpCheck) -> Event:
        target = check.target
        result = probes.ask_http(target, check.passing, check.timeout_s)
        report = _report("http", result.is_up, result.output, check.interval_s)
        report |= {"port": target.port, "detail": target.path[:MOST_DETAIL]}

        def take(now: float) -> None:
            if check not in self._checks:
                return  # it was stopped while this attempt was under way
            self._log(str(target), f"{target} {'passes' if result.is_up else 'fails'}: {result.output}")
            self._machine.report_checks([report], check.address)

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
                self._machine.report_line(line)
            if line.is_up is not None:
                self._machine.report_checks([_report("agent", line.is_up, line.output, self._watch.interval_s)])

        return take


@dataclass(slots=True)
class _Repeated:
    """A probe that is made again and again, in a thread of its own."""

    probe: Callable[[], Event]
    interval_s: float
    events: queue.SimpleQueue[Event]
    _stopped: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopped.wait(pause_s):
            began = time.monotonic()
            try:
                self.events.put(self.probe())
            except Exception as error:  # as in Agent._carry
                self.events.put(partial(_raise, error))
            pause_s = max(self.interval_s - (time.monotonic() - began), 0.1)


def _report(kind: str, is_up: bool, output: str, interval_s: float) -> dict[str, Any]:
    status = "passing" if is_up else "critical"
    return {"type": kind, "status": status, "output": output[:MOST_OUTPUT], "interval_s": interval_s}


def _raise(error: Exception, now: float) -> None:
    raise error


def _meter(addresses: Sequence[str]) -> load.Meter | None:
    try:
        import psutil
    except ImportError:
        LOG.warning("load is not reported, because psutil is not installed: pip install 'anycast-sdn[agent]'")
        return None
    return load.Meter(psutil, addresses)
