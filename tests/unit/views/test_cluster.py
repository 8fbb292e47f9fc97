"""The cluster as one of its members shows it."""

from __future__ import annotations

from dataclasses import replace

from anycast_sdn.api.shown_cluster import Cluster
from anycast_sdn.cluster.keys import LEADER, MASTERS, MEMBERS, MOVED, SHARED, TERM, MemberKey, of_switch
from anycast_sdn.cluster.overview import overview
from anycast_sdn.cluster.standing import Claimed, Says, Standing
from anycast_sdn.etcd.client import Value
from anycast_sdn.views.cluster import ALONE, LEADERLESS_S, ClusterState, cluster_reasons, cluster_view

NAMES = {1: "arh1", 2: "ars2"}


def member(name: str, *switches: int) -> Value:
    return Value(MemberKey(name, f"http://{name}", [*switches], "http://p", "1.0", 1.8e9).text(), 3, 3, 5)


STATE = ClusterState(
    own="m0-1",
    seen=overview({
        f"{MEMBERS}m0-1": member("m0", 1, 2), f"{MEMBERS}m1-2": member("m1", 1), LEADER: Value("m1-2", 6, 6),
        TERM: Value("6", 5, 5),
        f"{MASTERS}{1:016x}": Value("m1-2", 8, 9), "meta/secret": Value("x", 1, 1),
    }),
    reached={"m1-2"}, missing=[], leaderless_s=None, etcd_away_s=None, problem="", revision=12, behind_s=0.2,
    endpoints={"http://a:2379": "", "http://b:2379": "Connection refused"}, takeovers=1,
    standings={"m0-1": Standing(), "m1-2": Standing({1: Claimed(Says.GRANTED, 9, 6)})},
)  # fmt: skip


def test_it_names_members_leader_and_masters() -> None:
    shown = cluster_view(STATE, NAMES)
    Cluster.model_validate(shown)
    assert (shown["member"], shown["leader"], shown["incomplete"]) == ("m0", "m1", [])
    assert [(each["name"], each["leads"], each["switches"]) for each in shown["members"]] == [
        ("m0", False, ["arh1", "ars2"]), ("m1", True, ["arh1"]),
    ]  # fmt: skip
    assert shown["switches"] == [
        {
            "switch": "arh1", "master": "m1", "generation": 9, "moved_to": None, "obeys": "m1",
            "claims": [{"member": "m1", "says": "granted", "generation": 9, "term": 6}],
        },
        {"switch": "ars2", "master": None, "generation": None, "moved_to": None, "obeys": None, "claims": []},
    ]  # fmt: skip
    assert [each["up"] for each in shown["etcd"]["endpoints"]] == [True, False]
    assert (STATE.leads, STATE.masters) == (False, 0)
    assert not list(cluster_reasons(STATE))


def test_it_says_whether_switches_are_shared_and_which_an_operator_has_moved() -> None:
    assert cluster_view(STATE, NAMES)["shared"] is False
    keys = {SHARED: Value("", 1, 1), of_switch(MOVED, 2): Value("m1", 2, 2)}
    shown = cluster_view(replace(STATE, seen=overview(keys)), NAMES)
    Cluster.model_validate(shown)
    assert shown["shared"] is True
    assert [each["moved_to"] for each in shown["switches"]] == [None, "m1"]


def obeys(**standings: Standing) -> tuple[str | None, str | None]:
    """Of arh1, which etcd has given to m1 by generation 9 → (whom etcd names, whom it obeys)."""
    said = {{"m0": "m0-1", "m1": "m1-2"}[name]: standing for name, standing in standings.items()}
    shown = cluster_view(replace(STATE, standings=said), NAMES)
    Cluster.model_validate(shown)
    return shown["switches"][0]["master"], shown["switches"][0]["obeys"]


def says(says: Says, generation: int) -> Standing:
    return Standing({1: Claimed(says, generation, 5)})


def test_a_switch_obeys_the_last_member_that_it_has_made_its_master_whomever_etcd_names() -> None:
    before = says(Says.GRANTED, 7)
    for said in (Says.CLAIMED, Says.REFUSED, Says.SILENT):
        assert obeys(m0=before, m1=says(said, 9)) == ("m1", "m0")
    assert obeys(m0=before, m1=says(Says.GRANTED, 9)) == ("m1", "m1")  # m0 has not tried to write since
    assert obeys(m0=says(Says.GRANTED, 11), m1=says(Says.REFUSED, 9)) == ("m1", "m0")  # etcd is old here
    assert obeys(m0=says(Says.CLAIMED, 7), m1=Standing()) == ("m1", None)


def test_whom_a_switch_obeys_is_not_known_where_a_later_master_is_not_heard() -> None:
    assert obeys(m0=says(Says.GRANTED, 7)) == ("m1", None)
    assert obeys(m0=says(Says.GRANTED, 11)) == ("m1", "m0")


def test_keys_that_somebody_has_written_by_hand_are_no_fault() -> None:
    keys = {"leader": "m0-1", "term": "x", f"{MEMBERS}m0-1": "{", f"{MASTERS}zz": "m0-1"}
    shown = overview({key: Value(text, 3, 3) for key, text in keys.items()})
    assert (shown.leader, shown.term, [*shown.members], shown.masters) == ("m0-1", 0, ["m0-1"], {})


def test_a_controller_that_is_alone_says_so() -> None:
    Cluster.model_validate(ALONE)
    assert ALONE["mode"] == "alone"
    assert not list(cluster_reasons(None))


def test_what_is_missing_is_named_and_is_a_reason() -> None:
    state = replace(STATE, missing=["m2"], reached=set())
    assert cluster_view(state, NAMES)["incomplete"] == ["m1", "m2"]
    assert [(each.code, each.subject.name) for each in cluster_reasons(state)] == [
        ("member.lost", "m2"), ("member.unreached", "m1"),
    ]  # fmt: skip


def test_a_member_that_is_reached_and_tells_nothing_of_itself_is_of_an_earlier_release() -> None:
    """Its events do not come."""
    assert STATE.telling_nothing == []
    state = replace(STATE, standings={"m0-1": Standing()})
    assert (state.telling_nothing, state.silent) == (["m1"], [])
    assert replace(STATE, missing=["m2"], standings={}).telling_nothing == ["m0", "m1", "m2"]


def test_a_controller_that_is_not_in_this_etcd_is_a_reason() -> None:
    (reason,) = cluster_reasons(replace(STATE, contested=[1, 2]))
    assert (reason.code, "claims 2 switches, too" in reason.sentence) == ("cluster.contested", True)


def test_another_network_file_that_was_accepted_is_a_reason() -> None:
    (reason,) = cluster_reasons(replace(STATE, network="switches: arh1"))
    assert (reason.code, "different: switches: arh1" in reason.sentence) == ("network.file", True)


def test_without_etcd_or_a_leader_health_says_what_follows() -> None:
    (away,) = cluster_reasons(replace(STATE, etcd_away_s=3.0, leaderless_s=9.0, problem="timed out"))
    assert away.code == "etcd.lost"
    assert "timed out" in away.sentence
    both = cluster_reasons(replace(STATE, etcd_away_s=3.0, leaderless_s=9.0, problem="space exceeded", full=True))
    assert [each.code for each in both] == ["etcd.lost", "leader.none"]  # it can be read
    (none,) = cluster_reasons(replace(STATE, leaderless_s=LEADERLESS_S))
    assert none.code == "leader.none"
    assert not list(cluster_reasons(replace(STATE, leaderless_s=LEADERLESS_S - 1)))
