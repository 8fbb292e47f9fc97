"""Agreement: a controller with another network file does not join."""

from __future__ import annotations

from dataclasses import replace

import pytest

from anycast_sdn.cluster.agreement import Agreement
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description.model import Network
from anycast_sdn.etcd.mirror import Mirror
from tests.unit.etcd.fake import FakeEtcd, Fault, catch_up
from tests.unit.operators import network

HERE = network()
THERE = replace(HERE, switches=(replace(HERE.switches[0], dpid=7), *HERE.switches[1:]))


def agreement(etcd: FakeEtcd, of: Network) -> tuple[Agreement, Mirror]:
    mirror = Mirror(etcd.client(), "/anycast-sdn/pair/", etcd.advance, lambda: etcd.now)
    mirror.load()
    return Agreement(mirror, of), mirror


def test_controllers_with_the_same_file_join() -> None:
    etcd = FakeEtcd()
    for _ in range(3):
        joining, _ = agreement(etcd, HERE)
        joining.join()


def test_one_with_another_file_does_not_and_says_what_differs() -> None:
    etcd = FakeEtcd()
    agreement(etcd, HERE)[0].join()
    with pytest.raises(ConfigurationError, match="that of the controllers in etcd: switches: arh1; use theirs, or"):
        agreement(etcd, THERE)[0].join()


def test_of_two_that_start_at_the_same_time_with_different_files_one_joins() -> None:
    etcd = FakeEtcd()
    one, other = agreement(etcd, HERE)[0], agreement(etcd, THERE)[0]
    one.join()
    with pytest.raises(ConfigurationError):
        other.join()


def test_a_file_that_was_accepted_is_that_of_all_from_then_on() -> None:
    etcd = FakeEtcd()
    running, mirror = agreement(etcd, HERE)
    running.join()
    assert agreement(etcd, THERE)[0].accept() == "switches: arh1"
    catch_up(mirror)
    assert running.differs == "switches: arh1"
    agreement(etcd, THERE)[0].join()
    with pytest.raises(ConfigurationError):
        agreement(etcd, HERE)[0].join()
    assert agreement(etcd, THERE)[0].accept() == ""
    assert agreement(etcd, HERE)[0].accept() == "switches: arh1"
    catch_up(mirror)
    assert running.differs == ""


def test_it_is_put_once_more_where_etcd_does_not_answer_or_was_rebuilt() -> None:
    etcd = FakeEtcd()
    running, mirror = agreement(etcd, HERE)
    assert isinstance(mirror.etcd, type(etcd.client()))
    mirror.etcd.fail(Fault.APPLIED)
    running.join()
    etcd.rebuild()
    for _ in range(2):
        catch_up(mirror)
    with pytest.raises(ConfigurationError):
        agreement(etcd, THERE)[0].join()


def test_what_is_not_ours_there_differs_in_all() -> None:
    etcd = FakeEtcd()
    etcd.put("/anycast-sdn/pair/meta/network", "what?")
    with pytest.raises(ConfigurationError, match="only here"):
        agreement(etcd, HERE)[0].join()
