"""What a controller would answer about topologies/ring.yaml in several states, for the page in browser tests.

ring.json is a ring with five alarms.  The other states come from it by ``case``:

- trouble: as it is; well: no alarm; empty: nothing is enrolled; markup: names and texts hold HTML;
- large: 200 switches, 10,000 servers, 200,000 flows.

Times are moved so that the file's "now" is the moment at which the double was made.
"""

from __future__ import annotations

import copy
import json
import re
import threading
import time
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import networkx

RING = Path(__file__).parent / "ring.json"
CASES = ("trouble", "well", "empty", "markup", "large")
MARKUP = "<img src=x onerror=window.attacked=1><b>bold</b>"

Json = dict[str, Any]
Query = Mapping[str, Sequence[str]]

_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_PORTS = {"web": 443, "dns": 53, "vpn": 4500}
_LARGE_SWITCHES, _LARGE_SERVERS, _LARGE_FLOWS = 200, 10_000, 200_000


class NoSuch(Exception):
    """The path or its variable names nothing."""


def written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def switch_of(end: str) -> str:
    return end.partition(":")[0]


def link_name(link: Json) -> str:
    return "-".join(link["ends"])


class RestDouble:
    """Answers by path; ``emit`` makes an event happen."""

    def __init__(self, case: str = "trouble") -> None:
        assert case in CASES, case
        self.case = case
        self._answers: Json = _moved(RING.read_text(encoding="utf-8"), time.time())
        self.events: list[Json] = sorted(self._answers.pop("/v1/events")["events"], key=itemgetter("id"))
        self.changed = threading.Condition()
        self.scopes = ["admin"]
        self.cluster: Json = {"mode": "alone", "member": None, "leader": None, "term": 0, "shared": False,
                              "members": [], "switches": [], "incomplete": [], "etcd": None}  # fmt: skip
        if case in ("well", "empty"):
            self._mend()
        if case == "empty":
            self._clear()
        if case == "markup":
            self._mark_up()
        if case == "large":
            self._enlarge()
        self.flow_count = {"empty": 0, "large": _LARGE_FLOWS}.get(case, 1841)

    # ---------------------------------------------------------------- parts of the answers

    @property
    def health(self) -> Json:
        return dict(self._answers["/healthz"])

    @property
    def reasons(self) -> list[Json]:
        return list(self._answers["/healthz"]["reasons"])

    @property
    def groups(self) -> list[Json]:
        return list(self._answers["/v1/groups"]["groups"])

    @property
    def edges(self) -> list[Json]:
        return list(self._answers["/v1/edges"]["edges"])

    @property
    def links(self) -> list[Json]:
        return list(self._answers["/v1/topology"]["links"])

    def events_after(self, last: int) -> list[Json]:
        """In their order."""
        return self.events[bisect(self.events, last, key=itemgetter("id")) :]

    @property
    def sites(self) -> list[str]:
        return [edge["name"] for edge in self.edges if "client edge" in edge["roles"]]

    # ---------------------------------------------------------------- changes

    def emit(self, type_: str, severity: str, kind: str, name: str, message: str, **more: Any) -> Json:
        with self.changed:
            event = {
                "id": self.events[-1]["id"] + 1 if self.events else 1,
                "at": written(time.time()),
                "type": type_,
                "severity": severity,
                "subject": {"kind": kind, "name": name},
                "message": message,
                "data": {},
                **more,
            }
            self.events.append(event)
            self.changed.notify_all()
        return event

    def set_link(self, name: str, state: str, reason: Json | None = None) -> None:
        """A link goes down, with a reason, or comes back."""
        link = next(link for link in self.links if link_name(link) == name)
        link["up"] = link["confirmed"] = state == "up"
        link["state"] = state
        others = [each for each in self.reasons if each["subject"]["name"] != name]
        self._answers["/healthz"]["reasons"] = [reason, *others] if reason else others
        self._answers["/healthz"]["status"] = "degraded" if self._answers["/healthz"]["reasons"] else "ok"
        severity = "info" if link["up"] else "critical"
        self.emit(f"link.{'up' if link['up'] else 'down'}", severity, "link", name, f"{name} is {state}")

    def tick(self) -> None:
        """A little later: numbers have changed."""
        for name, values in self._answers["/v1/history"]["series"].items():
            if values and "share" not in name:
                values[-1] = round(values[-1] * 1.01 + 0.1, 2)
        for group in self.groups:
            for server in group["servers"]:
                server["flows"] += 1

    # ---------------------------------------------------------------- answers

    def answer(self, path: str, query: Query) -> Any:
        if path == "/v1/topology":
            return self.topology(query.get("without", ()))
        if path == "/v1/flows":
            return self.flows(query)
        if path == "/v1/events":
            since = int(query.get("since", ["0"])[0])
            found, limit = self.events_after(since), int(query.get("limit", ["100"])[0])
            found = found[::-1] if query.get("order") == ["newest"] else found
            return {"events": found[:limit], "incomplete": []}
        if path == "/v1/groups":
            return {"groups": self.groups}
        if path == "/v1/services":
            return {"services": [self._service(group) for group in self.groups]}
        if path == "/v1/bindings/history":
            return self.history_of_bindings(query)
        if path == "/v1/cluster":
            return self.cluster
        if path == "/v1/caller":
            return {"name": "loopback", "scopes": self.scopes}
        if path in ("/healthz", "/v1/health"):
            return self.health | {"now": written(time.time())}
        if path in self._answers:
            return self._answers[path]
        return self._one_of(path, query)

    def _one_of(self, path: str, query: Query) -> Any:
        match path.strip("/").split("/"):
            case ["v1", "flows", edge, number]:
                return self.decided(edge, int(number))
            case ["v1", "edges", name]:
                return _named(self.edges, name)
            case ["v1", "groups", name]:
                return _named(self.groups, name)
            case ["v1", "groups", name, "servers"]:
                return self.servers(_named(self.groups, name), query)
        raise NoSuch(path)

    def _service(self, group: Json) -> Json:
        servers = group["servers"]
        families = [name for name, mark in (("ipv4", "."), ("ipv6", ":")) if any(mark in s["address"] for s in servers)]
        by_edge = {edge: [s for s in servers if s["edge"] == edge] for edge in sorted({s["edge"] for s in servers})}
        return {
            **{name: group[name] for name in ("name", "prefixes", "affinity")},
            "families": families,
            **_totals(servers),
            "edges": [{"edge": edge, **_totals(some)} for edge, some in by_edge.items()],
        }

    def servers(self, group: Json, query: Query) -> Json:
        """A page, the worst first."""
        limit, first = int(query.get("limit", ["100"])[0]), int(query.get("cursor", ["0"])[0])
        status = query.get("status", [""])[0]
        worst = ("critical", "warning", "unknown", "passing")
        found = sorted(
            (server for server in group["servers"] if not status or server["health"]["status"] == status),
            key=lambda server: worst.index(server["health"]["status"]),
        )
        following = f"/v1/groups/{group['name']}/servers?limit={limit}&cursor={first + limit}"
        return {"servers": found[first : first + limit], "next": following if len(found) > first + limit else None}

    # ---------------------------------------------------------------- the network without some of its parts

    def topology(self, without: Sequence[str]) -> Json:
        answer: Json = self._answers["/v1/topology"]
        graph = self._graph(without)
        catchment, paths = self._catchment(graph, without)
        difference = self._difference(catchment, graph) if without else []
        left = [edge for edge in self.edges if edge["name"] in graph]
        return answer | {
            "switches": [switch for switch in answer["switches"] if switch["name"] in graph],
            "links": [link for link in self.links if link_name(link) not in without],
            "edges": [{"name": edge["name"], "announces": edge["announces"]} for edge in left],
            "parts": sorted(sorted(part) for part in networkx.connected_components(graph)),
            "catchment": catchment,
            "paths": paths,
            "difference": difference,
            "difference_totals": {
                "moves": len(difference),
                "flows_losing_server": sum(row["flows_losing_server"] for row in difference),
                "rows_left_out": 0,
            },
        }

    def _graph(self, without: Sequence[str]) -> networkx.Graph[str]:
        graph: networkx.Graph[str] = networkx.Graph()
        graph.add_nodes_from(edge["name"] for edge in self.edges if edge["name"] not in without)
        for link in self.links:
            one, other = map(switch_of, link["ends"])
            if link["up"] and one in graph and other in graph and link_name(link) not in without:
                graph.add_edge(one, other, cost=link["cost"])
        return graph

    def _catchment(self, graph: networkx.Graph[str], without: Sequence[str]) -> tuple[Json, Json]:
        catchment: Json = {}
        paths: Json = {}
        sites = [site for site in self.sites if site in graph]
        reached = {site: networkx.single_source_dijkstra(graph, site, weight="cost") for site in sites}
        for group in self.groups:
            for prefix in group["prefixes"]:
                able = {
                    server["edge"]
                    for server in group["servers"]
                    if not server["excluded"] and server["address"] not in without
                    and (":" in server["address"]) == (":" in prefix)
                }  # fmt: skip
                if not able:
                    continue
                for site, (costs, ways) in reached.items():
                    nearest = min((edge for edge in able if edge in costs), key=lambda e: (costs[e], e), default=None)
                    catchment.setdefault(prefix, {})[site] = nearest
                    if nearest:
                        paths.setdefault(site, {})[nearest] = ways[nearest]
        return catchment, paths

    def _difference(self, after: Json, graph: networkx.Graph[str]) -> list[Json]:
        before, _ = self._catchment(self._graph(()), ())
        found = []
        for group in self.groups:
            for prefix in group["prefixes"]:
                for site, edge in before.get(prefix, {}).items():
                    to = after.get(prefix, {}).get(site) if site in graph else "site cut off"
                    if to != edge:
                        lost = 0 if edge in graph else 100
                        change = {"group": group["name"], "prefix": prefix, "site": site, "from": edge, "to": to}
                        found.append(change | {"prefixes": 1, "flows_losing_server": lost, "note": ""})
        return found

    # ---------------------------------------------------------------- flows

    def serving(self) -> list[tuple[Json, Json]]:
        """Every server that has flows, with its group."""
        return [(group, server) for group in self.groups for server in group["servers"] if server["flows"]]

    def flow(self, index: int, serving: Sequence[tuple[Json, Json]]) -> Json:
        """The flow with this index; the first one is the latest."""
        if index < 2 and self.case != "large":
            return dict(self._answers["/v1/flows"]["flows"][1 - index])
        group, server = serving[index * 7 % len(serving)]
        is_v6 = ":" in server["address"]
        site = self.sites[index % len(self.sites)]
        subnet, host = 1 + index % len(self.sites), 10 + index * 13 % 200
        service = next(prefix for prefix in group["prefixes"] if (":" in prefix) == is_v6).partition("/")[0]
        pinned = index % 40 != 3
        return {
            "number": 220_417 - index,
            "edge": site,
            "state": "pinned" if pinned else "unanswered",
            "group": group["name"],
            "client": f"2001:db8:{subnet}::{host}" if is_v6 else f"10.{subnet}.0.{host}",
            "client_port": 32768 + index * 31 % 28000,
            "service": service,
            "service_port": _PORTS.get(group["name"], 443),
            "protocol": "tcp" if group["name"] == "web" else "udp",
            "translated": f"2001:db8:{subnet}:f::{index:x}" if is_v6 else f"203.0.{112 + subnet}.{1 + index % 254}",
            "translated_port": 0,
            "server": server["address"] if pinned else None,
            "since": written(time.time() - 2 - index * 3.7),
            "validity_s": 300 if pinned else 30,
            "idle": "out" if index % 12 == 5 else "",
        }

    def flows(self, query: Query) -> Json:
        limit, index = int(query.get("limit", ["100"])[0]), int(query.get("cursor", ["0"])[0])
        page: list[Json] = []
        serving = self.serving()
        while index < self.flow_count and len(page) < limit:
            flow = self.flow(index, serving)
            index += 1
            if self._selects(query, flow):
                page.append(flow)
        summary = {"unanswered": self.flow_count // 40, "pinned": self.flow_count - self.flow_count // 40}
        following = f"/v1/flows?limit={limit}&cursor={index}" if index < self.flow_count else None
        return {"flows": page, "next": following, "summary": summary | {"pool_exhausted": 0}, "incomplete": []}

    @staticmethod
    def _selects(query: Query, flow: Json) -> bool:
        words = f"{flow['client']}:{flow['client_port']} {flow['translated']} {flow['server']} {flow['number']}"
        named = all(flow[name] == query[name][0] for name in ("group", "edge", "state", "server") if name in query)
        return named and ("q" not in query or query["q"][0] in words)

    def decided(self, edge: str, number: int) -> Json:
        serving = self.serving()
        near = (self.flow(index, serving) for index in range(min(self.flow_count, 4000)))
        flow = next((each for each in near if (each["edge"], each["number"]) == (edge, number)), None)
        if flow is None:
            raise NoSuch(f"there is no flow {number} at {edge}")
        group = _named(self.groups, flow["group"])
        is_v6 = ":" in flow["service"]
        candidates = [
            {
                "server": server["address"],
                "edge": server["edge"],
                "cost": 3 + 2 * place,
                "share": 0.0 if server["excluded"] else 0.5,
                "weight": server["weight"],
                "health": server["health"]["status"],
                "sessions": server["flows"],
                "capacity": None,
                "load": _overall(server["load"]),
                "limit": None,
                "factor": 1.0,
                "excluded": server["excluded"],
                "why_not": (server["excluded"] or "").replace("critical", "health is critical"),
            }
            for place, server in enumerate(group["servers"])
            if (":" in server["address"]) == is_v6
        ]
        decision = {
            "edge": candidates[0]["edge"],
            "at": flow["since"],
            "answered": flow["server"],
            "first_packet_to": flow["server"],
            "first_reply_ms": 4.2 if flow["server"] else None,
            "handed_over": False,
            "repins": [],
            "distances": {candidate["edge"]: candidate["cost"] for candidate in candidates},
            "candidates": candidates,
        }
        return flow | {"decision": decision}

    def history_of_bindings(self, query: Query) -> Json:
        known: Json = self._answers["/v1/bindings/history"]
        asked = query.get("translated", [""])[0]
        return known | {"bindings": [each for each in known["bindings"] if each["translated"] == asked]}

    # ---------------------------------------------------------------- cases

    def _mend(self) -> None:
        self._answers["/healthz"].update(status="ok", reasons=[])
        for link in self.links:
            link.update(up=True, state="up", confirmed=True)
        for session in self._answers["/v1/topology"]["bgp"]:
            session.update(state="established", announced=9, learned=388, problem="")
        for group in self.groups:
            for server in group["servers"]:
                server["health"].update(status="passing", reason="")
                server.update(state="active", excluded=None, effective_weight=server["weight"])
                server["load"]["overall"] = min(server["load"]["overall"], 0.6)
                server["drain"] = None
        self.edges[0]["pools"]["ipv4"].update(
            leased=160, resting=20, free=330, level="plenty", exhausted_in_s=None, used_up_in_s=None, trend_per_min=0.1
        )
        self.events = [event for event in self.events if event["severity"] == "info"]

    def _clear(self) -> None:
        self._answers["/v1/groups"]["groups"] = []
        self.events = []
        for edge in self.edges:
            edge.update(bindings=0, drops={}, drops_per_s={})
            edge["buckets"] = {}
            if "ipv4" in edge["pools"]:
                unused = {"leased": 0, "resting": 0, "free": 510, "level": "plenty", "trend_per_min": 0}
                edge["pools"]["ipv4"].update(unused, exhausted_in_s=None, used_up_in_s=None)
        for name, values in self._answers["/v1/history"]["series"].items():
            self._answers["/v1/history"]["series"][name] = [0] * len(values)

    def _mark_up(self) -> None:
        """Texts that come from others: names of groups are checked, outputs of checks and messages are not."""
        for group in self.groups:
            for server in group["servers"]:
                server["health"]["reason"] = MARKUP
                for check in server["health"]["checks"]:
                    check["output"] = MARKUP
        for reason in self.reasons:
            reason["detail"] += MARKUP
            reason["effect"] += MARKUP
        for event in self.events:
            event["message"] += MARKUP
        self.groups[0]["name"] = MARKUP

    def _enlarge(self) -> None:
        """A core of 160 switches with 20 client and 20 server edges; 500 servers behind each."""
        core = [f"c{number}" for number in range(1, _LARGE_SWITCHES - 39)]
        clients, servers = ([f"{role}{number}" for number in range(1, 21)] for role in ("arh", "ars"))
        dpids = {name: number for number, name in enumerate([*clients, *servers, *core], 1)}
        plain, site, front = self.edges[-1], self.edges[0], self.edges[2]
        roles = [*((name, site) for name in clients), *((name, front) for name in servers)]
        made = [(name, like) for name, like in [*roles, *((name, plain) for name in core)]]
        self._answers["/v1/edges"]["edges"] = [
            copy.deepcopy(like) | {"name": name, "dpid": dpids[name], "buckets": {}} for name, like in made
        ]
        ring = [(f"{one}:1", f"{other}:2") for one, other in zip(core, [*core[1:], core[0]], strict=True)]
        spokes = [(f"{name}:1", f"{core[place * 4]}:{10}") for place, name in enumerate([*clients, *servers])]
        pattern = next(link for link in self.links if link["up"])
        links = [pattern | {"ends": list(ends), "cost": 1, "cabled_instead": {}} for ends in [*ring, *spokes]]
        switches = [{"name": name, "dpid": dpid, "connected": True} for name, dpid in dpids.items()]
        self._answers["/v1/topology"].update(switches=switches, links=links, uplinks=[], bgp=[])
        group = next(group for group in self.groups if group["name"] == "web")
        pattern = group["servers"][0]
        group["servers"] = [
            copy.deepcopy(pattern)
            | {"address": f"10.{100 + n % 20}.{n // 5000}.{10 + n // 20 % 240}", "edge": servers[n % 20], "flows": 20}
            for n in range(_LARGE_SERVERS)
        ]
        self._answers["/v1/groups"]["groups"] = [group]
        self._answers["/healthz"].update(status="ok", reasons=[])


def _totals(servers: Sequence[Json]) -> Json:
    loads = [load for load in (_overall(server["load"]) for server in servers) if load is not None]
    statuses = [server["health"]["status"] for server in servers]
    return {
        "servers": len(servers),
        **{status: statuses.count(status) for status in ("critical", "warning", "unknown", "passing")},
        "inactive": sum(server["state"] != "active" for server in servers),
        "flows": sum(server["flows"] for server in servers),
        "load": sum(loads) / len(loads) if loads else None,
        "highest_load": max(loads, default=None),
    }


def _overall(load: Any) -> float | None:
    return load["overall"] if isinstance(load, dict) else load


def _named(things: Iterable[Json], name: str) -> Json:
    for thing in things:
        if thing["name"] == name:
            return thing
    raise NoSuch(f"there is no {name!a}")


def _moved(text: str, now: float) -> Any:
    """The file's answers, its "now" at ``now``."""
    then = datetime.fromisoformat(json.loads(text)["/healthz"]["now"]).timestamp()
    return json.loads(_TIME.sub(lambda m: written(datetime.fromisoformat(m[0]).timestamp() + now - then), text))
