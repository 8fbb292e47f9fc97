"""Switches connect by TLS: who they are is what their certificates say."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from own_switch import run_inside


@pytest.mark.row("M35", "by TLS, a real switch passes flows; with a certificate that is another's, expired or of "
                        "another CA, or without TLS, it is refused, and the reason is told")  # fmt: skip
@pytest.mark.row("M35", "SIGHUP: certificates and CA of the OpenFlow port are replaced; connected switches stay")
def test_switches_are_told_apart_by_their_certificates(tmp_path: Path) -> None:
    done = run_inside(Path(__file__).with_name("trusted_switch.py"), str(tmp_path), timeout_s=200)
    assert done.stdout.endswith("all were told apart\n"), done.stdout


@pytest.mark.skipif(not shutil.which("etcd"), reason="no etcd here")
@pytest.mark.row("M37", "a switch that is connected by TLS is taken over by another controller; its flows go on")
def test_a_cluster_takes_switches_over_that_connect_by_tls(tmp_path: Path) -> None:
    done = run_inside(Path(__file__).with_name("trusted_cluster.py"), str(tmp_path), timeout_s=200)
    assert done.stdout.endswith("taken over\n"), done.stdout
