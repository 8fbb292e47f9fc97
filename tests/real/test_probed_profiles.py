"""What ``anycast-sdn probe`` finds of Open vSwitch that plays a profile is what the simulation finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from own_switch import run_inside

from anycast_sdn.description.profiles import PROFILES
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.judgement import Role, judge
from anycast_sdn.openflow.layouts import suited
from anycast_sdn.simulation.switch import SimulatedSwitch


@pytest.fixture(scope="module")
def reports() -> Any:
    done = run_inside(Path(__file__).with_name("probed_profiles.py"), timeout_s=240)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", PROFILES)
def test_roles_are_judged_as_in_the_simulation_with_the_same_reasons(reports: Any, name: str) -> None:
    profile, shown = PROFILES[name], reports[name]
    report = json.loads(shown["out"] or "null")
    assert report, shown["said"]
    features = SimulatedSwitch(layout=suited(profile.tables), profile=profile).found(Features())
    for role, told in zip(Role, report["roles"], strict=True):
        judged = judge(role, features)
        assert told["role"] == role.value
        assert told["families"] == [f"ipv{family}" for family in sorted(judged.able)]
        assert told["sentence"] == judged.sentence
    assert report["description"]["hardware"] == profile.hardware


@pytest.mark.parametrize("name", PROFILES)
def test_the_switch_is_left_as_it_was(reports: Any, name: str) -> None:
    assert reports[name]["left_as_it_was"]
