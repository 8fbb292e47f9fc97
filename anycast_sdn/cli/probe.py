"""``probe``: what one switch can be, before there is a network: it connects, and is left as it was."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from contextlib import suppress
from typing import Any

from anycast_sdn.cli import eventlet_hub, options, switch_words
from anycast_sdn.cli.terminal import harmless
from anycast_sdn.core.words import counted, listed

LACKS = 3  # the exit status of a report with something in it that a role needs, or may need
INTERRUPTED = 130

_ABOUT = """\
Wait for one switch to connect, try what it accepts, and print what it can be: client edge, server edge and core, each
for IPv4 and IPv6. It needs no network file, and leaves the switch as it was: rules, groups and meters of others stay,
trials are removed, and both is checked. Point the switch at this machine as its controller, with OpenFlow 1.3; where
Open vSwitch has a controller already, add this one ('ovs-vsctl set-controller BRIDGE tcp:OLD:6653 tcp:THIS:6653').
With --openflow-tls the switch has to show a certificate that one of the CAs has signed, of whatever name.
Progress is on standard error, the report on standard output. The exit status is 0 when the switch can be everything,
3 when it lacks something that a role needs or that could not be found out, 1 when there is no report, and 130 when a
signal has ended it; what is there of trials is removed then, and the switch is waited for, some seconds."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands, "probe", "judge one switch, without a network, and leave it as it was", _ABOUT,
        "probe", "probe --openflow 0.0.0.0:6653 --timeout 60", "probe --dpid 0x1 --json > report.json",
        "probe --openflow 0.0.0.0:6653 --openflow-tls pki/controller.pem pki/controller.key pki/ca.pem",
    )  # fmt: skip
    options.add_openflow(parser)
    parser.add_argument("--dpid", type=options.datapath_id, metavar="DPID",
                        help="wait for the switch with this datapath id (default: the first that connects)")
    parser.add_argument("--timeout", type=options.seconds, metavar="S",
                        help="give up when no switch has connected after S (default: wait until Ctrl-C)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, for programs")
    parser.set_defaults(act=_probe)


def _probe(arguments: argparse.Namespace) -> int:
    from anycast_sdn.process.ending import Ending

    outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # nohup(1)
    ending = Ending()
    if outlives_terminal:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    eventlet_hub.choose()
    from anycast_sdn.process.probe import probe
    from anycast_sdn.process.switch_tls import OpenFlowOptions

    openflow = OpenFlowOptions(arguments.openflow, arguments.openflow_tls)
    report = probe(ending, openflow, _tell, arguments.timeout, arguments.dpid)
    if report is None:
        return INTERRUPTED
    print(json.dumps(report, indent=2) if arguments.json else written(report))
    return status(report)


def status(report: Any) -> int:
    return LACKS if any(switch_words.able(role) != "yes" or role["doubt"] for role in report["roles"]) else 0


def _tell(words: str) -> None:
    """In one line: there may be names in it that a switch has chosen."""
    with suppress(OSError):  # the terminal may be gone, and the trials at the switch have to be removed nevertheless
        print(harmless(words.replace("\n", "\r")), file=sys.stderr, flush=True)


def written(report: Any) -> str:
    """The report, and whether the switch is as it was."""
    held = report["held"]
    kept = []
    if held["different"]:
        kept.append(f"While it was examined, what it holds has changed: {listed(held['different'])}.")
    if held["unread"]:
        kept.append(f"Whether its {listed(held['unread'])} are as before is not known: it does not list them.")
    if not kept:
        rules, groups, meters = (counted(held[f"{thing}s"], thing) for thing in ("rule", "group", "meter"))
        kept = [f"What it held is as before: {rules}, {groups} and {meters}."]
    return "\n".join((switch_words.written(report), *kept))
