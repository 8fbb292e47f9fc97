"""``anycast-sdn probe``: an Open vSwitch that serves another program is judged, and left as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from own_switch import run_inside

ROLES = ["client edge", "server edge", "core"]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    program = Path(__file__).with_name("probed_switch.py")
    done = run_inside(program, str(tmp_path_factory.mktemp("probe")), timeout_s=180)
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout.splitlines()[-1])


def families(judged: Any) -> dict[str, list[str]]:
    return {role["role"]: role["families"] for role in json.loads(judged["out"])["roles"]}


def sentences(judged: Any) -> dict[str, str]:
    return {role["role"]: role["sentence"] for role in json.loads(judged["out"])["roles"]}


@pytest.mark.row("M38", "probe judges a switch without a network file, and leaves what it holds as it was")
def test_a_switch_of_another_program_is_judged_and_left_as_it_was(seen: Any) -> None:
    judged = seen["judged"]
    assert judged["status"] == 0, judged
    assert families(judged) == {role: ["ipv4", "ipv6"] for role in ROLES}
    report = json.loads(judged["out"])
    assert report["description"]["hardware"] == "Open vSwitch"
    assert report["held"] == {"rules": 7, "groups": 2, "meters": 1, "unread": [], "different": []}
    assert seen["after"] == seen["before"]
    (rule,) = seen["packets"]
    assert "n_packets=0" in rule  # those of trials have met no rule of others


def test_the_report_is_read_by_people_and_progress_is_told_apart_from_it(seen: Any) -> None:
    out, said = seen["read"]["out"], seen["read"]["said"]
    assert "Open vSwitch" in out
    assert "  can be a core" in out
    assert out.endswith("What it held is as before: 7 rules, 2 groups and 1 meter.\n")
    assert said.startswith("waiting for a switch on 127.0.0.1:6653")
    assert "it holds 7 rules, 2 groups and 1 meter; they stay as they are" in said


def test_by_tls_the_certificate_of_the_switch_is_told_and_the_report_is_the_same(seen: Any) -> None:
    judged = seen["by TLS"]
    assert judged["status"] == 0, judged
    assert "with the certificate of host1\n" in judged["said"]
    assert families(judged) == families(seen["judged"])
    assert seen["after by TLS"] == seen["before"]


def test_by_tls_a_switch_without_a_certificate_of_that_ca_is_not_examined_and_the_reason_is_told(seen: Any) -> None:
    for name, reason in (
        ("of another CA", "its certificate is of another CA than those that are trusted here"),
        ("plain", "it does not speak TLS, and --openflow-tls says that switches do"),
    ):
        assert seen[name]["status"] == 1
        assert seen[name]["out"] == ""
        assert reason in seen[name]["said"].splitlines()[-1]
    assert seen["after of another CA"] == seen["before"]


def test_whoever_interrupts_it_leaves_nothing_behind(seen: Any) -> None:
    interrupted = seen["interrupted"]
    assert interrupted["status"] == 130
    assert interrupted["out"] == ""
    assert "removing what is there of trials" in interrupted["said"]
    assert seen["after the interruption"] == seen["before"]


def test_a_switch_that_lacks_something_is_told_so_by_role_and_exit_status(seen: Any) -> None:
    lacking = seen["lacking"]
    assert lacking["status"] == 3
    assert families(lacking)["core"] == []
    assert "cannot be a core: it cannot" in sentences(lacking)["core"]
    assert seen["after lacking"] == seen["before"]
    assert seen["without IPv6"]["status"] == 3
    assert families(seen["without IPv6"])["client edge"] == ["ipv4"]
    assert families(seen["without IPv6"])["core"] == ["ipv4", "ipv6"]
    assert seen["after without IPv6"] == seen["before"]


def test_a_switch_that_ends_its_connection_in_the_middle_has_no_report_and_the_stage_is_told(seen: Any) -> None:
    crashing = seen["crashing"]
    assert crashing["status"] == 1
    assert crashing["out"] == ""
    assert "it has closed the connection, while the controller was trying what it accepts" in crashing["said"]


def test_why_no_switch_was_examined_is_said(seen: Any) -> None:
    assert seen["none"]["status"] == 1
    assert "no switch has connected within 0.2 s" in seen["none"]["said"]
    assert seen["old"]["status"] == 1
    assert "set the switch to OpenFlow 1.3" in seen["old"]["said"].splitlines()[-1]
