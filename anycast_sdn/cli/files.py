"""Commands about network files, which need no running controller: ``example``, ``schema``, ``check``, ``trace``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from anycast_sdn.cli import options
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.words import counted

_CHECK = """\
Check a network file. Everything that is wrong with it is printed to standard error, in lines
FILE:LINE:COLUMN: key: reason. The exit status is 0 when nothing is wrong, 1 otherwise."""

_SCHEMA = """\
Print the JSON Schema (2020-12) of network files, for editors. With the YAML language server, say in
the first line of a network file where it is:  # yaml-language-server: $schema=anycast-sdn.schema.json"""

_TRACE = """\
Run a flow's first packet, its reply and its next packet through simulated switches with this network's
rules, and print, table by table, what happens to them."""


def add_to(commands: Any) -> None:
    example = options.command(
        commands, "example", "print a network file to begin with",
        "Print a network file to begin with. Without a name, list those that there are.",
        "example", "example figure1 > my.yaml",
    )  # fmt: skip
    example.add_argument("name", nargs="?", metavar="NAME", help="one of the list; figure1 explains every key")
    example.add_argument("--list", action="store_true", help="list the examples, which is done without a name, too")
    example.set_defaults(act=_example)

    schema = options.command(
        commands, "schema", "print the JSON Schema of network files, for editors", _SCHEMA,
        "schema > anycast-sdn.schema.json",
    )  # fmt: skip
    schema.set_defaults(act=_schema)

    check = options.command(commands, "check", "check a network file", _CHECK, "check my.yaml")
    options.add_file(check)
    check.set_defaults(act=_check)

    trace = options.command(
        commands, "trace", "show, table by table, what happens to a flow", _TRACE,
        "trace my.yaml 10.1.0.10:40000 198.18.0.1:80/tcp",
        "trace my.yaml '[2001:db8:1::10]:40000' '[2001:db8:a::1]:53/udp' --group dns=2001:db8:a::1/128=2001:db8:2::10",
    )  # fmt: skip
    options.add_file(trace)
    trace.add_argument("source", metavar="SRC[:PORT]",
                       help="an address of a subnet; IPv6 with port: [2001:db8::1]:40000")
    trace.add_argument("destination", metavar="DST[:PORT]/PROTO", help="PROTO: tcp, udp, sctp, icmp or a number")
    trace.add_argument("--group", action="append", default=[], metavar="NAME=ANY/n=SERVER[,SERVER]",
                       help="add a group to those of the file; may be repeated")
    trace.set_defaults(act=_trace)


def _example(arguments: argparse.Namespace) -> int:
    from anycast_sdn.description import examples

    if arguments.list or arguments.name is None:
        for name in examples.names():
            print(f"{name:<14}{examples.summary(name)}")
    else:
        print(examples.content(arguments.name), end="")
    return 0


def _schema(arguments: argparse.Namespace) -> int:
    from anycast_sdn.description import reference

    print(json.dumps(reference.json_schema(), indent=2))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from anycast_sdn.description import reading

    try:
        network = reading.load(arguments.file)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # editors look for the file's name where a line begins
        return 1
    parts = {"switch": network.switches, "link": network.links, "subnet": network.subnets,
             "uplink": network.uplinks, "host": network.hosts, "group": network.groups}  # fmt: skip
    has = ", ".join(counted(len(those), thing) for thing, those in parts.items())
    print(f"{arguments.file}: good. Network {network.name}: {has}.")
    return 0


def _trace(arguments: argparse.Namespace) -> int:
    from anycast_sdn.description import reading
    from anycast_sdn.simulation import trace

    network = reading.load(arguments.file)
    print(trace.trace(network, arguments.source, arguments.destination, arguments.group), end="")
    return 0
