"""Peers that are no switches, or say that they are others: the controller and its switches notice nothing.

Two emulated switches and the controller as a process with few files, over the loopback interface; no testbed.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import NamedTuple

import programs
import pytest
from emulated import EmulatedSwitch, Wrong, _message
from programs import ControllerProcess, wait_until
from support import SLACK_S
from test_connections import NETWORK

FILES = 256  # that the controller may have open
MEMORY = 2_000_000_000  # bytes of addresses: whatever eats memory ends early
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY, FEATURES = 0, 1, 2, 3, 6
MULTIPART_REQUEST, MULTIPART, BARRIER_REQUEST, BARRIER_REPLY = 18, 19, 20, 21
FLOWS, GROUPS, METERS, METER_FEATURES = 1, 7, 10, 11  # what a multipart request asks for
HANDSHAKE_S = 5.0


def features(dpid: int, auxiliary: int = 0) -> bytes:
    return _message(FEATURES, 0, struct.pack("!QIBB2xII", dpid, 0, 254, auxiliary, 0x4F, 0))


class Served:
    """An emulated switch that is served by a thread."""

    def __init__(self, dpid: int, port: int) -> None:
        self.switch = EmulatedSwitch(dpid, [1, 10])
        self.switch.connect(port, time.monotonic() + 10)
        self.switch.socket.settimeout(0.1)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                self.switch.receive(time.monotonic())
            except TimeoutError:
                continue
            except (Wrong, OSError):
                return

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self.switch.close()


class Scene(NamedTuple):
    controller: ControllerProcess
    third: list[Served]  # a switch in whose place a test may speak; empty once one has

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.controller.openflow_port), timeout=10)

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """During the block and after it REST answers at once, and the switches stay."""
        yield
        began = time.monotonic()
        assert self.is_connected("one")
        assert time.monotonic() - began < SLACK_S
        assert self.is_connected("other")
        log = self.controller.log()
        assert not any(f"switch {name} at" in line and "is gone" in line for name in ("one", "other") for line in
                       log.splitlines())  # fmt: skip

    def speak_as_third(self) -> socket.socket:
        """A connection in the third switch's place, which is gone from now on."""
        while self.third:
            self.third.pop().close()
        wait_until(lambda: not self.is_connected("third"), "it has left")
        return self.connect()

    def is_connected(self, name: str) -> bool:
        return bool(self.controller.rest("GET", "/healthz").body["switches"][name]["connected"])

    def memory(self) -> int:
        """Megabytes that the controller holds."""
        process = self.controller._program.process.pid  # type: ignore[union-attr]
        status = Path(f"/proc/{process}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) // 1024


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("strangers")
    file = directory / "two.yaml"
    file.write_text(NETWORK.replace("links:", "  - {name: third, dpid: 3}\nlinks:"))
    controller = ControllerProcess(file, directory)
    switches: list[Served] = []
    with pytest.MonkeyPatch.context() as patch:
        few_files = ["prlimit", f"--nofile={FILES}", f"--as={MEMORY}"]
        patch.setattr(programs, "TIED_TO_US", [*programs.TIED_TO_US, *few_files])
        connecting = threading.Thread(
            target=lambda: switches.extend(Served(dpid, controller.openflow_port) for dpid in (1, 2, 3)), daemon=True
        )
        connecting.start()
        with controller:
            connecting.join()
            yield Scene(controller, [switches.pop()])
            assert "Traceback" not in controller.log()
    for switch in switches:
        switch.close()


def heard(connection: socket.socket, within_s: float) -> bytes | None:
    """What the controller says until it closes the connection; None when it does not in time."""
    said = b""
    deadline = time.monotonic() + within_s
    try:
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (data := connection.recv(4096)):
                return said
            said += data
    except ConnectionError:
        return said
    except TimeoutError:
        pass
    return None


# ------------------------------------------------------------------------------ who does not say who he is


@pytest.mark.row("M29", "more silent connections than the process may have files", on="emulated switches")
def test_silent_connections_leave_files_for_everybody_else(scene: Scene) -> None:
    with ExitStack() as stack:
        began = time.monotonic()
        silent = [stack.enter_context(scene.connect()) for _ in range(FILES + 100)]
        with scene.undisturbed():
            late = stack.enter_context(scene.connect())
            late.settimeout(2)
            assert late.recv(8)[:2] == b"\x04\x00", "a switch that connects now is listened to"
        for connection in silent:
            assert heard(connection, HANDSHAKE_S + SLACK_S) is not None
        assert time.monotonic() - began < HANDSHAKE_S + SLACK_S
    log = scene.controller.log()
    assert "have not said who they are" in log
    assert log.count("have not said who they are") < 5, "it is said once, and counted"


@pytest.mark.row("M29", "five seconds for the handshake, whatever is sent meanwhile", on="emulated switches")
def test_nobody_prolongs_the_handshake(scene: Scene) -> None:
    """Silent, one byte a second, echo requests without an end, and a HELLO alone; and one that only sends."""
    whole = _message(HELLO, 0)
    tellers: dict[str, Iterator[bytes]] = {
        "silent": iter(()),
        "slow": (bytes([byte]) for byte in whole + features(1)),
        "echoing": chain([whole], repeat(_message(ECHO_REQUEST, 1, b"x"))),
        "greeting": iter([whole]),
        "deaf": chain([whole], repeat(_message(ECHO_REQUEST, 1, bytes(60000)))),
    }
    pauses = {"slow": 0.5, "echoing": 0.2}
    ended: dict[str, float] = {}

    def play(name: str) -> None:
        with scene.connect() as connection:
            began = time.monotonic()
            connection.settimeout(0.01)
            while time.monotonic() - began < 2 * HANDSHAKE_S:
                try:
                    if name != "deaf" and connection.recv(65536) == b"":
                        break
                    connection.sendall(next(tellers[name], b""))
                except TimeoutError:
                    continue
                except OSError:
                    break
                finally:
                    time.sleep(pauses.get(name, 0.05))
            ended[name] = time.monotonic() - began

    players = [threading.Thread(target=play, args=[name], daemon=True) for name in tellers]
    with scene.undisturbed():
        for player in players:
            player.start()
        for player in players:
            player.join()
    assert set(ended) == set(tellers)
    assert all(seconds < HANDSHAKE_S + SLACK_S for seconds in ended.values()), ended


@pytest.mark.row("M29", "a HELLO with a version that is not OpenFlow 1.3", on="emulated switches")
@pytest.mark.parametrize("version", [0, 1, 2, 99])
def test_another_version_is_refused_with_an_error_and_a_line(scene: Scene, version: int) -> None:
    with scene.connect() as connection, scene.undisturbed():
        connection.sendall(struct.pack("!BBHI", version, HELLO, 8, 1))
        said = heard(connection, 3)
    assert said is not None
    assert struct.pack("!BBH", 4, ERROR, len(said) - 8) == said[8:12], "HELLO, and then HELLO_FAILED"
    assert said[16:20] == bytes(4)
    wait_until(lambda: "set the switch to OpenFlow 1.3" in scene.controller.log(), "it is said")


@pytest.mark.row("M29", "answers that were not asked for, before a switch is admitted", on="emulated switches")
def test_answers_of_every_type_during_the_handshake_loop_nothing(scene: Scene) -> None:
    memory = scene.memory()
    with scene.undisturbed():
        for kind in range(16):
            for begin in (_message(HELLO, 0), _message(HELLO, 0) + features(99), _message(HELLO, 0) + features(1)):
                with scene.connect() as connection:
                    connection.sendall(begin + _message(MULTIPART, 0, struct.pack("!HH4x", kind, 0) + bytes(64)))
                    assert heard(connection, 5) is not None
    assert scene.memory() < memory + 20


@pytest.mark.row("M29", "thousands of random and half right messages in every state", on="emulated switches")
def test_random_messages_in_every_state_disturb_nobody(scene: Scene) -> None:
    noise = random.Random(3)
    begins = [b"", _message(HELLO, 0), *(_message(HELLO, 0) + features(dpid) for dpid in (1, 2, 99))]
    memory = scene.memory()
    with scene.undisturbed():
        for _ in range(1500):
            said = noise.choice(begins)
            for _ in range(5):
                kind = noise.choice([0, 1, 2, 3, 4, 6, 8, 10, 11, 12, 19, 21, 25, 27, noise.randrange(256)])
                body = noise.randbytes(noise.randrange(120))
                length = noise.choice([8 + len(body)] * 4 + [noise.randrange(65536)])
                xid = noise.choice([0, 1, 2, 1 << 31 | 1, noise.randrange(1 << 32)])
                said += struct.pack("!BBHI", noise.choice([4] * 9 + [noise.randrange(256)]), kind, length, xid) + body
            with scene.connect() as connection:
                connection.sendall(said)
    assert scene.memory() < memory + 40


# ------------------------------------------------------------------------------ who says that he is another


@pytest.mark.row("M29", "impostors with a known datapath id are refused, by address", on="emulated switches")
def test_impostors_are_refused_and_auxiliary_connections_closed(scene: Scene) -> None:
    with ExitStack() as stack, scene.undisturbed():
        impostors = [stack.enter_context(scene.connect()) for _ in range(20)]
        for number, impostor in enumerate(impostors):
            impostor.sendall(_message(HELLO, 0) + features(1 + number % 2))
        auxiliary = stack.enter_context(scene.connect())
        auxiliary.sendall(_message(HELLO, 0) + features(1, auxiliary=1))
        for connection in (*impostors, auxiliary):
            assert heard(connection, 4) is not None
    log = scene.controller.log()
    assert "switch one at 127.0.0.1:" in log
    assert "is connected already, and answers" in log
    assert "auxiliary connections are not served" in log


@pytest.mark.row("M29", "unknown datapath ids are named, with those that are expected", on="emulated switches")
def test_an_unknown_switch_is_told_which_are_expected(scene: Scene) -> None:
    with scene.connect() as connection, scene.undisturbed():
        connection.sendall(_message(HELLO, 0) + features(0x77))
        assert heard(connection, 3) is not None
        address = "{}:{}".format(*connection.getsockname())
    told = f"connection from {address} closed: switch 0000000000000077 is not in the network file"
    wait_until(lambda: told in scene.controller.log(), "it is said")
    line = next(line for line in scene.controller.log().splitlines() if told in line)
    assert "0000000000000001 (one), 0000000000000002 (other)" in line


# ------------------------------------------------------------------------------ who is admitted, and hostile


def dialogue(connection: socket.socket, silent_about: tuple[int, ...] = (), megabytes: int = 0) -> None:
    """Plays the third switch until it is introduced: an answer of so many megabytes about its rules, and then ends.

    ``silent_about``: types of the questions that are not answered.
    """
    connection.settimeout(10)
    connection.sendall(_message(HELLO, 0) + features(3))
    entry = struct.pack("!HBxIIHHHH4xQQQ", 56, 1, 0, 0, 1, 0, 0, 0, 7, 0, 0) + struct.pack("!HH4x", 1, 4)
    part = struct.pack("!HH4x", 1, 1) + entry * 1100
    received = b""
    while data := connection.recv(65536):
        received += data
        while len(received) >= 8 and len(received) >= (length := int.from_bytes(received[2:4], "big")):
            kind, xid, body = received[1], int.from_bytes(received[4:8], "big"), received[8:length]
            received = received[length:]
            question = int.from_bytes(body[:2], "big") if kind == MULTIPART_REQUEST else -1
            if question == FLOWS and megabytes:
                for _ in range((megabytes << 20) // len(part)):
                    connection.sendall(_message(MULTIPART, xid, part))
                return
            if kind == ECHO_REQUEST:
                connection.sendall(_message(ECHO_REPLY, xid, body))
            elif kind == BARRIER_REQUEST:
                connection.sendall(_message(BARRIER_REPLY, xid))
            elif question in (FLOWS, GROUPS, METERS) and question not in silent_about:
                connection.sendall(_message(MULTIPART, xid, struct.pack("!HH4x", question, 0)))
                if question == FLOWS and body[42:44] == b"\0\4":  # an empty match: for all rules, not for one
                    return
            elif question >= 0 and question not in silent_about:
                connection.sendall(_message(ERROR, xid, struct.pack("!HH", 1, 2) + bytes(16)))


@pytest.mark.row("M38", "what a switch does not say is named, and done without", on="emulated switches")
@pytest.mark.row("M29", "a switch leaves a question unanswered: named, and served without", on="emulated switches")
def test_a_switch_that_leaves_a_question_unanswered_is_named_and_served(scene: Scene) -> None:
    with scene.speak_as_third() as connection, scene.undisturbed():
        dialogue(connection, silent_about=(METER_FEATURES,))
        wait_until(lambda: "switch third has no meters" in scene.controller.log(), "it is introduced", 5)
        assert scene.is_connected("third")
    assert "switch third does not answer when asked for its meter features" in scene.controller.log()


@pytest.mark.row("M29", "an answer without an end ends its connection", on="emulated switches")
def test_an_answer_without_an_end_ends_its_connection(scene: Scene) -> None:
    with scene.speak_as_third() as connection, scene.undisturbed(), pytest.raises(ConnectionError):
        dialogue(connection, megabytes=200)
    wait_until(lambda: "the answer about its rules is too long" in scene.controller.log(), "it is said")


@pytest.mark.row("M29", "answers of many megabytes: what they held is free again", on="emulated switches")
def test_what_huge_answers_held_is_free_again(scene: Scene) -> None:
    held = []
    for _ in range(6):
        with scene.speak_as_third() as connection, scene.undisturbed():
            dialogue(connection, megabytes=30)
        held.append(scene.memory())
    assert max(held[3:]) < max(held[:3]) + 15, held
