"""``group``: anycast groups are added, changed and deleted at a running controller."""

from __future__ import annotations

import argparse
import json
import re
from typing import Any

from anycast_sdn.cli import client, options

_ADD = """\
Add an anycast group: one service, with the prefixes that its clients use. Its servers are enrolled with 'server add'.
Settings that are not given have their defaults."""
_SET = """\
Change settings of a group; what is not named stays. --prefix, --check and --validity name the whole of what there
shall be afterwards."""
_DELETE = """\
Delete a group, with its enrolments. Its prefixes are withdrawn; flows that are bound to its servers go on."""
_CHECK = """TYPE[,NAME=VALUE...] or a JSON object; TYPE is icmp, tcp, udp, http or passive, NAMEs are port, interval_s,
timeout_s, rise, fall, path, dns and others; may be repeated; 'none': no checks"""


def add_to(commands: Any) -> None:
    about = "Add, change or delete anycast groups."
    group = options.command(commands, "group", "add, change or delete a group", about,
                            "group add web 198.18.0.1/32", "group set web --check tcp,port=80",
                            "group delete web")  # fmt: skip
    verbs = group.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add = options.command(
        verbs, "add", "add a group", _ADD,
        "group add web 198.18.0.1/32 2001:db8:a::1/128 --check tcp,port=80,interval_s=1",
        "group add dns 198.18.0.53/32 --validity udp_s=10 --check udp,port=53,dns=example.org",
        parents=[client.arguments()],
    )  # fmt: skip
    add.add_argument("name", metavar="NAME")
    add.add_argument("prefixes", nargs="+", metavar="ANY/n", help="a service prefix, in the network's anycast prefixes")
    _add_settings(add)
    add.set_defaults(act=_add)

    change = options.command(
        verbs, "set", "change settings of a group", _SET,
        "group set web --affinity client", "group set web --min-healthy 1 --check none",
        parents=[client.arguments()],
    )  # fmt: skip
    change.add_argument("name", metavar="NAME")
    change.add_argument("--prefix", action="append", dest="prefixes", metavar="ANY/n", help="may be repeated")
    _add_settings(change)
    change.set_defaults(act=_change, parser=change)

    delete = options.command(verbs, "delete", "delete a group", _DELETE, "group delete web",
                             parents=[client.arguments()])  # fmt: skip
    delete.add_argument("name", metavar="NAME")
    delete.set_defaults(act=_delete)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--affinity", choices=["flow", "client"], help="what is bound to the server that answers first")
    parser.add_argument("--on-server-loss", choices=["repin", "keep"], help="what becomes of flows of a lost server")
    parser.add_argument("--validity", type=_validity, metavar="NAME=S,...",
                        help="how long its flows may be idle, where that differs from their edge: tcp_s=600,udp_s=10; "
                             "'none': as their edge")  # fmt: skip
    parser.add_argument("--check", type=_check, action="append", dest="checks", metavar="CHECK", help=_CHECK)
    parser.add_argument("--min-healthy", type=options.count, metavar="N",
                        help="with fewer healthy servers, all that are enrolled serve")
    parser.add_argument("--slow-start", type=options.seconds, dest="slow_start_s", metavar="S",
                        help="a server that comes back gets its share gradually, over so long")
    parser.add_argument("--distance", choices=["nearest", "any"], help="whose servers get new flows first")
    parser.add_argument("--spill-at", type=options.fraction, metavar="PART",
                        help="part of a server's capacity from which on others get its new flows")  # fmt: skip


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The members of the group that are given."""
    names = ("prefixes", "affinity", "on_server_loss", "validity", "min_healthy", "slow_start_s")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    selection = {name: getattr(arguments, name) for name in ("distance", "spill_at") if getattr(arguments, name)}
    if selection:
        given["selection"] = selection
    if arguments.checks is not None:
        given["checks"] = [check for check in arguments.checks if check]
    return given


def _add(arguments: argparse.Namespace) -> int:
    body = {"name": arguments.name} | _settings(arguments)
    return options.said(arguments, client.ask(client.controller(arguments), "/v1/groups", "POST", body=body),
                        f"group {arguments.name} is added: {' '.join(arguments.prefixes)}")  # fmt: skip


def _change(arguments: argparse.Namespace) -> int:
    settings = _settings(arguments)
    if not settings:
        arguments.parser.error("say what to change, such as --affinity client")
    controller, path = client.controller(arguments), client.path("groups", arguments.name)
    if "selection" in settings:  # PATCH sets it as a whole
        settings["selection"] = client.ask(controller, path).get("selection", {}) | settings["selection"]
    answer = client.ask(controller, path, "PATCH", body=settings)
    return options.said(arguments, answer, f"group {arguments.name} is changed: {', '.join(settings)}")


def _delete(arguments: argparse.Namespace) -> int:
    client.ask(client.controller(arguments), client.path("groups", arguments.name), "DELETE")
    return options.said(arguments, {"deleted": arguments.name}, f"group {arguments.name} is deleted")


def _validity(text: str) -> dict[str, Any]:
    return {} if text == "none" else _pairs(text.split(","), text)


def _check(text: str) -> dict[str, Any]:
    """Empty when there shall be none."""
    if text == "none":
        return {}
    if text.startswith("{"):
        try:
            return dict(json.loads(text))
        except (ValueError, TypeError) as error:
            raise argparse.ArgumentTypeError(f"{text!a} is not a JSON object: {error}") from None
    kind, *settings = text.split(",")
    return {"type": kind} | _pairs(settings, text)


def _pairs(words: list[str], text: str) -> dict[str, Any]:
    """NAME=VALUE; a value that is JSON, such as a number, is taken as that."""
    read = {}
    for word in words:
        if not (found := re.fullmatch(r"([a-z_0-9]+)=(.*)", word)):
            raise argparse.ArgumentTypeError(f"{word!a} in {text!a} is not NAME=VALUE")
        try:
            read[found[1]] = json.loads(found[2])
        except ValueError:
            read[found[1]] = found[2]
    return read
