"""The command line: run, check and trace a network file; ask a running controller.

Each command imports what it needs itself.  ``run`` must choose the hub before anything else is there:
OS-Ken decides at its first import whether it works on threads or on eventlet, only eventlet works (one
hub, one writer), and eventlet has to replace the blocking modules before others take hold of them.
"""

from __future__ import annotations

import argparse
import http.client
import ipaddress
import json
import logging
import math
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from anycast_sdn import __version__
from anycast_sdn.core.model import AnycastError, ConfigurationError
from anycast_sdn.core.words import counted
from anycast_sdn.process.ending import Ending

_PAGE = 1000  # flows in one answer
_FLOW_STATES = ("unanswered", "pinned")
OPENFLOW, REST = "127.0.0.1:6653", "127.0.0.1:8080"


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 what was asked for failed, 2 wrong usage."""
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.act(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # who reads has had enough: head, less
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor at the interpreter's end
        return 1
    except (AnycastError, OSError) as error:
        print(f"anycast-sdn: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anycast-sdn",
        description="IP anycast that keeps state: an OpenFlow 1.3 controller after WO 2004/014046.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the controller for a network", description="Run the controller.")
    run.add_argument("file", type=Path, metavar="FILE", help="network file (YAML)")
    run.add_argument("--openflow", type=_address, default=OPENFLOW, metavar="HOST:PORT",
                     help="where switches connect (default %(default)s, this machine only; 0.0.0.0 is all its IPv4 "
                          "addresses, [::] IPv6 as well)")
    run.add_argument("--rest", type=_address, default=REST, metavar="HOST:PORT",
                     help="where REST clients connect (default %(default)s)")
    run.add_argument("--rest-host", action="append", default=[], metavar="NAME",
                     help="a name by which clients ask, besides the address; may be repeated")
    run.add_argument("--database", type=_path, default="anycast-sdn.sqlite", metavar="PATH",
                     help="where enrolments are kept (default %(default)s)")
    run.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"],
                     help="how much to log, to standard error (default %(default)s)")
    run.set_defaults(act=_run)

    check = commands.add_parser("check", help="check a network file", description="Check a network file.")
    check.add_argument("file", type=Path, metavar="FILE", help="network file (YAML)")
    check.set_defaults(act=_check)

    trace = commands.add_parser(
        "trace",
        help="show, table by table, what happens to a flow",
        description="Trace a flow's first packet, its reply and its next packet through a simulated network.",
        epilog="example: anycast-sdn trace topologies/one-switch.yaml 10.1.0.10:40000 198.18.0.1:80/tcp",
    )
    trace.add_argument("file", type=Path, metavar="FILE", help="network file (YAML)")
    trace.add_argument("source", metavar="SRC[:PORT]",
                       help="an address of a subnet; IPv6 with port: [2001:db8::1]:40000")
    trace.add_argument("destination", metavar="DST[:PORT]/PROTO", help="PROTO: tcp, udp, sctp, icmp or a number")
    trace.add_argument("--group", action="append", default=[], metavar="NAME=ANY/n=SERVER[,SERVER]",
                       help="add a group to those of the file; may be repeated")
    trace.set_defaults(act=_trace)

    _add_questions(commands)
    return parser


def _add_questions(commands: Any) -> None:
    """The commands that ask a running controller."""
    asking = argparse.ArgumentParser(add_help=False)
    asking.add_argument("--rest", type=_address, default=REST, metavar="HOST:PORT",
                        help="the controller's REST address (default %(default)s)")
    asking.add_argument("--json", action="store_true", help="as JSON, for programs")
    for name, (describe, _, _) in _LISTINGS.items():
        about = f"Show {describe} of a running controller."
        listing = commands.add_parser(name, help=describe, description=about, parents=[asking])
        if name == "flows":
            for field in ("group", "client", "server", "edge", "state"):
                values = f", one of {', '.join(_FLOW_STATES)}" if field == "state" else ""
                listing.add_argument(f"--{field}", help=f"only flows with this {field}{values}")
        listing.set_defaults(act=_list, listing=name)

    topology = commands.add_parser(
        "topology",
        parents=[asking],
        help="show links, announcements and where traffic goes, also without parts of the network",
        description="Show switches, links, announcements and the catchment of a running controller.",
        epilog="example: anycast-sdn topology --without c1-c2 --without 10.21.0.10",
    )
    topology.add_argument("--without", action="append", default=[], metavar="LINK|SWITCH|UPLINK|SERVER",
                          help="what if this were not there; a link is c1:1, c1:1-c2:2 or c1-c2; may be repeated")
    topology.set_defaults(act=_topology)


def _address(text: str) -> tuple[str, int]:
    """HOST:PORT; an IPv6 address in brackets, whose colons would be taken for the port's."""
    found = re.fullmatch(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^\s:\[\]/]*)):(?P<port>[0-9]{1,5})", text)
    if not found or not 0 < int(found["port"]) < 65536 or (found["v6"] and not _is_ipv6(found["v6"])):
        example = "127.0.0.1:8080 or [::1]:8080"
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, as in {example}")
    return found["v6"] or found["host"] or "127.0.0.1", int(found["port"])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _path(text: str) -> str:
    if not text:  # SQLite would take it for a database that is gone at the end
        raise argparse.ArgumentTypeError("the path is empty")
    return text


# ------------------------------------------------------------------------------ controller


def _run(arguments: argparse.Namespace) -> int:
    if arguments.openflow == arguments.rest:
        raise ConfigurationError("OpenFlow and REST cannot have the same address: give one of them another port")
    ending = Ending()  # before anything that takes time
    os.environ["OSKEN_HUB_TYPE"] = "eventlet"
    # Only this one: eventlet announces at import that it is in maintenance.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import eventlet

    eventlet.monkey_patch()
    logging.basicConfig(
        level=arguments.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for noisy in ("os_ken", "OSKenApp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("bgpspeaker").setLevel(logging.CRITICAL)  # ``routing.bgp`` says it in fewer words, once
    from anycast_sdn.process.run import run as serve

    serve(ending, arguments.file, arguments.openflow, arguments.rest, arguments.database, arguments.rest_host)
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from anycast_sdn.description import reading

    network = reading.load(arguments.file)
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


# ------------------------------------------------------------------------------ listings


def _list(arguments: argparse.Namespace) -> int:
    _, path, rows = _LISTINGS[arguments.listing]
    filters = {name: getattr(arguments, name, None) for name in ("group", "client", "server", "edge", "state")}
    filters["limit"] = _PAGE if arguments.listing == "flows" else None
    query = urllib.parse.urlencode({name: value for name, value in filters.items() if value})
    answer = _get_all(arguments.rest, f"{path}?{query}" if query else path, arguments.listing)
    if arguments.json:
        few = len(answer[path.rpartition("/")[2]]) <= _PAGE  # to be read by people, too, which takes ten times as long
        print(json.dumps(answer, indent=2 if few else None))
        return 0
    table = rows(answer)
    print(_table(table) if table else f"no {arguments.listing}")
    if summary := answer.get("summary"):
        print("\n" + ", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in summary.items()))
    return 0


def _get_all(address: tuple[str, int], path: str, listing: str) -> Any:
    """All pages of a listing as one answer."""
    answer = _get(address, path)
    page = answer
    while following := page.get("next"):
        page = _get(address, urllib.parse.urlsplit(following)._replace(scheme="", netloc="").geturl())
        answer[listing] += page[listing]
    answer.pop("next", None)
    return answer


def _get(address: tuple[str, int], path: str) -> Any:
    host, port = address
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    try:
        with _DIRECT.open(url + path, timeout=10) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        if detail := _detail(error.read()):
            raise AnycastError(detail) from error
        raise AnycastError(f"what answers at {url} is no controller: {error.code} {error.reason}") from error
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or reason
        raise AnycastError(f"no controller answers at {url}: {words}; is 'anycast-sdn run' running?") from error
    except (http.client.HTTPException, ConnectionError, ValueError) as error:
        raise AnycastError(f"what answers at {url} is no controller") from error


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a controller is not asked through a proxy


def _detail(body: bytes) -> str:
    """The sentence of a problem (RFC 9457); empty when it is none."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return ""


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys, at least one, in columns; numbers to the right.  Quick with 200,000 of them."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    cells = [[name, *("" if value is None else str(value) for value in values)] for name, values in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    numbers = [all(type(value) is int for value in values) for values in columns.values()]
    line = "  ".join(f"%{'' if number else '-'}{width}s" for number, width in zip(numbers, widths, strict=True))
    header, *body = (line % row for row in zip(*cells, strict=True))
    return "\n".join(text.rstrip() for text in (header, "  ".join("-" * width for width in widths), *body))


def _flow_rows(answer: Any) -> list[dict[str, Any]]:
    return [
        {
            "edge": flow["edge"],
            "state": flow["state"] + (f" ({flow['idle']} idle)" if flow["idle"] else ""),
            "group": flow["group"],
            "H": _endpoint(flow["client"], flow["client_port"]),
            "ANY": _endpoint(flow["service"], flow["service_port"]),
            "protocol": flow["protocol"],
            "PR1X": flow["translated"],
            "ASg": flow["server"] or "",
            "since": flow["since"],
            "validity (s)": flow["validity_s"],
        }
        for flow in answer["flows"]
    ]


def _endpoint(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _group_rows(answer: Any) -> list[dict[str, Any]]:
    return [
        {"group": group["name"], "ANY/n": " ".join(group["prefixes"]), "servers": len(group["servers"])}
        for group in answer["groups"]
    ]


def _server_rows(answer: Any) -> list[dict[str, Any]]:
    return [
        {"group": group["name"], "ASg": server["address"], "edge": server["edge"], "state": server["state"],
         "weight": server["weight"], "reachable": "yes" if server["reachable"] else "no", "flows": server["flows"]}
        for group in answer["groups"]
        for server in group["servers"]
    ]  # fmt: skip


def _edge_rows(answer: Any) -> list[dict[str, Any]]:
    return [
        {
            "edge": edge["name"],
            "roles": ", ".join(edge["roles"]),
            "connected": "yes" if edge["connected"] else "no",
            "bindings": edge["bindings"],
            "rules": edge["rules"]["bindings"] + edge["rules"]["other"],
            "pool": "; ".join(_pool(family, use) for family, use in edge["pools"].items()),
            "drops": ", ".join(f"{name}: {count}" for name, count in sorted(edge["drops"].items()) if count),
        }
        for edge in answer["edges"]
    ]


def _pool(family: str, use: Any) -> str:
    name = {"ipv4": "IPv4", "ipv6": "IPv6"}.get(family, family)
    return f"{name}: {use['leased']} leased, {use['resting']} resting of {_size(use['size'])}"


def _size(number: int) -> str:
    """As a power of two where the digits would say nothing: a /64 has all of 2^64 but its first and last."""
    if number < 1 << 20:
        return str(number)
    power = round(math.log2(number))
    return f"2^{power}" if abs(number - (1 << power)) < number >> 10 else f"about 2^{power}"


# ------------------------------------------------------------------------------ topology


def _topology(arguments: argparse.Namespace) -> int:
    query = urllib.parse.urlencode([("without", part) for part in arguments.without])
    answer = _get(arguments.rest, f"/v1/topology?{query}" if query else "/v1/topology")
    if arguments.json:
        print(json.dumps(answer, indent=2))
        return 0
    links = [
        {"link": "–".join(link["ends"]), "cost": link["cost"], "state": link["state"],
         "declared": "yes" if link["declared"] else "no", "confirmed": "yes" if link["confirmed"] else "no",
         "cabled instead": ", ".join(f"{end}–{peer}" for end, peer in link["cabled_instead"].items())}
        for link in answer["links"]
    ]  # fmt: skip
    edges = [{"edge": edge["name"], "announces": " ".join(edge["announces"])} for edge in answer["edges"]]
    catchment = [
        {"ANY/n": prefix, "site": site, "goes to": edge or "nobody"}
        for prefix, sites in answer["catchment"].items()
        for site, edge in sites.items()
    ]
    switches = [
        {"switch": switch["name"], "datapath id": f"{switch['dpid']:#x}",
         "connected": "yes" if switch["connected"] else "no"}
        for switch in answer["switches"]
    ]  # fmt: skip
    uplinks = [
        {"uplink": uplink["name"], "port": uplink["port"], "routes": uplink["routes"],
         "routers": ", ".join(router["address"] if router["reachable"] else f"{router['address']} (silent)"
                              for router in uplink["routers"])}
        for uplink in answer["uplinks"]
    ]  # fmt: skip
    tables = (switches, links, uplinks, answer["bgp"], edges, catchment)
    print("\n\n".join(_table(table) for table in tables if table))
    if answer["updating"]:
        print(f"\ntaking up new routes: {', '.join(answer['updating'])}")
    if len(answer["parts"]) > 1:
        print("\nparts, with no link of ours between them: " + " | ".join(", ".join(part) for part in answer["parts"]))
    return 0


# what it shows, where it comes from, how it becomes rows
_LISTINGS: dict[str, tuple[str, str, Callable[[Any], list[dict[str, Any]]]]] = {
    "flows": ("the state table", "/v1/flows", _flow_rows),
    "groups": ("anycast groups", "/v1/groups", _group_rows),
    "servers": ("enrolled servers", "/v1/groups", _server_rows),
    "edges": ("switches with their pools, rules and drops", "/v1/edges", _edge_rows),
}
