"""What clients have been answered while etcd loses its leader again and again, and while disks are full.

Controllers without switches: their flows are in ``test_partitions``.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from controllers import Controllers, EtcdMember
from etcd_server import EtcdServer
from support import TOPOLOGIES, until
from test_any_member import ask, two_members
from test_etcd_store import Controller

FIGURE1 = TOPOLOGIES / "figure1.yaml"
STORED = (200, 201)
LASTS_S, FULL_S = 6.0, 60.0
NOTICED_S = 60.0  # more than it takes, for a busy machine


class Asked(NamedTuple):
    name: str
    status: int  # 0: none
    detail: str


class Clients:
    """One for each member: they enrol one group after the other, and change one of their own with each."""

    def __init__(self, controllers: Controllers) -> None:
        self._members = controllers.members
        self._ends = threading.Event()
        self.made: list[list[Asked]] = [[] for _ in self._members]
        self.changed: list[list[Asked]] = [[] for _ in self._members]
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(len(self._members))]
        for each in self._threads:
            each.start()

    def end(self) -> None:
        self._ends.set()
        for each in self._threads:
            each.join()

    def _run(self, number: int) -> None:
        count = 0
        while not self._ends.wait(0.05):
            count += 1
            member = self._members[(number + count) % len(self._members)]
            prefix = f"198.18.{number * 80 + count // 250}.{count % 250}/32"
            self.made[number].append(_asked(member, f"g{number}-{count}", {"prefixes": [prefix]}))
            own = {"prefixes": [f"198.18.255.{number}/32"], "slow_start_s": count}
            self.changed[number].append(_asked(member, f"own{number}", own)._replace(name=str(count)))


def _asked(member: Any, group: str, body: object) -> Asked:
    try:
        answer = member.rest("PUT", f"/v1/groups/{group}", body)
    except (OSError, http.client.HTTPException) as error:
        return Asked(group, 0, repr(error))
    return Asked(group, answer.status, str((answer.body or {}).get("detail", "")))


def test_nothing_that_was_answered_with_success_is_lost_while_etcd_loses_its_leader_every_few_seconds(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    lasts_s = FULL_S if request.config.getoption("--full") else LASTS_S
    with several_controllers(tmp_path) as several:
        clients, kills = Clients(several), 0
        ends_at = time.monotonic() + lasts_s
        try:
            while time.monotonic() < ends_at:
                leader = until(lambda: _leader(several.etcd.members), "etcd has a leader", NOTICED_S)
                leader.kill()
                kills += 1
                time.sleep(2)  # so that the others elect one
                several.etcd.restart(leader)
        finally:
            clients.end()
        for member in several.members:
            until(lambda: member.rest("GET", "/v1/groups").status == 200, "all answer", NOTICED_S)  # noqa: B023
        stored = {key.removeprefix("groups/"): json.loads(text) for key, text in several.keys().items()
                  if key.startswith("groups/")}  # fmt: skip
        made, changed = ([each for of_one in those for each in of_one] for those in (clients.made, clients.changed))
        success = [each for each in made if each.status in STORED]
        print(f"{kills} leaders killed; {len(made) + len(changed)} changes, {len(success)} of {len(made)} groups made")
        for member in several.members:
            shown = {each["name"] for each in member.rest("GET", "/v1/groups").body["groups"]}
            assert shown == stored.keys(), f"{member.name} shows what etcd has"

    assert [each for each in success if each.name not in stored] == [], "nothing is lost"
    refused = [each for each in made if each.status not in STORED and "not known" not in each.detail and each.status]
    assert [each for each in refused if each.name in stored] == [], "what was refused was not made"
    assert len(success) > len(made) / 2
    for number, attempts in enumerate(clients.changed):
        last = max(int(each.name) for each in attempts if each.status in STORED)
        assert last <= stored[f"own{number}"]["slow_start_s"] <= len(attempts), "the last one counts"


@contextmanager
def several_controllers(directory: Path) -> Iterator[Controllers]:
    with Controllers(FIGURE1, "figure1", directory) as several, several.etcd:
        for member in several.members:
            member.start()
        until(lambda: several.members[0].rest("GET", "/v1/groups").status == 200, "one leads", NOTICED_S)
        yield several
        for member in several.members:
            member.stop()  # before its etcd
            assert "Traceback" not in member.log(), member.log()


def _leader(members: list[EtcdMember]) -> EtcdMember | None:
    for each in members:
        with suppress(OSError):
            request = urllib.request.Request(f"{each.url}/v3/maintenance/status", b"{}")
            with urllib.request.urlopen(request, timeout=1) as answer:
                status = json.loads(answer.read())
            if status.get("leader") == status["header"]["member_id"]:
                return each
    return None


def test_an_etcd_whose_quota_is_used_up_is_made_room_in_as_documented(tmp_path: Path) -> None:
    web = {"prefixes": ["198.18.0.1/32"]}
    with ExitStack() as undo:
        etcd = undo.enter_context(EtcdServer(tmp_path, "--quota-backend-bytes", str(4 << 20)))
        controller = undo.enter_context(Controller(FIGURE1, tmp_path, ("--etcd", etcd.url)))
        until(lambda: controller.rest("PUT", "/v1/groups/web", web).status == 201, "it leads, and enrols", NOTICED_S)
        with suppress(urllib.error.HTTPError):
            while True:
                etcd.put("other", "x" * 500_000)

        for _ in range(2):
            answer = controller.rest("PUT", "/v1/groups/mail", {"prefixes": ["198.18.0.2/32"]})
            assert (answer.status, "alarm disarm" in answer.body["detail"]) == (503, True), answer
            until(lambda: "etcd.lost" in _reasons(controller), "it says so", NOTICED_S)

        revision = int(etcd.ask("maintenance/status")["header"]["revision"])
        etcd.ask("kv/compaction", revision=str(revision), physical=True)
        etcd.ask("maintenance/defragment")
        for alarm in etcd.ask("maintenance/alarm", action="GET")["alarms"]:
            etcd.ask("maintenance/alarm", action="DEACTIVATE", **alarm)
        until(lambda: controller.rest("PUT", "/v1/groups/mail", {"prefixes": ["198.18.0.2/32"]}).status in STORED,
              "it goes on")  # fmt: skip
        until(lambda: "etcd.lost" not in _reasons(controller), "and says so", NOTICED_S)
        assert len(controller.rest("GET", "/v1/groups").body["groups"]) == 2
        assert "Traceback" not in controller.log(), controller.log()


@contextmanager
def tiny_disk(place: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tiny", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    return filler


def test_a_member_whose_disk_is_full_leads_and_enrols_and_writes_its_files_later(tmp_path: Path) -> None:
    def told(member: Any) -> set[str]:
        return {each["type"] for each in ask(member, "GET", "/v1/events?limit=500").body["events"]}

    (place := tmp_path / "m0").mkdir()
    with tiny_disk(place):
        filler = fill(place)
        with two_members(tmp_path) as (_, m0, m1):
            for number in range(5):
                group = {"prefixes": [f"198.18.0.{number}/32"]}
                assert ask((m0, m1)[number % 2], "PUT", f"/v1/groups/g{number}", group).status == 201
            until(lambda: "journal.failed" in told(m0), "it says that events are not kept", NOTICED_S)
            assert len(ask(m1, "GET", "/v1/groups").body["groups"]) == 5
            filler.unlink()
            until(lambda: "journal.recovered" in told(m0), "events are kept again", NOTICED_S)
            events = (place / "anycast.events").read_text().splitlines()
            assert sum('"group.added"' in line for line in events) == 5


def _reasons(controller: Controller) -> list[str]:
    return [each["code"] for each in controller.rest("GET", "/healthz").body["reasons"]]
