"""The table of all resources: what each takes and answers, who may ask it, and what does the work.

The router, methods that are refused, the OpenAPI description and docs/rest.md come from this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from anycast_sdn.api import (
    cluster,
    events,
    flows,
    groups,
    life,
    models,
    network,
    openapi,
    queries,
    reports,
    shown,
    shown_cluster,
    shown_flows,
    shown_health,
    shown_network,
    shown_switches,
)
from anycast_sdn.api.asked import Answer, Asked, Operation
from anycast_sdn.api.tokens import Need
from anycast_sdn.description.settings import Lease

OPEN, READ, ENROL, ADMIN, OWN = Need

_GROUPS, _GROUP = "/v1/groups", "/v1/groups/{group}"
_SERVERS, _SERVER = "/v1/groups/{group}/servers", "/v1/groups/{group}/servers/{address}"
_FLOWS, _FLOW = "/v1/flows", "/v1/flows/{edge}/{number}"
_MEMBER = "/v1/cluster/members/{member}"
_LINK = "/v1/topology/links/{end}"
_TEXT: Mapping[int, None] = {200: None}
_NONE: Mapping[int, None] = {204: None}


def get_description(asked: Asked) -> Answer:
    return Answer(description())


@cache
def description() -> dict[str, Any]:
    """The OpenAPI description of all that is in the table."""
    return openapi.description(OPERATIONS)


OPERATIONS = (
    Operation("GET", _GROUPS, groups.list_groups, READ, "All groups with their servers", {200: models.Groups}),
    Operation("POST", _GROUPS, groups.add_group, ADMIN, "Create a group", {201: models.Group}, models.NewGroup),
    Operation("GET", _GROUP, groups.get_group, OWN, "A group with its servers", {200: models.Group}),
    Operation("PUT", _GROUP, groups.put_group, ADMIN, "Create a group, or replace its settings; its servers stay",
              {200: models.Group, 201: models.Group}, models.Group, conditional=True),
    Operation("PATCH", _GROUP, groups.patch_group, ADMIN, "Change some settings of a group",
              {200: models.Group}, models.GroupChanges, conditional=True),
    Operation("DELETE", _GROUP, groups.delete_group, ADMIN, "Remove a group with its servers", _NONE, conditional=True),
    Operation("GET", "/v1/services", groups.list_services, READ,
              "All groups without their servers, but how these are: in all, and behind each edge",
              {200: shown_network.Services}),
    Operation("GET", _SERVERS, groups.list_servers, READ, "The servers of a group, all or page by page",
              {200: models.Servers}, query=queries.ServerPage),
    Operation("POST", _SERVERS, groups.add_server, ENROL, "Enrol a server", {201: models.Server}, models.NewServer),
    Operation("GET", _SERVER, groups.get_server, READ, "A server", {200: models.Server}),
    Operation("PUT", _SERVER, groups.put_server, ENROL, "Enrol a server, or replace its settings",
              {200: models.Server, 201: models.Server}, models.Server, conditional=True),
    Operation("PATCH", _SERVER, groups.patch_server, ENROL, "Change some settings of a server",
              {200: models.Server}, models.ServerChanges, conditional=True),
    Operation("DELETE", _SERVER, groups.delete_server, ENROL, "Remove a server; its flows live on", _NONE,
              conditional=True),
    Operation("PUT", f"{_SERVER}/load", reports.put_load, ENROL, "Report the load of a server", _NONE, models.Load),
    Operation("PUT", f"{_SERVER}/checks", reports.put_checks, ENROL,
              "Report results of checks that the server's agent has made", _NONE, models.Reports),
    Operation("PUT", f"{_SERVER}/lease", life.put_lease, ENROL,
              "Renew the lease of a server, or give it another one; without a body, as it is",
              {200: models.LeaseShown}, Lease, needs_body=False),
    Operation("POST", f"{_SERVER}/drain", life.drain_server, ENROL,
              "Drain a server: no new flows, and an operation that ends with its last flow",
              {202: models.Operation}, models.ServerDrain, needs_body=False),
    Operation("GET", "/v1/operations", life.list_operations, READ, "Drains, in progress or over",
              {200: models.Operations}),
    Operation("GET", "/v1/operations/{id}", life.get_operation, OWN, "A drain; waits for its end if asked to",
              {200: models.Operation}, query=queries.Wait),
    Operation("GET", _FLOWS, flows.list_flows, READ, "Flows, page by page",
              {200: shown_flows.Flows}, query=queries.FlowPage),
    Operation("DELETE", _FLOWS, flows.end_flows, ADMIN, "End the flows that at least one filter selects",
              {200: shown_flows.Ended}, query=queries.FlowFilters),
    Operation("GET", _FLOW, flows.get_flow, READ, "A flow", {200: shown_flows.OneFlow}),
    Operation("DELETE", _FLOW, flows.end_flow, ADMIN, "End a flow", _NONE),
    Operation("GET", "/v1/bindings/history", flows.list_held, READ,
              "Who had a translation address, from the binding log", {200: shown_flows.HeldBindings},
              query=queries.Held),
    Operation("GET", "/v1/edges", network.list_switches, READ, "The switches, with their pools, rules and drops",
              {200: shown_network.Edges}, query=queries.Switches),
    Operation("GET", "/v1/edges/{switch}", network.get_switch, READ, "A switch", {200: shown_network.Edge}),
    Operation("POST", "/v1/edges/{edge}/drain", life.drain_edge, ADMIN,
              "Drain an edge: the servers behind it take no new flows, until it is resumed",
              {202: models.Operation}, models.EdgeDrain, needs_body=False),
    Operation("POST", "/v1/edges/{edge}/resume", life.resume_edge, ADMIN,
              "The servers behind an edge take new flows again", _NONE),
    Operation("GET", "/v1/switches", network.list_reports, READ,
              "What each switch is, what it can be, and what it lacks", {200: shown_switches.SwitchReports}),
    Operation("GET", "/v1/switches/{switch}", network.get_report, READ, "The same of one switch",
              {200: shown_switches.SwitchReport}),
    Operation("POST", "/v1/switches/{switch}/probe", network.examine, ADMIN,
              "Try again what a switch can do, as when it connects; its rules stay, and new flows wait meanwhile; one "
              "that keeps no cookies loses its rules for a moment, and gets them anew",
              {200: shown_switches.SwitchReport}),
    Operation("GET", "/v1/topology", network.get_topology, READ,
              "The network as it is, or as it would be without some of its parts",
              {200: shown_network.Topology}, query=queries.Without),
    Operation("GET", _LINK, network.get_link, READ, "A link", {200: shown_network.Link}),
    Operation("PATCH", _LINK, network.patch_link, ADMIN, "Change the cost of a link, until the controller starts again",
              {200: shown_network.Link}, shown_network.Link),
    Operation("GET", "/v1/events", events.list_events, READ,
              "What has happened; with Accept: text/event-stream, as it happens", {200: shown.Events},
              query=queries.Events, streams=True),
    Operation("GET", "/v1/cluster", cluster.get_cluster, READ,
              "The cluster as the member that answers sees it: members, leader, masters, etcd",
              {200: shown_cluster.Cluster}),
    Operation("POST", f"{_MEMBER}/drain", cluster.drain_member, ADMIN,
              "Drain a member, for an upgrade: it hands over its switches and leadership, and takes none", _NONE),
    Operation("POST", f"{_MEMBER}/resume", cluster.resume_member, ADMIN, "A drained member takes part again", _NONE),
    Operation("POST", f"{_MEMBER}/lead", cluster.lead, ADMIN, "Let this member lead", _NONE),
    Operation("POST", f"{_MEMBER}/forget", cluster.forget_member, ADMIN,
              "A member that is lost will not come back: it is not missed any more", _NONE),
    Operation("POST", _MEMBER + "/switches/{switch}", cluster.move, ADMIN,
              "Let this member be the master of a switch, where switches are shared", _NONE),
    Operation("POST", "/v1/cluster/share", cluster.share, ADMIN, "Share the switches among the members", _NONE),
    Operation("POST", "/v1/cluster/gather", cluster.gather, ADMIN, "Let the leader be the master of all switches",
              _NONE),
    Operation("GET", "/livez", network.get_live, OPEN, "Does the controller answer? For whoever restarts it if not",
              {200: shown.Probe}),
    Operation("GET", "/readyz", network.get_ready, OPEN,
              "Does it do its work? 503 as long as it starts; trouble in the network is no matter of this",
              {200: shown.Probe, 503: shown.Probe}),
    Operation("GET", "/v1/caller", network.show_caller, READ, "Who asks, as far as that is known, and what it may do",
              {200: shown.CallerShown}),
    Operation("GET", "/v1/health", network.show_health, READ, "As /healthz, but 200 whatever it is",
              {200: shown_health.Health}),
    Operation("GET", "/v1/replies", network.list_replies, READ,
              "Time to the first reply, and loss, of each group's sites and servers, in the last one to two minutes",
              {200: shown_health.Replies}, query=queries.OfGroup),
    Operation("GET", "/metrics", network.get_metrics, READ, "Metrics for Prometheus, see [metrics](metrics.md)",
              _TEXT, texts=("text/plain", "application/openmetrics-text")),
    Operation("GET", "/v1/history", network.get_history, READ, "Some figures of the last hour",
              {200: shown_health.History}, query=queries.Span),
    Operation("GET", "/healthz", network.get_health, OPEN,
              "Is all well? 503: it is not. The status alone for those who may not read",
              {200: shown_health.Health, 503: shown_health.Health}),
    Operation("GET", "/openapi.json", get_description, READ, "This description", {200: shown.Description}),
)  # fmt: skip
