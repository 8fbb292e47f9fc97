"""The command line's entry: its commands, their errors and the exit status.

A module for each group of commands: ``run``, ``token``, ``files`` (network files), ``status``, ``listings``,
``replies``, ``switches``, ``topology``, ``watch``, ``why`` and ``who`` (questions to a running controller),
``groups``, ``servers``, ``edges`` and ``operations`` (changes of what it serves), ``cluster`` (of several), ``probe``
(of one switch), ``store`` (what is kept), ``agent`` (on a server).  Each adds its commands to the parser and names
the function that carries one out.  That function imports what it needs itself: ``run`` must choose the hub before
anything else is imported.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from anycast_sdn import __version__
from anycast_sdn.cli import (
    agent,
    cluster,
    edges,
    files,
    groups,
    listings,
    operations,
    pki,
    probe,
    replies,
    run,
    servers,
    status,
    store,
    switches,
    token,
    topology,
    watch,
    who,
    why,
)
from anycast_sdn.core.model import AnycastError
from anycast_sdn.core.redaction import redacted

_EXAMPLES = """\
examples:
  anycast-sdn example figure1 > my.yaml     begin with a network file that explains every key
  anycast-sdn check my.yaml                 what is wrong with it, by line and column
  anycast-sdn trace my.yaml 10.1.0.10:40000 198.18.0.1:80/tcp --group web=198.18.0.1/32=10.2.0.10
                                            what would happen to a flow, without a switch
  anycast-sdn run my.yaml                   run the controller
  anycast-sdn status                        is all well, and if not, what is wrong?
  anycast-sdn flows                         which flow is bound to which server?
  anycast-sdn why 10.1.0.10                 and why?

exit status:
  0    done
  1    failed; the reason is on standard error
  2    wrong usage
  130  interrupted (Ctrl-C)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Carries out one command → the exit status.  Raises KeyboardInterrupt (see ``anycast_sdn.__main__``)."""
    arguments = parser().parse_args(argv)
    try:
        status: int = arguments.act(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as head or less, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit would fail, too
        return 1
    except (AnycastError, OSError) as error:
        print(redacted(f"anycast-sdn: {error}"), file=sys.stderr)  # a token may have been taken for a name
        return 1


class _Help(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog)
        self._action_max_length = len("    operations")  # Python leaves out the indentation of commands


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anycast-sdn",
        description="IP anycast that keeps its state: an OpenFlow 1.3 controller after WO 2004/014046.\n"
        "'anycast-sdn COMMAND --help' explains a command.",
        epilog=_EXAMPLES,
        formatter_class=_Help,
    )
    parser.add_argument("--version", action="version", version=f"anycast-sdn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run.add_to(commands)
    files.add_to(commands)
    status.add_to(commands)
    listings.add_to(commands)
    replies.add_to(commands)
    switches.add_to(commands)
    topology.add_to(commands)
    watch.add_to(commands)
    why.add_to(commands)
    who.add_to(commands)
    groups.add_to(commands)
    servers.add_to(commands)
    edges.add_to(commands)
    operations.add_to(commands)
    cluster.add_to(commands)
    probe.add_to(commands)
    store.add_to(commands)
    token.add_to(commands)
    pki.add_to(commands)
    agent.add_to(commands)
    return parser
