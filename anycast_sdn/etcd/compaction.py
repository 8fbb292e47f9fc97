"""Compaction: etcd keeps all that keys ever had, unless somebody says what it may forget.

Members of a cluster change keys all the time (canaries), so an etcd that is not configured to compact by itself would
reach its quota in some weeks, and refuse all changes then.  Each member says every KEPT_S what may be forgotten: what
is older than that.  That they all do is no harm.  Watches that are further behind read everything anew.
"""

from __future__ import annotations

import logging

from anycast_sdn.etcd.client import EtcdError
from anycast_sdn.etcd.mirror import Mirror

LOG = logging.getLogger(__name__)

KEPT_S = 300.0


class Compaction:
    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._revision = 0  # of etcd, when it was looked at last
        self._looked_at = mirror.clock()

    def check(self) -> None:
        """To be called now and then."""
        mirror = self._mirror
        if mirror.problem or mirror.clock() < self._looked_at + KEPT_S:
            return
        revision, self._revision, self._looked_at = self._revision, mirror.revision, mirror.clock()
        if 0 < revision <= mirror.revision:
            try:
                mirror.etcd.compact(revision)
            except EtcdError as error:
                LOG.debug("etcd was not compacted: %s", error)  # in KEPT_S again
