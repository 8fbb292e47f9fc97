"""``run``: the controller.

OS-Ken decides at its first import whether it works on threads or on eventlet; only eventlet works here (one hub, one
writer), and it has to replace Python's blocking modules before other modules import from them.  So this module, and
what is imported before it, imports neither.
"""

from __future__ import annotations

import argparse
import ipaddress
import logging
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from anycast_sdn.cli import etcd, eventlet_hub, options
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.places import Rest
from anycast_sdn.core.words import address as written
from anycast_sdn.process.ending import Ending
from anycast_sdn.process.log_format import FORMATS

BINDING_LOG_DAYS = 90.0
SOCKET_MODE = 0o600

_DESCRIPTION = """\
Run the controller of a network until SIGTERM or SIGINT. Switches keep their rules when it ends.
It logs to standard error; under systemd it says when it is ready (Type=notify)."""


def add_to(commands: Any) -> None:
    parser = options.command(
        commands, "run", "run the controller for a network", _DESCRIPTION,
        "run my.yaml",
        "run my.yaml --openflow 192.0.2.1:6653 --database /var/lib/anycast-sdn/enrolments.sqlite",
        "run my.yaml --openflow 192.0.2.1:6653 --openflow-tls pki/controller.pem pki/controller.key pki/ca.pem",
        "run my.yaml --rest '[::]:8443' --rest-tls-cert cert.pem --rest-tls-key key.pem --rest unix:/run/ctl.sock",
    )  # fmt: skip
    options.add_file(parser)
    options.add_openflow(parser)
    _add_rest(parser)
    parser.add_argument("--database", type=options.path, default="anycast-sdn.sqlite", metavar="PATH",
                        help="where enrolments are kept (default %(default)s, in the current directory)")
    parser.add_argument("--binding-log", type=options.path, metavar="PATH",
                        help="write who has which translation address, and when, to this file and those beside it "
                             "(docs/attribution.md)")
    parser.add_argument("--binding-log-days", type=options.seconds, metavar="DAYS",
                        help=f"how long its records are kept (default {BINDING_LOG_DAYS:g})")
    _add_ovsdb(parser)
    _add_etcd(parser)
    parser.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"],
                        help="how much to log (default %(default)s)")
    parser.add_argument("--log-format", default="text", choices=sorted(FORMATS, reverse=True),
                        help="a line of text for each event, or a JSON object (default %(default)s)")
    parser.set_defaults(act=_run)


def _add_rest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rest", type=options.listening, action="append", metavar="PLACE",
                        help="where REST clients connect: HOST:PORT or unix:PATH; may be repeated (default "
                             f"{options.REST}). Without tokens, only clients of this machine are served")
    parser.add_argument("--tokens", type=options.path, metavar="PATH",
                        help="the file of tokens that REST clients need ('anycast-sdn token --help'); by default it is "
                             "beside the database, with the ending .tokens, if there is one")
    parser.add_argument("--rest-tls-cert", type=options.path, metavar="PEM",
                        help="certificate of REST, with those that lead to its CA: HOST:PORT is https then; one that "
                             "is not to be is written http://HOST:PORT")
    parser.add_argument("--rest-tls-key", type=options.path, metavar="PEM",
                        help="its key, unencrypted, unless that is in the same file")
    parser.add_argument("--rest-client-ca", type=options.path, metavar="PEM",
                        help="REST clients need certificates that these CAs have signed")
    parser.add_argument("--rest-socket-mode", type=options.mode, metavar="MODE",
                        help="mode of unix sockets: whoever may open one may do everything (default 600)")
    parser.add_argument("--rest-host", type=options.host_name, action="append", default=[], metavar="NAME",
                        help="a host name that REST clients use, besides the address; may be repeated")
    parser.add_argument("--rest-require-if-match", action="store_true",
                        help="refuse changes of groups and servers without If-Match, so that no client overwrites what "
                             "it has not read (428)")


def _add_ovsdb(parser: argparse.ArgumentParser) -> None:
    for option, meaning in (
        ("--ovsdb-key", "the controller's key, unencrypted, for databases of switches with ovsdb: ssl:… in the file"),
        ("--ovsdb-cert", "the controller's certificate for them"),
        ("--ovsdb-ca", "the certificates of the CAs that have signed theirs"),
    ):
        parser.add_argument(option, type=options.path, metavar="PEM", help=meaning)


def _add_etcd(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--etcd", type=options.endpoints, metavar="URL[,URL…]",
                        help="several controllers share this network: they keep enrolments here instead of in "
                             "--database, and agree here who leads (docs/cluster.md)")
    parser.add_argument("--member", type=options.member, metavar="NAME",
                        help="how this controller is called among them (default: the name of the host)")
    parser.add_argument("--peer", type=options.address, metavar="HOST:PORT",
                        help="where it listens for the others (default: the address from which this host reaches "
                             "etcd, port 6654; any port if that is this machine). With --etcd-cert, --etcd-key and "
                             "--etcd-ca it is encrypted")
    parser.add_argument("--advertise-peer", type=options.address, metavar="HOST:PORT",
                        help="where the others reach it, if that is another place: a port that is published for a "
                             "container, or a translated address (default: as --peer)")
    etcd.add_to(parser)


def _run(arguments: argparse.Namespace) -> int:
    etcd.must_fit(arguments, "--member", "--peer", "--advertise-peer")
    user = etcd.user(arguments)
    os.environ.pop(etcd.PASSWORD, None)  # no process that this one starts needs it
    places = arguments.rest or [options.listening(options.REST)]
    _must_have_effect(arguments, places)
    for place in places:
        if place.scheme != "unix" and overlap(arguments.openflow, place[:2]):
            given = f"{written(*arguments.openflow)} (--openflow) and {written(*place[:2])} (--rest)"
            raise ConfigurationError(
                f"OpenFlow and REST cannot have the same address, and {given} are one: give one of them another port"
            )
    ending = Ending()  # before anything that takes time
    eventlet_hub.choose()
    handler = logging.StreamHandler()
    handler.setFormatter(FORMATS[arguments.log_format]())
    logging.basicConfig(level=arguments.log_level.upper(), handlers=[handler])
    for verbose in ("os_ken", "OSKenApp"):
        logging.getLogger(verbose).setLevel(logging.WARNING)
    logging.getLogger("bgpspeaker").setLevel(logging.CRITICAL)  # ``routing.bgp`` reports the same once, and shorter
    from anycast_sdn.ovsdb.database import TlsFiles
    from anycast_sdn.process.binding_log import BindingLogOptions
    from anycast_sdn.process.deployment import EtcdOptions, default_member
    from anycast_sdn.process.rest_service import RestOptions
    from anycast_sdn.process.run import run
    from anycast_sdn.process.switch_tls import OpenFlowOptions

    openflow = OpenFlowOptions(arguments.openflow, arguments.openflow_tls)
    rest = RestOptions(
        places,
        arguments.rest_host,
        arguments.rest_tls_cert,
        arguments.rest_tls_key,
        arguments.rest_client_ca,
        SOCKET_MODE if arguments.rest_socket_mode is None else arguments.rest_socket_mode,
        arguments.tokens,
        arguments.rest_require_if_match,
    )
    log, days = arguments.binding_log, arguments.binding_log_days
    binding_log = BindingLogOptions(Path(log), BINDING_LOG_DAYS if days is None else days) if log else None
    files = (arguments.ovsdb_key, arguments.ovsdb_cert, arguments.ovsdb_ca)
    if any(files) and not all(files):
        raise ConfigurationError("--ovsdb-key, --ovsdb-cert and --ovsdb-ca go together: give all three")
    ovsdb = TlsFiles(*files) if all(files) else None
    several = None
    if arguments.etcd:
        name = arguments.member or default_member()
        peer = arguments.peer, arguments.advertise_peer
        several = EtcdOptions(arguments.etcd, name, etcd.tls(arguments), user, *peer)
    run(ending, arguments.file, openflow, rest, arguments.database, binding_log, ovsdb, several)
    return 0


def _must_have_effect(arguments: argparse.Namespace, places: Iterable[Rest]) -> None:
    """Raises ConfigurationError for an option without what it is about."""
    if arguments.rest_socket_mode is not None and all(place.scheme != "unix" for place in places):
        raise ConfigurationError("--rest-socket-mode is for unix sockets: say where one is (--rest unix:PATH)")
    if arguments.binding_log_days is not None and not arguments.binding_log:
        raise ConfigurationError("--binding-log-days is for the binding log: say where that is (--binding-log)")


def overlap(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Would both listen on one address?  0.0.0.0 stands for all IPv4 addresses of this machine, :: for all."""
    if one[1] != other[1]:
        return False
    here, there = _addresses(one[0]), _addresses(other[0])
    if ipaddress.IPv6Address("::") in here | there:
        return bool(here and there)
    if ipaddress.IPv4Address("0.0.0.0") in here | there:
        return all(any(address.version == 4 for address in found) for found in (here, there))
    return not here.isdisjoint(there)


def _addresses(host: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """What a host resolves to; none if it does not, which is reported when the controller tries to listen."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {ipaddress.ip_address(str(address[0]).partition("%")[0]) for *_, address in found}
