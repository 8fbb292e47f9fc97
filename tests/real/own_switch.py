"""An Open vSwitch of a test's own, which it may kill: in a network namespace where nothing else is.

``inside`` makes the calling process the only user of it: to be called by a program that was started for that.  The
machine's Open vSwitch has the same paths outside, and is not seen from here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

RUN = Path("/run/openvswitch")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")


def run_inside(program: Path, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """A program of Python in namespaces of its own, which end with it."""
    words = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, sys.executable, str(program), *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        output, _ = process.communicate(timeout=timeout_s)
    finally:
        process.kill()  # and the kernel ends all that is inside
    return subprocess.CompletedProcess(words, process.returncode, output)


class OwnSwitch:
    """Started at once."""

    def __init__(self) -> None:
        _do("mount", "-t", "tmpfs", "own", str(RUN))
        _do("mount", "-t", "sysfs", "own", "/sys")  # as this namespace has it
        _do("ip", "link", "set", "lo", "up")
        database, server = RUN / "conf.db", RUN / "db.sock"
        _do("ovsdb-tool", "create", str(database), str(SCHEMA))
        _do("ovsdb-server", str(database), f"--remote=punix:{server}", *_daemon("ovsdb-server"))
        _do("ovs-vsctl", "--no-wait", "init")
        self.start()

    def start(self) -> None:
        _do("ovs-vswitchd", f"unix:{RUN}/db.sock", *_daemon("ovs-vswitchd"))

    def kill(self) -> None:
        """As a crash would."""
        process = int((RUN / "ovs-vswitchd.pid").read_text())
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)  # here we are the parent of all that has lost its own


def _daemon(name: str) -> Sequence[str]:
    return (f"--pidfile={RUN}/{name}.pid", "--detach", f"--log-file={RUN}/{name}.log")


def _do(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done
