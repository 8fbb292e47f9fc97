"""Testbeds side by side, and alone: what each is called, and who waits for whom."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import places
import pytest
from places import AS_IN_THE_FILE, OF_PLACES, Names, taken
from plan import IFNAMSIZ, Plan
from programs import TestbedError

from anycast_sdn.description import reading

TOPOLOGIES = Path(__file__).parents[3] / "topologies"
Begin = Callable[..., Names]


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Testbeds that have begun and not ended."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def begin(held: ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """A testbed of another process each time; TestbedError when it would have to wait."""
    monkeypatch.setattr(places, "RUN", tmp_path)
    monkeypatch.setattr(places, "DEADLINE_S", 0.0)

    def begun(**how: bool) -> Names:
        monkeypatch.setattr(places, "_of_this_process", threading.Lock())
        return held.enter_context(taken(**how))

    return begun


def test_testbeds_side_by_side_have_names_of_their_own(begin: Begin) -> None:
    side_by_side = [begin(as_in_the_file=False) for _ in OF_PLACES]
    assert side_by_side == OF_PLACES
    with pytest.raises(TestbedError, match="gives up its testbed"):
        begin(as_in_the_file=False)


def test_one_testbed_at_a_time_has_the_names_of_the_file(begin: Begin, held: ExitStack) -> None:
    assert begin() == AS_IN_THE_FILE
    assert begin(as_in_the_file=False).prefix
    with pytest.raises(TestbedError):
        begin()
    held.close()
    assert begin() == AS_IN_THE_FILE


@pytest.mark.parametrize("as_in_the_file", [True, False])
def test_who_is_alone_waits_for_all_and_all_wait_for_it(begin: Begin, held: ExitStack, as_in_the_file: bool) -> None:
    begin(as_in_the_file=as_in_the_file)
    with pytest.raises(TestbedError):
        begin(alone=True, as_in_the_file=False)
    held.close()
    begin(alone=True, as_in_the_file=False)
    for names in (True, False):
        with pytest.raises(TestbedError):
            begin(as_in_the_file=names)


def test_who_could_not_begin_holds_nothing(begin: Begin, held: ExitStack) -> None:
    begin(as_in_the_file=False)
    with pytest.raises(TestbedError):
        begin(alone=True)
    assert begin() == AS_IN_THE_FILE


def test_a_process_has_one_testbed(begin: Begin) -> None:
    begin()
    with pytest.raises(TestbedError, match="this process has a testbed already"), taken(as_in_the_file=False):
        pass


@pytest.mark.parametrize("path", sorted(TOPOLOGIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_two_plans_of_one_file_share_a_name(path: Path) -> None:
    network = reading.load(path)
    plans = [Plan(network, names.prefix) for names in (AS_IN_THE_FILE, *OF_PLACES)]
    made = [name for plan in plans for name in (*plan.bridges(), *(plan.interface(*port) for port in plan.ports()))]
    assert len(made) == len(set(made))
    assert max(map(len, made)) <= IFNAMSIZ
    assert {plan.interface(host.name) for plan in plans for host in network.hosts} == {
        f"{host.name}-eth0" for host in network.hosts
    }
