"""What a handler gets of a request, what it returns, and what it may ask the controller.

A handler is a function of an ``Asked`` and the variables of its path.  It returns an ``Answer``, or raises a
``Problem`` or a ``ConfigurationError``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from anycast_sdn.api.answers import Turn
from anycast_sdn.api.conditions import Condition
from anycast_sdn.api.queries import Nothing
from anycast_sdn.api.streams import Stream
from anycast_sdn.api.tokens import Caller, Need
from anycast_sdn.cluster.steering import NoSteering, Steering
from anycast_sdn.control.agent_checks import Reported
from anycast_sdn.control.operations import Operation as OperationOfLife
from anycast_sdn.control.registry import Registry
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import Address, AfterDrain, AnycastGroup, AtDeadline, Lease, Server
from anycast_sdn.description.model import Port
from anycast_sdn.description.section import Section
from anycast_sdn.views.flow_sample import FlowSample
from anycast_sdn.views.flows import Before, FlowFilter, FlowView, Place
from anycast_sdn.views.journal import Journal


class Views(Protocol):
    """What the controller shows; the dictionaries are ready for JSON."""

    def flows(self, wanted: FlowFilter, after: Place, limit: int) -> tuple[list[FlowView], Place | None]:
        """At most ``limit`` of the wanted flows behind a place, in order.

        → (flows, the place after which to go on, None at the end).  One call looks at a slice of all bindings,
        so it may find none although there are more.
        """

    def newest_flows(
        self, wanted: FlowFilter, before: Before, limit: int
    ) -> tuple[list[FlowView], Before | None]:
        """As ``flows``, the newest of all edges first.  ``before``: where to go on; empty: at the newest."""

    def flow_summary(self) -> dict[str, Any]:
        """Totals over all flows, whatever the page and the filter."""

    def masters_not_known(self) -> list[str]:
        """The names of members of the cluster that serve flows which are not all known here now."""

    def flow(self, edge: str, number: int) -> FlowView:
        """One of them.  Raises NotFound."""

    def decision(self, edge: str, number: int) -> dict[str, Any] | None:
        """By what this flow got its server; None: it is not known."""

    def held(self, translated: Address, at: str, port: int | None) -> dict[str, Any]:
        """Who had this address.  Waits for the binding log.  Raises NotFound: none is written; Unavailable."""

    def end_flows(self, wanted: FlowFilter, after: Place) -> tuple[int, Place | None]:
        """Ends the wanted flows of the next slice behind a place → (how many, as ``flows``)."""

    def end_flow(self, edge: str, number: int) -> None:
        """Raises NotFound."""

    def switches(self, turn: Callable[[], None]) -> Iterable[dict[str, Any]]:
        """One dictionary for each switch.  The caller may pause between one and the next."""

    def switch(self, name: str, turn: Callable[[], None]) -> dict[str, Any]:
        """One of them.  Raises NotFound."""

    def switch_reports(self, turn: Callable[[], None]) -> Iterable[dict[str, Any]]:
        """What each switch is, and can be."""

    def switch_report(self, name: str) -> dict[str, Any]:
        """Of one of them.  Raises NotFound."""

    def examine(self, name: str) -> dict[str, Any]:
        """Tries again what a switch can do → what it is, and can be.  Raises NotFound, CannotSteer."""

    def topology(self, without: Sequence[str], groups: Sequence[str], turn: Callable[[], None]) -> dict[str, Any]:
        """The network, as it would be without these switches, links and servers; with the services of these groups
        alone, if any are named.  Raises NotFound."""

    def link(self, end: Port) -> dict[str, Any]:
        """The link at this port.  Raises NotFound."""

    def set_link_cost(self, end: Port, cost: int) -> dict[str, Any]:
        """Changes the cost of the link at this port until the controller restarts → the link.

        Raises NotFound.
        """

    @property
    def journal(self) -> Journal:
        """What has happened."""

    def silent_members(self) -> list[str]:
        """The names of members of the cluster whose events do not come here now."""

    @property
    def flow_sample(self) -> FlowSample:
        """What becomes of flows."""

    def replies(self, group: str | None, turn: Callable[[], None]) -> Iterable[dict[str, Any]]:
        """Time to the first reply, and loss, of each group, or of this one."""

    def note_answer(self, method: str, resource: str, status: int) -> None:
        """A request was answered."""

    def metrics(self, accept: str, turn: Callable[[], None]) -> tuple[str, list[bytes]]:
        """All metrics → (media type, text in chunks).  ``accept``: the media types that the scraper takes."""

    def history(self, last_s: int, step_s: int, turn: Callable[[], None]) -> dict[str, Any]:
        """Some figures of the last ``last_s`` seconds, one for each step."""

    def health(self) -> dict[str, Any]:
        """``status`` is "ok" when everything is; anything else is answered with 503."""

    def cluster(self) -> dict[str, Any]:
        """Who takes part, who leads, and who is the master of which switch."""

    def services(self, turn: Callable[[], None]) -> list[dict[str, Any]]:
        """How the servers of each group are, in all and behind each edge."""

    def worst_first(self, group: AnycastGroup, turn: Callable[[], None]) -> list[tuple[int, Server]]:
        """The servers of a group, those whose health is worst first, with its rank: 0 is the worst."""

    def server_status(self, group_name: str, address: Address) -> dict[str, Any]:
        """What is added to an enrolled server: ``edge``, ``reachable``, ``flows``, ``health``."""

    def report_load(self, address: Address, report: LoadReport, counts_in: Callable[[str], bool]) -> None:
        """The load of this server is reported; it counts in these of its groups."""

    def report_checks(self, group_name: str, address: Address, results: Sequence[Reported]) -> None:
        """Results of checks that the agent of this server has made."""


class Life(Protocol):
    """Drains and leases.  Each raises NotFound, and StoreError where it changes something."""

    def drain_server(
        self,
        group: str,
        address: Address,
        deadline_s: float | None = None,
        then: AfterDrain = AfterDrain.KEEP,
        at_deadline: AtDeadline = AtDeadline.END,
    ) -> OperationOfLife:
        """A drain that runs already gets this deadline."""

    def drain_edge(
        self, edge: str, deadline_s: float | None = None, at_deadline: AtDeadline = AtDeadline.END
    ) -> OperationOfLife:
        """As ``drain_server``, for all servers behind the edge."""

    def resume_edge(self, edge: str) -> None:
        """Its servers take new flows again."""

    def renew(self, group: str, address: Address, lease: Lease | None = None) -> Server:
        """Renew the server's lease; ``lease``: another one from now on, or its first."""

    def lease_left_s(self, group: str, address: Address) -> float | None:
        """How long the server's lease is still held; None: it has none."""

    def operation(self, id: str, wait_s: float = 0.0) -> OperationOfLife:
        """The operation, when it has ended, or after ``wait_s`` at the latest."""

    def operations(self) -> list[OperationOfLife]:
        """Those that run first, then the others, the last one first."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read and validated."""

    registry: Registry
    views: Views
    life: Life
    caller: Caller
    turn: Turn
    condition: Condition
    body: Any = None  # of the operation's model
    query: Any = None
    fields: Mapping[str, str] = field(default_factory=dict)  # of its header
    steering: Steering = field(default_factory=NoSteering)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one resource."""

    method: str
    path: str  # its variables are members of ``queries.InPath``
    handler: Callable[..., Answer]  # takes an ``Asked`` and the variables of the path
    needs: Need  # of those who ask
    summary: str
    answers: Mapping[int, type[Section] | None]  # by status; None: without a body
    body: type[Section] | None = None
    needs_body: bool = True
    query: type[Section] = Nothing
    conditional: bool = False  # it changes what has an entity tag
    streams: bool = False  # on request its answer goes on, as server-sent events
    texts: Sequence[str] = ()  # the media types of its answer, where that is text


class Answer(NamedTuple):
    """``location``: of what was created, or of an operation that has begun.  Without a body it is 204."""

    body: dict[str, Any] | None = None
    status: int = 200
    location: str = ""
    tag: str = ""  # the entity tag, where there is one
    stream: Stream | None = None  # in the place of a body
    text: tuple[str, list[bytes]] | None = None  # in the place of a body: its media type, and the text in chunks
