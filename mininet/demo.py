"""The demo: a network file as a real network, the controller, real programs; one line per result.

Started by ``mininet/demo``, which installs what is missing.  Exit status 0 only if every line holds.
"""

from __future__ import annotations

import signal
import sys
import tempfile
from pathlib import Path

from testbed import ControllerProcess, Testbed

from anycast_sdn import settings

HERE = Path(__file__).parent
FIGURE_1 = HERE.parent / "topologies" / "figure1.yaml"


class Report:
    """The lines of result, and whether all of them hold."""

    def __init__(self) -> None:
        self.holds = True

    def line(self, holds: bool, shown: str, seen: str) -> None:
        self.holds = self.holds and holds
        print(f"{'ok    ' if holds else 'FAILED'}  {shown}: {seen}", flush=True)


def show(testbed: Testbed, controller: ControllerProcess, report: Report) -> None:
    """The story, from the first enrolment on."""
    controller.enrol("web", ["198.18.0.1/32", "2001:db8:a::1/128"], ["10.2.0.10"])
    testbed.spawn("as2", [sys.executable, str(HERE / "web_server.py"), "as2"])
    testbed.wait_listening("as2", 80)
    curl = testbed.run("h1", ["curl", "--silent", "--show-error", "--max-time", "10", "http://198.18.0.1/"])
    said = (curl.stdout or curl.stderr).strip()
    report.line(curl.stdout.startswith("as2 answers 203.0.113."), "h1: curl http://198.18.0.1/", said)


def main() -> int:
    report = Report()
    with tempfile.TemporaryDirectory(prefix="anycast-sdn-") as directory:
        controller = ControllerProcess(FIGURE_1, directory)
        with Testbed(settings.load(FIGURE_1), controller.openflow_port) as testbed, controller:
            show(testbed, controller, report)
    return 0 if report.holds else 1


def _leave(number: int, _: object) -> None:
    """A signal ends the demo in the ordinary way, so that everything is taken down; a second one waits."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    sys.exit(main())
