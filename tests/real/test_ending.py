"""How the controller's process ends: whole when it is asked, at once when it is asked twice, and by nothing else."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import ARH1_MAC, ARS2_MAC, PORT, ROOT, V4, WEB, Running, program, until

from anycast_sdn.store.sqlite import SqliteStore

END_S = 6.0  # within which it has ended


@pytest.fixture(scope="module")
def network(figure1: Running) -> Running:
    figure1.enrol("web", WEB, [V4.as2])
    figure1.serve_udp("as2")
    # Nobody answers ARP while the controller is away, and a host asks for its gateway now and then.
    for host, gateway, mac in (("h1", V4.gateway, ARH1_MAC), ("as2", "10.2.0.1", ARS2_MAC)):
        known = ["ip", "neighbour", "replace", gateway, "lladdr", mac.hex(":"), "nud", "permanent"]
        figure1.run(host, *known, "dev", figure1.testbed.interface(host))
    return figure1


def groups_in_a_copy(database: Path, directory: Path) -> set[str]:
    copy = directory / "copy.sqlite"
    shutil.copyfile(database, copy)
    store = SqliteStore(str(copy))
    names = set(store.open().groups)
    store.close()
    return names


@pytest.mark.row("M27", "SIGTERM or SIGINT under load: status 0, all is in the one file of the database, flows live on")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_ends_the_controller_whole(network: Running, tmp_path: Path, number: int) -> None:
    assert network.ask("h1", V4.web, "--source-port", 21201) == ["as2 hello"]
    load = network.testbed.spawn(
        "h2", program("udp_client.py", V4.web, PORT, "--flows", 150, "--first-port", 24000, "--answers", 0)
    )
    controller = network.controller
    until(lambda: len(network.flows("client=10.1.0.11")) > 20, "the load is there")
    controller.process.send_signal(number)
    assert controller.process.wait(END_S) == 0
    assert controller.log().splitlines()[-1].endswith("stopped")
    assert groups_in_a_copy(controller.database, tmp_path) == {"web"}
    assert network.ask("h1", V4.web, "--source-port", 21201) == ["as2 hello"]
    load.stop()
    controller.start()
    network.wait_for_servers("web")


def test_what_was_stored_before_the_end_was_answered(network: Running, tmp_path: Path) -> None:
    controller, answered = network.controller, {"web"}

    def enrol() -> None:
        for number in range(200):
            try:
                answer = controller.rest("PUT", f"/v1/groups/g{number}", {"prefixes": [f"198.18.8.{number}/32"]})
            except OSError:  # it does not listen any more
                return
            assert answer.status == 201
            answered.add(f"g{number}")

    with ThreadPoolExecutor() as operator:
        enrolling = operator.submit(enrol)
        until(lambda: len(answered) > 5, "an operator is at work")
        controller.process.send_signal(signal.SIGTERM)
        assert controller.process.wait(END_S) == 0
        enrolling.result()
    assert groups_in_a_copy(controller.database, tmp_path) == answered
    controller.start()
    for name in sorted(answered - {"web"}):
        network.call("DELETE", f"/v1/groups/{name}")


def test_a_hangup_ends_nothing(network: Running) -> None:
    network.controller.process.send_signal(signal.SIGHUP)
    until(lambda: "SIGHUP" in network.controller.log(), "it is noted")
    assert network.ask("h1", V4.web) == ["as2 hello"]


def test_who_does_not_end_when_asked_ends_when_asked_again() -> None:
    begun = "import time; from anycast_sdn.process.ending import Ending; Ending()"
    code = f"{begun}; print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == -signal.SIGTERM


@pytest.mark.row("M27", "another file in the database's place: changes are answered with 503 until it is back")
def test_nothing_is_taken_while_another_file_stands_in_the_databases_place(network: Running) -> None:
    database, path = network.controller.database, "/v1/groups/other"
    database.rename(database.with_suffix(".away"))
    database.write_bytes(b"")
    refused = network.controller.rest("PUT", path, {"prefixes": ["198.18.9.9/32"]})
    assert (refused.status, refused.body["type"]) == (503, "urn:anycast-sdn:problem:store-error")
    assert network.controller.rest("GET", path).status == 404

    def said() -> list[str]:
        return [reason["detail"] for reason in network.controller.rest("GET", "/healthz").body["reasons"]]

    # Beside others, such as that the controller was blocked for long, on a busy machine.
    until(lambda: any("another file stands in its place" in each for each in said()), "health says why")
    database.with_suffix(".away").rename(database)
    assert network.controller.rest("PUT", path, {"prefixes": ["198.18.9.9/32"]}).status == 201
