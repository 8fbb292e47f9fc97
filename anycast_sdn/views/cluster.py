"""The cluster as one of its members sees it: for REST, for health, and for metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from anycast_sdn.cluster.generations import distance
from anycast_sdn.cluster.overview import Overview, SchemaState
from anycast_sdn.cluster.standing import Claimed, Standing, obeyed
from anycast_sdn.core.events import Severity, Subject
from anycast_sdn.core.times import rfc3339
from anycast_sdn.core.words import counted, listed
from anycast_sdn.views.reasons import Reason

LEADERLESS_S = 3.0  # a take-over takes less

ALONE: Mapping[str, Any] = {
    "mode": "alone", "member": None, "leader": None, "term": 0, "shared": False, "members": [], "switches": [],
    "incomplete": [], "etcd": None,
}  # fmt: skip


NO_SCHEMA = SchemaState(0, 0, ())


@dataclass(frozen=True)
class ClusterState:
    own: str  # the id of this member
    seen: Overview
    reached: Collection[str]  # ids of other members that are heard
    missing: Collection[str]  # names of members that were there
    leaderless_s: float | None  # for how long nobody leads
    etcd_away_s: float | None  # for how long etcd does not answer, or takes nothing
    problem: str  # why, "" if it does
    revision: int  # of etcd, as it is known here
    behind_s: float  # the last that was heard of etcd is so old
    endpoints: Mapping[str, str]  # of etcd → why it is not healthy, "" if it is
    takeovers: int
    standings: Mapping[str, Standing] = field(default_factory=dict)  # what this and other members say, by their ids
    full: bool = False  # it answers, and takes nothing: its quota is used up
    contested: Collection[int] = ()  # switches that a controller claims, too, which is not in this etcd
    schema: SchemaState = NO_SCHEMA
    network: str = ""  # how this member's network file differs from that of the others

    @property
    def leads(self) -> bool:
        return self.seen.leader == self.own

    @property
    def masters(self) -> int:
        """Of how many switches this member is to be the master."""
        return sum(each.member == self.own for each in self.seen.masters.values())

    @property
    def unheard(self) -> list[str]:
        """The names of members that are in etcd, and cannot be reached."""
        others = self.seen.members.keys() - {self.own} - {*self.reached}
        return sorted(self.seen.members[id].name for id in others)

    @property
    def silent(self) -> list[str]:
        """The names of members that were there and are missing, or cannot be reached."""
        return sorted({*self.missing, *self.unheard})

    @property
    def telling_nothing(self) -> list[str]:
        """As ``silent``, and those that are reached but tell nothing of themselves: of an earlier release."""
        others = self.seen.members.keys() - self.standings.keys()
        return sorted({*self.silent, *(self.seen.members[id].name for id in others)})


def cluster_view(state: ClusterState, names: Mapping[int, str]) -> dict[str, Any]:
    """``names``: of all switches, by datapath id."""
    seen = state.seen
    return {
        "mode": "cluster",
        "member": seen.name(state.own),
        "leader": seen.name(seen.leader) if seen.leader else None,
        "term": seen.term,
        "shared": seen.shared,
        "members": [_member(state, id, names) for id in sorted(seen.members, key=lambda id: (seen.name(id), id))],
        "switches": [_switch(state, dpid, name) for dpid, name in sorted(names.items())],
        "incomplete": state.silent,
        "etcd": {
            "up": not state.problem,
            "problem": state.problem,
            "revision": state.revision,
            "behind_s": round(state.behind_s, 3),
            "schema": {
                "now": state.schema.schema or None,
                "later": state.schema.later or None,
                "waits_for": list(state.schema.waits_for),
            },
            "endpoints": [
                {"url": url, "up": not problem, "problem": problem} for url, problem in state.endpoints.items()
            ],
        },
    }


def _member(state: ClusterState, id: str, names: Mapping[int, str]) -> dict[str, Any]:
    member = state.seen.members[id]
    told = member.told
    return {
        "name": member.name,
        "id": id,
        "release": told.release,
        "rest": told.rest,
        "peer": told.peer,
        "since": rfc3339(told.since, "seconds"),
        "leads": id == state.seen.leader,
        "draining": member.draining,
        "reached": id == state.own or id in state.reached,
        "switches": [names[dpid] for dpid in told.switches if dpid in names],
    }


def _switch(state: ClusterState, dpid: int, name: str) -> dict[str, Any]:
    seen, master = state.seen, state.seen.masters.get(dpid)
    claimed = _claimed(state, dpid)
    obeys = _obeyed(state, dpid, claimed)
    return {
        "switch": name,
        "master": seen.name(master.member) if master else None,
        "generation": master.generation if master else None,
        "moved_to": seen.moved.get(dpid),
        "obeys": seen.name(obeys) if obeys else None,
        "claims": [
            {
                "member": seen.name(member), "says": each.says.value, "generation": each.generation, "term": each.term,
            }
            for member, each in sorted(claimed.items(), key=lambda item: (seen.name(item[0]), item[0]))
        ],
    }  # fmt: skip


def _claimed(state: ClusterState, dpid: int) -> dict[str, Claimed]:
    """What members that are heard say of the switch, by their ids."""
    said = ((member, standing.claimed.get(dpid)) for member, standing in state.standings.items())
    return {member: claimed for member, claimed in said if claimed}


def _obeyed(state: ClusterState, dpid: int, claimed: Mapping[str, Claimed]) -> str | None:
    """None: nobody, or a member that is not heard: one that may have replaced all those that are."""
    found, named = obeyed(claimed), state.seen.masters.get(dpid)
    if found and named and named.member not in state.standings:
        return found if distance(claimed[found].generation, named.generation) <= 0 else None
    return found


def cluster_reasons(state: ClusterState | None) -> Iterator[Reason]:
    """What is wrong with the cluster."""
    if state is None:
        return
    if state.etcd_away_s is not None:
        yield Reason(
            "etcd.lost", Subject("controller", ""), f"etcd cannot be used by this member: {state.problem}",
            "Known flows go on, and new ones while their master does; what is enrolled cannot be changed here, and "
            "this member does not take over from others.",
        )  # fmt: skip
    is_known = state.etcd_away_s is None or state.full
    if is_known and state.leaderless_s is not None and state.leaderless_s >= LEADERLESS_S:
        yield Reason(
            "leader.none", Subject("controller", ""), "no member of the cluster leads",
            "Flows go on; routes do not follow when links change, and nothing that is enrolled can be changed.",
        )  # fmt: skip
    if state.contested:
        yield Reason(
            "cluster.contested", Subject("controller", ""),
            f"a controller that is not in this etcd claims {counted(len(state.contested), 'switch')}, too",
            "Their master changes all the time, and new flows wait: end that controller, or give it the same --etcd.",
        )  # fmt: skip
    if state.network:
        yield Reason(
            "network.file", Subject("controller", ""),
            f"another network file has been accepted for the cluster; different: {state.network}",
            "This member goes on with its own: start it anew with the other one.", Severity.WARNING,
        )  # fmt: skip
    for name in sorted(state.missing):
        yield Reason(
            "member.lost", Subject("member", name), f"member {name} of the cluster is missing",
            "Others do what it did; until it is back, fewer can take over. If it does not come back: "
            f"anycast-sdn cluster forget {name}", Severity.WARNING,
        )  # fmt: skip
    if unheard := state.unheard:
        yield Reason(
            "member.unreached", Subject("member", unheard[0]),
            f"this member does not reach {listed(unheard)}, which etcd has (--peer)",
            "Its end would be noticed seconds later; REST here fails where it leads.", Severity.WARNING, early=True,
        )  # fmt: skip
