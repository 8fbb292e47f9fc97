"""An upgrade as docs/cluster.md has it: one member after the other, the leader last; members of both releases serve."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from members import Etcd
from programs import TestbedError
from support import TOPOLOGIES, until
from test_any_member import ask, hear_each_other, leader

from anycast_sdn import __version__
from anycast_sdn.cli import main

NOTICED_S = 60.0  # more than it takes, for a busy machine
EARLIER = str(Path(__file__).with_name("earlier_release.py"))


def test_members_are_upgraded_one_after_the_other_and_the_earlier_release_is_refused_then(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from testbed import ControllerProcess

    class Member(ControllerProcess):
        def _is_ready(self) -> bool:
            if self.process.poll() is not None:
                raise TestbedError(f"it ended with status {self.process.returncode}")
            try:
                return ask(self, "GET", "/v1/groups").status == 200
            except OSError:
                return False

    def cluster(member: Any, *words: str) -> str:
        """What ``anycast-sdn cluster`` prints."""
        assert main.main(["cluster", *words, "--rest", f"127.0.0.1:{member.rest_port}"]) == 0
        return capsys.readouterr().out

    def stop(member: Any) -> None:
        member.process.terminate()
        assert member.process.wait(NOTICED_S) == 0
        member.stop()

    def enrol(member: Any, name: str, number: int) -> None:
        path, group = f"/v1/groups/{name}", {"prefixes": [f"198.18.0.{number}/32"]}
        until(lambda: ask(member, "PUT", path, group).status in (200, 201), f"{name} is there", NOTICED_S)

    def upgrade(member: Any, other: Any) -> None:
        cluster(other, "drain", member.name)
        until(lambda: leader(other) == other.name, f"{other.name} leads", NOTICED_S)
        stop(member)
        member.module = ControllerProcess.module  # the new release is installed
        member.start()
        until(lambda: hear_each_other(member), "members hear each other", NOTICED_S)

    file = tmp_path / "network.yaml"
    file.write_text((TOPOLOGIES / "figure1.yaml").read_text())
    with ExitStack() as undo:
        etcd = undo.enter_context(Etcd(tmp_path))
        several = []
        for name in ("m0", "m1"):
            (own := tmp_path / name).mkdir()
            member = Member(file, own, ("--etcd", etcd.url, "--member", name))
            member.name, member.module = name, (EARLIER,)  # type: ignore[attr-defined]
            several.append(undo.enter_context(member))
        m0, m1 = several
        until(lambda: hear_each_other(m0) and leader(m0) == "m0", "m0 leads", NOTICED_S)
        enrol(m0, "before", 1)

        upgrade(m1, m0)
        shown = cluster(m0)
        assert {"0.0.9", __version__} <= {*shown.split()}, shown
        assert "schema 1: m0 has a release that knows no later one; it is raised to 2 when none has" in cluster(m1)
        enrol(m1, "meanwhile", 2)
        assert etcd.below("/anycast-sdn/figure1/")["meta/schema"] == "1"

        upgrade(m0, m1)
        until(lambda: etcd.below("/anycast-sdn/figure1/")["meta/schema"] == "2", "the schema is raised", NOTICED_S)
        enrol(m0, "after", 3)
        assert "schema" not in cluster(m0)
        cluster(m0, "lead", "m0")
        groups = ask(m1, "GET", "/v1/groups").body["groups"]
        assert [each["name"] for each in groups] == ["after", "before", "meanwhile"]

        events = ask(m0, "GET", "/v1/events?limit=500").body["events"]
        assert "member.lost" not in {each["type"] for each in events}, "who is stopped is not missed"

        stop(m1)
        m1.module = (EARLIER,)
        with pytest.raises(TestbedError) as refused:
            m1.start()
        said = "has schema version 2, this release reads up to 1: use the release that wrote it (this one is 0.0.9; m0"
        assert said in str(refused.value), refused.value
