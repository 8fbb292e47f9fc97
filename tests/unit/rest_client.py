"""The REST application over a real registry and store; what the controller would show is given as facts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from webob import Request, Response

from anycast_sdn.api.access import BY_LOOPBACK, CALLER
from anycast_sdn.api.resources import description
from anycast_sdn.api.rest import RestApi
from anycast_sdn.control.agent_checks import Reported
from anycast_sdn.control.operations import Kind, Operation, State
from anycast_sdn.control.registry import Registry
from anycast_sdn.core.groups import Groups
from anycast_sdn.core.load import LoadReport
from anycast_sdn.core.model import (
    TCP,
    Address,
    AfterDrain,
    AnycastGroup,
    AtDeadline,
    Drain,
    Lease,
    NotFound,
    Server,
    ServerState,
    packed,
)
from anycast_sdn.description.model import Port
from anycast_sdn.store.bindings.messages import Unavailable
from anycast_sdn.store.memory import MemoryStore
from anycast_sdn.store.sqlite import SqliteStore
from anycast_sdn.store.store import Store
from anycast_sdn.views.cluster import ALONE
from anycast_sdn.views.flow_sample import FlowSample
from anycast_sdn.views.flows import Before, FlowFilter, FlowView, Place
from anycast_sdn.views.journal import Journal
from tests.unit.operators import network

NETWORK = network()
HEALTH = {
    **{"status": "passing", "since": "2026-01-31T09:26:53.000Z", "reason": ""},
    "checks": [{"type": "arp", "status": "passing", "since": None, "output": "answers"}],
}


REPORT: dict[str, Any] = {
    **{"name": "arh1", "dpid": 1, "address": "192.0.2.1:40000", "connected": True, "tables": 3, "unanswered": []},
    "description": {"manufacturer": "Acme", "hardware": "Acme 9", "software": "1.0", "serial": None, "datapath": None},
    "layout": {"ingress": 0, "client_out": 1, "service": 2, "client_in": 1, "routes": 2},
    "room": {
        "tables": [{"table": 0, "needs": 20, "says": 1024}, {"table": 1, "needs": 10, "says": None}],
        "groups": {"needs": 1, "says": 32},
    },
    "roles": [
        {"role": "client edge", "wanted": True, "families": ["ipv4"], "sentence": "cannot be a client edge for IPv6",
         "doubt": None,
         "lacks": [{"ability": "set_ipv6", "what": "set IPv6 addresses", "family": "ipv6", "table": 1, "why": "no"}]},
        {"role": "server edge", "wanted": False, "families": [], "sentence": "cannot be a server edge",
         "doubt": None, "lacks": []},
        {"role": "core", "wanted": True, "families": ["ipv4", "ipv6"], "sentence": "can be a core",
         "doubt": None, "lacks": []},
    ],
    "without": [{"feature": "meters", "effect": "has no meters"}],
    "rules": {"bindings": 6, "other": 30, "groups": 1},
}  # fmt: skip
LOAD = {"overall": 0.5, "sessions": 5, "cpu": 0.5, "memory": None, "disk": None, "network": 0.1, "age_s": 2.5}


def flow(number: int, edge: str = "arh1", **changes: Any) -> FlowView:
    pinned = FlowView(
        number=number,
        edge=edge,
        state="pinned",
        group="web",
        client=packed("10.1.0.10"),
        client_port=40000 + number,
        service=packed("198.18.0.1"),
        service_port=80,
        protocol=TCP,
        translated=packed("203.0.113.7"),
        translated_port=0,
        server=packed("10.2.0.10"),
        since=1_700_000_000.25,
        validity_s=7440,
        idle="",
    )
    return pinned._replace(**changes)


class Facts:
    """Views of a controller at one moment."""

    def __init__(self) -> None:
        self.table = [flow(n, edge) for n in (3, 1, 2) for edge in ("arh2", "arh1")]
        self.status = "ok"
        self.cost = 1
        self.server_flows = 3
        self.answers: list[tuple[str, str, int]] = []
        self.loads: list[tuple[Address, LoadReport]] = []
        self.journal = Journal(lambda: 1_700_000_000.0)
        self.silent: list[str] = []  # members of a cluster
        self.flow_sample = FlowSample(lambda on: None)
        self.no_log = False
        self.cluster = lambda: dict(ALONE)
        self.log_problem = ""
        self.asked: Any = None
        self.reported: list[tuple[str, Address, list[Reported]]] = []  # results of agents' checks

    def flows(self, wanted: FlowFilter, after: Place, limit: int) -> tuple[list[FlowView], Place | None]:
        """Looks at two bindings at a time."""
        places = sorted((flow.edge, flow.number, flow) for flow in self.table)
        next_two = [(place, flow) for *place, flow in places if tuple(place) > after][:2]
        fields = {name: getattr(wanted, name) for name in ("edge", "group", "client", "server", "state")}
        found = [
            flow
            for _, flow in next_two
            if all(value is None or getattr(flow, name) == value for name, value in fields.items())
        ][:limit]
        if not next_two:
            return [], None
        last = found[-1] if len(found) == limit else next_two[-1][1]
        return found, (last.edge, last.number)

    def newest_flows(self, wanted: FlowFilter, before: Before, limit: int) -> tuple[list[FlowView], Before | None]:
        """In pages of two, by edge."""
        edge, number = next(iter(before.items()), ("arh1", 4))
        found = [flow for flow in sorted(self.table, key=lambda flow: -flow.number) if flow.edge == edge
                 and flow.number < number and wanted.q in f"{flow.edge}/{flow.number}"][: min(2, limit)]  # fmt: skip
        return found, {edge: found[-1].number} if found else None

    def flow(self, edge: str, number: int) -> FlowView:
        for flow in self.table:
            if (flow.edge, flow.number) == (edge, number):
                return flow
        raise NotFound(f"there is no flow {number} at {edge}")

    def decision(self, edge: str, number: int) -> dict[str, Any] | None:
        return None

    def held(self, translated: Address, at: str, port: int | None) -> dict[str, Any]:
        if self.no_log:
            raise NotFound("no binding log is written")
        if self.log_problem:
            raise Unavailable(self.log_problem)
        self.asked = (translated, at, port)
        return {"at": "2026-01-31T09:26:53.000Z", "bindings": [], "gaps": [], "begins": None, "retention_days": 90.0,
                "incomplete": []}  # fmt: skip

    def end_flow(self, edge: str, number: int) -> None:
        self.table.remove(self.flow(edge, number))

    def end_flows(self, wanted: FlowFilter, after: Place) -> tuple[int, Place | None]:
        found, place = self.flows(wanted, after, 2)
        for flow in found:
            self.table.remove(flow)
        return len(found), place

    def flow_summary(self) -> dict[str, Any]:
        return {"pool_exhausted": 2}

    def masters_not_known(self) -> list[str]:
        return self.silent

    def switches(self, turn: Any = None) -> list[dict[str, Any]]:
        return [{"name": "arh1", "pool": {"size": 254, "leased": 3}}]

    def switch(self, name: str, turn: Any = None) -> dict[str, Any]:
        if name != "arh1":
            raise NotFound(f"there is no edge {name!a}")
        return self.switches()[0]

    def switch_reports(self, turn: Any = None) -> list[dict[str, Any]]:
        return [self.switch_report("arh1")]

    def switch_report(self, name: str) -> dict[str, Any]:
        if name != "arh1":
            raise NotFound(f"there is no switch {name!a}")
        return REPORT

    def examine(self, name: str) -> dict[str, Any]:
        self.examined = name
        return self.switch_report(name)

    def topology(self, without: Sequence[str], groups: Sequence[str] = (), turn: Any = None) -> dict[str, Any]:
        if "nowhere" in without:
            raise NotFound("'nowhere' is no switch")
        return {"switches": [name for name in ("arh1", "ars2") if name not in without], **{name: {} for name in groups}}

    def replies(self, group: str | None, turn: Any = None) -> list[dict[str, Any]]:
        counts = {"answered": 19, "refused": 0, "unanswered": 1.0, "unanswered_share": 0.05}
        site = {"edge": "arh1", **counts, "first_reply_p50_ms": 2.5, "first_reply_p95_ms": None}
        server = {"server": "10.2.0.10", "edge": "ars2", **counts, "first_reply_mean_ms": 3.1}
        return [{"group": "web", "sites": [site], "servers": [server]}] if group in (None, "web") else []

    def silent_members(self) -> list[str]:
        return self.silent

    def note_answer(self, method: str, resource: str, status: int) -> None:
        self.answers.append((method, resource, status))

    def metrics(self, accept: str, turn: Callable[[], None]) -> tuple[str, list[bytes]]:
        text = [b"anycast_sdn_health 1\n", b"anycast_sdn_sick 0\n"]
        return f"text/plain; of={accept or 'nobody'}; charset=utf-8", text

    def history(self, last_s: int, step_s: int, turn: Any = None) -> dict[str, Any]:
        series = {"pinned": [None, *range(1, last_s // step_s)]}
        return {"step_s": step_s, "end": "2026-01-31T09:26:53.000Z", "series": series}

    def health(self) -> dict[str, Any]:
        return {"status": self.status}

    def services(self, turn: Callable[[], None]) -> list[dict[str, Any]]:
        return []

    def worst_first(self, group: AnycastGroup, turn: Callable[[], None]) -> list[tuple[int, Server]]:
        """Servers of odd addresses are critical."""
        ranks = [(0 if address[-1] % 2 else 3, server) for address, server in group.servers.items()]
        return sorted(ranks, key=lambda each: (each[0], each[1].address))

    def server_status(self, group_name: str, address: Address) -> dict[str, Any]:
        return {"edge": "ars2", "reachable": True, "flows": self.server_flows, "health": HEALTH,
                "load": LOAD, "shares": {"ars2": 0.25}, "effective_weight": 1.0, "excluded": None}  # fmt: skip

    def report_load(self, address: Address, report: LoadReport, counts_in: Callable[[str], bool]) -> None:
        self.loads.append((address, report))
        self.counts_in = counts_in

    def report_checks(self, group_name: str, address: Address, results: Sequence[Reported]) -> None:
        self.reported.append((group_name, address, list(results)))

    def link(self, end: Port) -> dict[str, Any]:
        if end != Port("arh1", 1):
            raise NotFound(f"no link ends at {end}")
        shown = {"ends": ["arh1:1", "ars2:2"], "cost": self.cost, "state": "up", "declared": True, "up": True}
        return shown | {"mtu": None, "confirmed": True, "by_ports": False, "failures": 0, "cabled_instead": {}}

    def set_link_cost(self, end: Port, cost: int) -> dict[str, Any]:
        self.cost = cost
        return self.link(end)


class Lives:
    """Drains and leases without time: a drain runs until ``end``."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._operations: dict[str, Operation] = {}
        self.waited: list[float] = []
        self.left: dict[tuple[str, Address], float] = {}

    def drain_server(
        self,
        group: str,
        address: Address,
        deadline_s: float | None = None,
        then: AfterDrain = AfterDrain.KEEP,
        at_deadline: AtDeadline = AtDeadline.END,
    ) -> Operation:
        drain = Drain("d1", 1_700_000_000.0, deadline_s, then, at_deadline)
        draining = ServerState.DRAINING
        self._registry.change_server(group, address, lambda now: replace(now, state=draining, drain=drain))
        return self._put(Operation("d1", Kind.DRAIN_SERVER, "ars2", drain.began_at, group, (address,)), deadline_s)

    def drain_edge(
        self, edge: str, deadline_s: float | None = None, at_deadline: AtDeadline = AtDeadline.END
    ) -> Operation:
        drain = Drain("e1", 1_700_000_000.0, deadline_s, AfterDrain.KEEP, at_deadline)
        self._registry.drain_edge(edge, lambda present: drain)
        return self._put(Operation("e1", Kind.DRAIN_EDGE, edge, drain.began_at), deadline_s)

    def _put(self, operation: Operation, deadline_s: float | None) -> Operation:
        deadline = None if deadline_s is None else operation.began + deadline_s
        self._operations[operation.id] = replace(operation, deadline=deadline)
        return self._operations[operation.id]

    def end(self, id: str) -> None:
        ended = replace(self._operations[id], state=State.SUCCEEDED, ended=1_700_000_001.0, flows_left=0)
        self._operations[id] = ended

    def resume_edge(self, edge: str) -> None:
        self._registry.resume_edge(edge)

    def renew(self, group: str, address: Address, lease: Lease | None = None) -> Server:
        server = self._registry.server(group, address)
        if lease:
            server = self._registry.change_server(group, address, lambda now: replace(now, lease=lease))
        if not server.lease:
            raise NotFound("it has no lease")
        self.left[group, address] = server.lease.ttl_s
        return server

    def lease_left_s(self, group: str, address: Address) -> float | None:
        return self.left.get((group, address))

    def operation(self, id: str, wait_s: float = 0.0) -> Operation:
        self.waited.append(wait_s)
        if id not in self._operations:
            raise NotFound(f"there is no operation {id!a}")
        return self._operations[id]

    def operations(self) -> list[Operation]:
        return list(self._operations.values())


# Their answers are shorter than real ones.
_FAKED = re.compile("/v1/(flows|edges(/arh1)?|topology)|/healthz|/openapi.json")
_PATHS = [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), path) for path in description()["paths"]]


def check_answer(method: str, path: str, response: Response) -> None:
    """The answer is one of those that the OpenAPI description has for this request."""
    described: Any = next((description()["paths"][known] for pattern, known in _PATHS if pattern.fullmatch(path)), {})
    if method.lower() in described and not _FAKED.fullmatch(path) and response.status_code != 500:
        content = _content(described[method.lower()]["responses"][str(response.status_code)])
        assert (response.content_type in content) if content else not response.body
        if content and response.content_type.endswith("json"):
            _validator(content[response.content_type]["schema"]["$ref"]).validate(response.json)


def _content(response: Any) -> Any:
    if "$ref" in response:
        response = description()["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response.get("content")


@cache
def _validator(reference: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": reference, "components": description()["components"]})


class Client:
    """Asks the application and reads its answers."""

    def __init__(self, path: str, shared: MemoryStore | None = None) -> None:
        """``shared``: the store in memory of another controller."""
        self.store: Store = MemoryStore(shared) if path == ":memory:" else SqliteStore(path)
        self.sent: list[Groups] = []
        self.facts = Facts()
        self.registry = Registry(NETWORK, self.store, self.sent.append)
        self.life = Lives(self.registry)
        self.api = RestApi(self.registry, self.facts, self.life)

    def ask(self, method: str, path: str, body: Any = None, **environ: Any) -> Response:
        """``body`` is sent as JSON, bytes as they are; further arguments go into the WSGI environment."""
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = Request.blank(path, method=method, body=raw or b"", content_type="application/json")
        request.environ.update({CALLER: BY_LOOPBACK} | environ)
        response = request.get_response(self.api)
        if "RAW_PATH_INFO" not in environ:
            check_answer(method, request.environ["PATH_INFO"], response)
        return response

    def by_loopback(self, environ: dict[str, Any], start_response: Any) -> Any:
        """The application, to be served over HTTP."""
        return self.api(environ | {CALLER: BY_LOOPBACK}, start_response)

    def get(self, path: str) -> Any:
        response = self.ask("GET", path)
        assert response.status_code == 200, response.text
        assert response.content_type == "application/json"
        return response.json

    def refused(self, status: int, method: str, path: str, body: Any = None, **environ: Any) -> Any:
        """Asserts a well-formed problem and returns it; nothing may have been changed."""
        before = self.registry.groups
        response = self.ask(method, path, body, **environ)
        assert (response.status_code, response.content_type) == (status, "application/problem+json"), (
            response.text
        )
        problem = response.json
        assert problem["status"] == status
        assert problem["instance"].startswith("/")
        assert len(problem["detail"]) > 10
        assert problem["title"]
        assert problem["type"] == "about:blank" or problem["type"].startswith("urn:anycast-sdn:problem:")
        assert self.registry.groups is before
        return problem


def end_drains(client: Client) -> None:
    """The last flows of servers that are draining have ended."""

    def drained(server: Server) -> Server | None:
        assert server.drain
        keeps = server.drain.then is AfterDrain.KEEP
        return replace(server, state=ServerState.DRAINED, drain=None) if keeps else None

    enrolled = [(group.name, server) for group in client.registry.groups for server in group.servers.values()]
    ending = [(name, server.address) for name, server in enrolled if server.drain]
    client.registry.change_servers(dict.fromkeys(ending, drained))
