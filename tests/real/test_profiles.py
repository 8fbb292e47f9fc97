"""Real Open vSwitch that plays makes of hardware, behind the testbed's proxy: what is said of them, and done (M35)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from played import playing, roles
from support import Family, Running, in_both_families

# A connection ends at the first extension, of Open vSwitch or others, whatever it is a part of.
NO_EXTENSIONS = (
    "{like: nvidia-onyx, close: [{match: [experimenter], masks: [experimenter], set: [experimenter], "
    "actions: [experimenter], bucket_actions: [experimenter], instructions: [experimenter], "
    "messages: [experimenter], multipart: [experimenter]}]}"
)


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """What users have: switches that rewrite nothing, as the core and as a server edge."""
    with playing(tmp_path_factory.mktemp("hardware"), core=NO_EXTENSIONS, ars2=NO_EXTENSIONS) as network:
        yield network


@in_both_families
def test_flows_pass_a_core_that_cannot_be_an_edge_to_the_edge_that_can(hardware: Running, family: Family) -> None:
    assert {answer.split()[0] for answer in hardware.ask("h1", family.web, "--flows", 8)} == {"as3"}


def test_each_role_is_judged_with_what_is_missing_and_what_follows(hardware: Running) -> None:
    assert roles(hardware, "core")["core"]["sentence"] == "can be a core"
    assert {lack["ability"] for lack in roles(hardware, "core")["client edge"]["lacks"]} == {"set_ipv4", "set_ipv6"}
    edge = roles(hardware, "ars2")["server edge"]
    assert edge["families"] == []
    assert "cannot set MACs in the buckets of a group" in edge["sentence"]
    assert "service addresses are not announced here" in edge["sentence"]


def test_the_switch_calls_itself_what_its_profile_says_and_gets_no_extension_of_open_vswitch(hardware: Running) -> None:
    described = hardware.call("GET", "/v1/switches/core")["description"]
    assert (described["manufacturer"], described["hardware"]) == ("Mellanox Technologies", "SN2700")
    assert "Nicira" not in str(described)
    events = hardware.call("GET", "/v1/events?limit=1000")["events"]
    assert "switch.connected" in {event["type"] for event in events}
    assert "switch.lost" not in {event["type"] for event in events}


def test_health_is_degraded_and_names_the_switch(hardware: Running) -> None:
    health = hardware.controller.rest("GET", "/healthz").body
    assert health["status"] == "degraded"
    assert "ars2" in {reason["subject"].get("name") for reason in health["reasons"]}
