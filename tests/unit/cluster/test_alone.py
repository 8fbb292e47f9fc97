"""A cluster of one controller."""

from __future__ import annotations

import pytest

from anycast_sdn.cluster.alone import Alone
from anycast_sdn.cluster.cluster import Cluster


@pytest.fixture
def cluster() -> Cluster:
    return Alone()


def test_a_controller_alone_is_the_leader(cluster: Cluster) -> None:
    assert cluster.leads()


@pytest.mark.parametrize("dpid", [0, 1, (1 << 64) - 1])
def test_a_controller_alone_is_the_master_of_every_switch(cluster: Cluster, dpid: int) -> None:
    assert cluster.is_master(dpid)


def test_a_controller_alone_never_hears_of_other_masters(cluster: Cluster) -> None:
    heard: list[object] = []
    cluster.watch(heard.append)
    assert cluster.leads()
    assert cluster.is_master(1)
    assert heard == []
