"""docs/access.md: its commands work as they are written, one after the other, in a namespace of their own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from programs import wait_until

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "access.md").read_text(), re.DOTALL | re.MULTILINE)
PLACE = """set -e
ip link set lo up
mount --bind hosts /etc/hosts
serve() { : > log; "$@" > log 2>&1 & }
await() { for _ in $(seq 300); do if grep -q "waiting for" log; then return; fi; sleep 0.1; done; cat log; false; }
end() { kill %% && wait %%; }
set -x
"""


@pytest.mark.row("M35", "docs/access.md works as it is written", on="loopback, in a namespace")
def test_the_commands_of_the_paper_work(tmp_path: Path) -> None:
    """The controller runs in the background from the block that starts it until the next one."""
    script, running = [PLACE], False
    for block in BLOCKS:
        *before, last = block.strip().splitlines()
        if " run " not in last:
            script.append(block)
            continue
        script += [*before, *(["end"] if running else []), f"serve {last}", "await"]
        running = True
    script.append("end")
    (tmp_path / "script").write_text("\n".join(script))
    (tmp_path / "hosts").write_text("127.0.0.1 localhost controller.example\n")
    shutil.copy(ROOT / "topologies" / "figure1.yaml", tmp_path / "my-network.yaml")
    program = tmp_path / "bin" / "anycast-sdn"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m anycast_sdn "$@"\n')
    program.chmod(0o755)
    environment = {"PATH": f"{program.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    words = ["unshare", "--net", "--mount", "bash", "script"]
    with open(tmp_path / "said", "w") as said:
        process = subprocess.Popen(
            words, cwd=tmp_path, stdout=said, stderr=said, env=environment, start_new_session=True
        )
        try:
            wait_until(lambda: process.poll() is not None, "the commands have ended", 120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = (tmp_path / "said").read_text()
    assert process.returncode == 0, text
    assert len(BLOCKS) >= 8
    assert text.count("no groups") >= 2
    assert '"status": 4' not in text
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log, log
