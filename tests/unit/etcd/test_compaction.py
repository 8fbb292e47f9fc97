"""Compaction: etcd forgets what is older than some minutes, and nothing else."""

from __future__ import annotations

from anycast_sdn.etcd.compaction import KEPT_S, Compaction
from anycast_sdn.etcd.mirror import Mirror
from tests.unit.etcd.fake import FakeEtcd, Fault, catch_up


def test_what_is_older_than_some_minutes_is_forgotten() -> None:
    etcd = FakeEtcd()
    client = etcd.client()
    mirror = Mirror(client, "/x/", etcd.advance, lambda: etcd.now)
    compaction = Compaction(mirror)
    revisions = []
    for _ in range(4):
        etcd.put("/x/a", f"{etcd.now}")
        catch_up(mirror)
        revisions.append(etcd.revision)
        compaction.check()
        etcd.advance(KEPT_S / 2)
        compaction.check()
        etcd.advance(KEPT_S / 2)
    assert etcd.compacted == revisions[2]  # KEPT_S ago
    assert client.read("/x/a", revisions[2]) is not None


def test_an_etcd_that_is_away_or_has_gone_back_is_left_alone() -> None:
    etcd = FakeEtcd()
    mirror = Mirror(client := etcd.client(), "/x/", etcd.advance, lambda: etcd.now)
    compaction = Compaction(mirror)
    etcd.put("/x/a", "1")
    catch_up(mirror)
    etcd.advance(KEPT_S)
    compaction.check()
    client.fail(Fault.UNREACHABLE)
    etcd.advance(KEPT_S)
    compaction.check()
    etcd.rebuild()
    for _ in range(2):
        catch_up(mirror)
    etcd.advance(KEPT_S)
    compaction.check()
    assert etcd.compacted == 0
