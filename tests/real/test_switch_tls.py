"""Switches connect by TLS: who they are is what their certificates say."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_switch import run_inside


@pytest.mark.row("M35", "by TLS, a real switch passes flows; with a certificate that is another's, expired or of "
                        "another CA, or without TLS, it is refused, and the reason is told")  # fmt: skip
@pytest.mark.row("M35", "SIGHUP: certificates and CA of the OpenFlow port are replaced; connected switches stay")
def test_switches_are_told_apart_by_their_certificates(tmp_path: Path) -> None:
    done = run_inside(Path(__file__).with_name("trusted_switch.py"), str(tmp_path), timeout_s=200)
    assert done.stdout.endswith("all were told apart\n"), done.stdout
