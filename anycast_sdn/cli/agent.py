"""``agent``: enrols the server on which it runs, and drains it at the end."""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import random
from collections.abc import Callable
from functools import partial

from anycast_sdn.agent import probes
from anycast_sdn.agent.enrolment import Settings
from anycast_sdn.agent.messages import Answer, Request
from anycast_sdn.cli import client, options
from anycast_sdn.core.model import AnycastError

_ABOUT = """\
Run on a server: enrol it in a group, renew its lease, report its load and its checks. On SIGTERM or Ctrl-C, drain
it, wait until its last flow has ended, and exit with 0; a second signal ends the agent at once. What an operator has
set at the controller stays: the weight, the capacity, and the state "disabled". "draining" and "drained" end when an
agent starts. Load needs psutil: pip install 'anycast-sdn[agent]'."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = options.command(
        commands, "agent", "enrol this server, report its load, drain it at the end", _ABOUT,
        "agent --group web --address 10.2.0.10 --check http://127.0.0.1:8080/health --rest 192.0.2.1:8080",
        "agent --group dns --address 10.2.0.10 --address 2001:db8:2::10 --ttl 15 --deregister-after 3600",
    )  # fmt: skip
    client.add_arguments(parser)
    parser.add_argument("--group", required=True, help="the group in which the server is enrolled; it must exist")
    parser.add_argument("--address", type=_address, action="append", required=True, dest="addresses",
                        help="the server's own address; twice for IPv4 and IPv6")
    parser.add_argument("--check", type=_target, action="append", default=[], dest="checks", metavar="URL",
                        help="an HTTP check: status 200-399 passes, redirects are not followed, certificates not "
                             "verified; may be repeated. Connections to the port of the first one are the sessions")
    parser.add_argument("--agent-check", type=options.address, metavar="HOST:PORT",
                        help="where a program answers with HAProxy's agent-check line, such as 'up 75%%'")
    parser.add_argument("--weight", type=_number(int, 0, 1000), metavar="N",
                        help="weight at the first enrolment, 0-1000; an agent check's per cents are parts of it")
    parser.add_argument("--capacity", type=_number(int, 1, 10**9), metavar="N",
                        help="sessions that mean a load of 1.0, at the first enrolment")
    parser.add_argument("--no-load", action="store_false", dest="load", help="do not report the load of this machine")
    parser.add_argument("--interval", type=_number(float, 0.5, 3600), default=5.0, metavar="S",
                        help="seconds between two checks, and two reports (default %(default)s)")
    parser.add_argument("--ttl", type=_number(float, 3, 86400), default=30.0, metavar="S",
                        help="seconds that the lease lasts; it is renewed three times as often (default %(default)s)")
    parser.add_argument("--deregister-after", type=_number(float, 1, 10**7), metavar="S",
                        help="remove the server when its lease has been over for so long (default: never)")
    parser.add_argument("--drain-deadline", type=_number(float, 0, 10**7), default=300.0, metavar="S",
                        help="at the end, flows that are left after so long are ended (default %(default)s)")
    afterwards = parser.add_mutually_exclusive_group()
    afterwards.add_argument("--remove", action="store_true", help="remove the server when it is drained")
    afterwards.add_argument("--keep", action="store_false", dest="remove",
                            help="leave it enrolled, drained (the default): its weight and state are kept")
    parser.set_defaults(act=partial(_run, parser))


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    if len({":" in address for address in arguments.addresses}) < len(arguments.addresses):
        parser.error("--address: a server has one address of each family; further ones are servers of their own")
    from anycast_sdn.agent.agent import Agent, Watch
    from anycast_sdn.process.service_manager import ServiceManager

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = Settings(
        arguments.group, tuple(arguments.addresses), arguments.weight, arguments.capacity, arguments.ttl,
        arguments.deregister_after, arguments.drain_deadline, arguments.remove,
    )  # fmt: skip
    watch = Watch(arguments.checks, arguments.agent_check, arguments.interval, arguments.load)
    manager = ServiceManager(os.environ, os.getpid())

    controller: client.Controller | None = client.controller(arguments)

    def ask(request: Request) -> Answer:
        nonlocal controller
        try:
            controller = controller or client.controller(arguments)
            method, path, body, timeout_s, anew = request
            answer = client.call(controller, path, method, timeout_s, body, anew)
            return Answer(answer.status, answer.body, answer.location)
        except client.Refused as refusal:
            if refusal.status in (401, 403):
                controller = None  # the file may hold another token by now
            return Answer(refusal.status, reason=str(refusal))
        except (AnycastError, OSError) as error:
            return Answer(0, reason=str(error))

    return Agent(settings, watch, ask, manager, random.random).run()


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.replace("%", " ")))  # a zone means nothing elsewhere
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!a} is not an IP address") from None


def _target(text: str) -> probes.HttpTarget:
    try:
        return probes.http_target(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _number(kind: type[int] | type[float], least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            if least <= (value := kind(text)) <= most:
                return value
        except ValueError:
            pass
        what = "whole number" if kind is int else "number"
        raise argparse.ArgumentTypeError(f"{text!a} is no {what} from {least:g} to {most:g}")

    return read
