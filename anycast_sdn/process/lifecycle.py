"""Lifecycle: carries out what ``control.life`` decides, and what operators ask for by REST.

Drains and leases are looked at several times a second.  What follows for servers is stored in one change, and flows are
closed in slices, with turns for others between.  A change that cannot be stored is tried again later.

Whoever waits for an operation is woken at its end: a green thread for each, and no more than ``MOST_WAITING`` of them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from os_ken.lib import hub

from anycast_sdn.control.leases import Enrolment
from anycast_sdn.control.life import Changed, Life, Moment
from anycast_sdn.control.operations import Operation
from anycast_sdn.control.registry import Registry
from anycast_sdn.core.controller_events import StoreFailed
from anycast_sdn.core.model import Address, AfterDrain, AtDeadline, Lease, Server
from anycast_sdn.core.server_events import OperationEnded
from anycast_sdn.process.app import AnycastApp
from anycast_sdn.process.faults import isolated
from anycast_sdn.store.store import StoreError

TICK_S = 0.25
RETRY_S = 5.0  # after a change that could not be stored
AT_ONCE = 250  # servers whose change is stored together
LONGEST_WAIT_S = 600.0
MOST_WAITING = 32


class Lifecycle:
    def __init__(self, registry: Registry, app: AnycastApp, leads: Callable[[], bool], life: Life) -> None:
        """``leads``: does this controller decide for the network?"""
        self._registry = registry
        self._app = app
        self._leads = leads
        self._life = life
        self._unstored: dict[Enrolment, Changed] = {}  # each does nothing if something else has happened meanwhile
        self._store_again_at = 0.0
        self._waiting: dict[hub.Event, str] = {}  # who waits, the longest first → for the end of which operation
        # In a cluster, how long a drain runs already is not known: only by the clock of the member that has begun it.
        life.enrolled(registry.groups, registry.edges, _moment(), begins=True, by_another=not leads())
        app.succession.on_take_over(self.take_over, life.operations)

    def run(self) -> None:
        """To be spawned; ends with the application."""
        tick = isolated(self._tick)
        while self._app.is_active:
            hub.sleep(TICK_S)
            if self._leads():
                tick()

    def enrolments_changed(self) -> None:
        """The registry has other groups, or drained edges, than before."""
        self._life.enrolled(self._registry.groups, self._registry.edges, _moment(), by_another=not self._leads())

    def take_over(self, now: float) -> None:
        """This controller leads from now on."""
        succession = self._app.succession
        self._life.take_over(succession.ended_operations(), succession.expired_leases(), _moment())

    def _tick(self) -> None:
        while True:
            at = _moment()
            todo = self._life.tick(at)
            self._app.carry_out(todo, at.now)
            for event in todo.events:
                if isinstance(event, OperationEnded):
                    self._wake(event.operation)
            self._unstored |= todo.changes
            if at.now >= self._store_again_at:
                self._store(at.now)
            if not self._life.is_busy():
                return
            hub.sleep(0)

    def _store(self, now: float) -> None:
        while self._unstored:
            some = dict(itertools.islice(self._unstored.items(), AT_ONCE))
            try:
                self._registry.change_servers(some)
            except StoreError as error:
                self._app.report(StoreFailed(f"the end of drains and leases is not stored: {error}"))
                self._store_again_at = now + RETRY_S
                return
            self._unstored = {each: changed for each, changed in self._unstored.items() if each not in some}

    def stop(self) -> None:
        """Nobody waits any longer: the controller ends."""
        for waiting in self._waiting:
            waiting.set()

    def _wake(self, operation: str) -> None:
        for waiting, awaited in self._waiting.items():
            if awaited == operation:
                waiting.set()

    # ---------------------------------------------------------------- what operators ask for

    def drain_server(
        self,
        group: str,
        address: Address,
        deadline_s: float | None = None,
        then: AfterDrain = AfterDrain.KEEP,
        at_deadline: AtDeadline = AtDeadline.END,
    ) -> Operation:
        """A drain that runs already gets this deadline.  Raises NotFound, EnrolmentError, StoreError."""
        draining = partial(
            self._life.draining, wall=time.time(), deadline_s=deadline_s, then=then, at_deadline=at_deadline
        )
        server = self._registry.change_server(group, address, draining)
        assert server.drain
        return self._life.operations.get(server.drain.operation)

    def drain_edge(
        self, edge: str, deadline_s: float | None = None, at_deadline: AtDeadline = AtDeadline.END
    ) -> Operation:
        """As ``drain_server``, for all servers behind the edge."""
        draining = partial(self._life.draining_edge, wall=time.time(), deadline_s=deadline_s, at_deadline=at_deadline)
        return self._life.operations.get(self._registry.drain_edge(edge, draining).operation)

    def resume_edge(self, edge: str) -> None:
        """Raises NotFound, StoreError."""
        self._registry.resume_edge(edge)

    def renew(self, group: str, address: Address, lease: Lease | None = None) -> Server:
        """Renew the server's lease; ``lease``: another one from now on, or its first.  Raises NotFound, StoreError.

        Only another lease is stored.
        """
        server = self._registry.server(group, address)
        if lease and lease != server.lease:
            server = self._registry.change_server(group, address, lambda present: replace(present, lease=lease))
        self._life.renew(group, address, time.monotonic())
        return server

    def lease_left_s(self, group: str, address: Address) -> float | None:
        """How long the server's lease is still held; None: it has none."""
        return self._life.leases.left_s((group, address), time.monotonic())

    def operation(self, id: str, wait_s: float = 0.0) -> Operation:
        """The operation, when it has ended, or after ``wait_s`` at the latest.  Raises NotFound.

        Whoever has waited longest makes room when ``MOST_WAITING`` wait already: some may have gone meanwhile.
        """
        operations = self._life.operations
        if operations.get(id) and operations.is_running(id) and wait_s > 0:
            if len(self._waiting) >= MOST_WAITING:
                longest = next(iter(self._waiting))
                del self._waiting[longest]
                longest.set()
            ended = hub.Event()
            self._waiting[ended] = id
            timer = hub.spawn_after(min(wait_s, LONGEST_WAIT_S), ended.set)
            ended.wait()
            timer.cancel()
            self._waiting.pop(ended, None)
        return operations.get(id)

    def operations(self) -> list[Operation]:
        """Those that run first, then the others, the last one first."""
        return list(self._life.operations)


def _moment() -> Moment:
    return Moment(time.monotonic(), time.time())
