"""A controller that is alone knows nothing of clusters."""

from __future__ import annotations

import os
import subprocess
import sys

OF_CLUSTERS = (
    "anycast_sdn.etcd.mirror", "anycast_sdn.cluster.etcd_", "anycast_sdn.cluster.election", "anycast_sdn.cluster.lease",
    "anycast_sdn.store.etcd", "anycast_sdn.process.clustered", "anycast_sdn.process.peers",
    "anycast_sdn.process.cluster_watch", "anycast_sdn.process.shared_flows",
    "anycast_sdn.process.event_sharing",
)  # fmt: skip
IMPORTED = "import sys, anycast_sdn.process.run; print(*sys.modules)"


def test_what_only_a_cluster_needs_is_not_imported_by_a_controller_that_is_alone() -> None:
    environ = os.environ | {"OSKEN_HUB_TYPE": "eventlet"}
    words = [sys.executable, "-W", "ignore", "-c", IMPORTED]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert [name for name in done.stdout.split() if name.startswith(OF_CLUSTERS)] == []
