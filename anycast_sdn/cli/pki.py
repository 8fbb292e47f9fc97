"""``pki init``, ``pki switch``, ``pki controller``, ``pki list``: certificates for a testbed, where there is no CA yet.

Nothing here talks to a controller or a switch: files are made, and it is said where they belong.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anycast_sdn.cli import options
from anycast_sdn.cli.tables import table
from anycast_sdn.core.model import AnycastError
from anycast_sdn.core.words import listed

if TYPE_CHECKING:
    from anycast_sdn.trust.pki import Made, Pki

_ABOUT = """\
Make a small CA, and certificates by which switches and controllers know each other ('run --openflow-tls'). It is meant
for testbeds and small networks; certificates of any other CA do as well. Keys are not encrypted: keep the directory
on a host that you trust, and copy to a switch its own key only."""

_SWITCH = """\
Make the certificates of these switches. With --network, each has the name that the network file binds its switch to
(certificate:, or else the switch's name); without names, those that are not there yet are made for all of its switches.
Bridges of one Open vSwitch have one certificate: write the same name at certificate: of each."""

_LATER = "Certificates that are there stay as they are, unless --force says otherwise."


def add_to(commands: Any) -> None:
    pki = options.command(
        commands, "pki", "certificates of switches and controllers", _ABOUT,
        "pki init --host 192.0.2.1",
        "pki switch --network my.yaml",
        "pki list",
    )  # fmt: skip
    verbs = pki.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_init(verbs)
    _add_controller(verbs)
    _add_switch(verbs)
    listing = options.command(
        verbs, "list", "list certificates", "List the certificates that there are, and until when.", "pki list --json"
    )
    listing.add_argument("--json", action="store_true", help="print JSON, for programs")
    listing.set_defaults(act=_list)
    _add_place(listing)


def _add_init(verbs: Any) -> None:
    init = options.command(
        verbs, "init", "make a CA, and a controller's certificate",
        f"Make a CA, and the certificate of a controller. {_LATER}",
        "pki init", "pki init --dir /etc/anycast-sdn/pki --host controller.example --host 192.0.2.1",
    )  # fmt: skip
    init.add_argument("--name", default="anycast-sdn CA", metavar="NAME", help="the CA's (default %(default)s)")
    init.add_argument("--ca-days", type=_days, metavar="DAYS", help="how long the CA is valid (default 3650)")
    _add_hosts(init)
    _add_certificate(init)
    init.set_defaults(act=_init)


def _add_controller(verbs: Any) -> None:
    controller = options.command(
        verbs, "controller", "make the certificate of a further controller",
        f"Make the certificate of a further controller, a member of a cluster. {_LATER}",
        "pki controller b --host 192.0.2.2",
    )  # fmt: skip
    controller.add_argument("name", metavar="NAME", help="how it is called among them")
    _add_hosts(controller)
    _add_certificate(controller)
    controller.set_defaults(act=_controller)


def _add_switch(verbs: Any) -> None:
    switch = options.command(
        verbs, "switch", "make certificates of switches", f"{_SWITCH}\n{_LATER}",
        "pki switch --network my.yaml", "pki switch arh1 ars2",
    )  # fmt: skip
    switch.add_argument("names", nargs="*", metavar="NAME",
                        help="a switch of the network file; without that file, of any switch")
    switch.add_argument("--network", type=Path, metavar="FILE", help="the network file")
    _add_certificate(switch)
    switch.set_defaults(act=_switch)


def _add_hosts(verb: Any) -> None:
    verb.add_argument("--host", type=options.host_name, action="append", default=[], metavar="NAME",
                      help="a name or an address by which switches reach it, for switches that look at that (Open "
                           "vSwitch does not); may be repeated (default: those of this host)")


def _add_certificate(verb: Any) -> None:
    verb.add_argument("--days", type=_days, metavar="DAYS", help="how long it is valid (default 730)")
    verb.add_argument("--key", choices=("ec", "rsa"), default="ec",
                      help="the kind of key: ec (P-256), or rsa (3072 bits) for switches that take nothing else: they "
                           "need it of the CA and the controller, too (default %(default)s)")
    verb.add_argument("--force", action="store_true", help="replace what is there")
    _add_place(verb)


def _add_place(verb: Any) -> None:
    verb.add_argument("--dir", type=options.path, default="pki", metavar="PATH",
                      help="the directory of the CA (default %(default)s, in the current directory)")


def _days(text: str) -> int:
    days = options.count(text)
    if not 1 <= days <= 36500:
        raise argparse.ArgumentTypeError(f"{text} is no number of days from 1 to 36500")
    return days


def _pki(arguments: argparse.Namespace) -> Pki:
    from anycast_sdn.trust.pki import Pki

    return Pki(Path(arguments.dir))


def _hosts(arguments: argparse.Namespace) -> list[str]:
    return arguments.host or list(dict.fromkeys([socket.gethostname(), "localhost", "127.0.0.1", "::1"]))


def _init(arguments: argparse.Namespace) -> int:
    from anycast_sdn.trust import pki as making

    pki = _pki(arguments)
    days = arguments.days or making.DAYS
    present = [path for path in (*pki.ca, *pki.controller()) if path.exists()]
    if present and not arguments.force:
        raise making.PkiError(
            f"{present[0]} is there already, and stays as it is: another CA would make all certificates of this one "
            "worthless (--force replaces it)"
        )
    hosts = _hosts(arguments)
    making.alternative_names(making.CONTROLLER, hosts)  # what is wrong with them is told before there is a CA
    pki.make_ca(arguments.name, arguments.key, arguments.ca_days or making.CA_DAYS, replace=arguments.force)
    made = pki.make(pki.controller(), making.CONTROLLER, hosts, arguments.key, days, is_server=True,
                    replace=arguments.force)  # fmt: skip
    _say(f"{pki.directory} has a CA, and the certificate of a controller. Next:")
    _say(f"  anycast-sdn pki switch --network FILE --dir {pki.directory}")
    _say(f"  anycast-sdn run FILE --openflow-tls {made.certificate} {made.key} {pki.ca.certificate}")
    return 0


def _controller(arguments: argparse.Namespace) -> int:
    from anycast_sdn.trust import pki as making

    pki = _pki(arguments)
    made = pki.make(pki.controller(arguments.name), arguments.name, _hosts(arguments), arguments.key,
                    arguments.days or making.DAYS, is_server=True, replace=arguments.force)  # fmt: skip
    _warn_of_other_keys(pki, arguments.key)
    _say(f"its controller: anycast-sdn run FILE --openflow-tls {made.certificate} {made.key} {pki.ca.certificate}")
    return 0


def _switch(arguments: argparse.Namespace) -> int:
    from anycast_sdn.trust import pki as making

    pki = _pki(arguments)
    names = _bound(arguments.network, arguments.names) if arguments.network else dict.fromkeys(arguments.names)
    if not names:
        raise AnycastError("which switches? Give their names, or --network FILE for all of that file")
    all_of_file = not arguments.names
    places = {name: pki.switch(name) for name in names}
    for name, place in places.items():
        if all_of_file and not arguments.force and all(path.exists() for path in place):
            _say(f"{place.certificate} is there already, and stays as it is")
            continue
        days = arguments.days or making.DAYS
        pki.make(place, name, (), arguments.key, days, is_server=False, replace=arguments.force)
        _say_where(name, names[name] or [], place, pki)
    _warn_of_other_keys(pki, arguments.key)
    return 0


def _warn_of_other_keys(pki: Pki, algorithm: str) -> None:
    if algorithm == "rsa" and pki.signs_with() != "rsa":
        _say(f"A switch that takes RSA keys only takes no certificate of this CA: {pki.ca.key} is an EC key.")
        _say("For another CA and controller, after which the switches' are made anew:")
        _say(f"  anycast-sdn pki init --key rsa --dir {pki.directory} --force")


def _bound(file: Path, given: list[str]) -> dict[str, list[str] | None]:
    """Names of certificates → the switches that are bound to them.  Raises AnycastError."""
    from anycast_sdn.description import reading
    from anycast_sdn.trust.certificate import FINGERPRINT

    network = reading.load(file)
    known = {switch.name for switch in network.switches}
    if unknown := [name for name in given if name not in known]:
        raise AnycastError(f"{file} has no switch {listed(unknown)}; it has {listed(sorted(known))}")
    bound: dict[str, list[str] | None] = {}
    for switch in network.switches:
        if given and switch.name not in given:
            continue
        if switch.bound_to.startswith(FINGERPRINT):
            raise AnycastError(
                f"{file} binds {switch.name} to one certificate by its fingerprint, and a new one has another: write a "
                "name at certificate:, or leave it out, and name the other switches here"
            )
        bound[switch.bound_to] = [*(bound.get(switch.bound_to) or []), switch.name]
    return bound


def _say_where(name: str, switches: list[str], made: Made, pki: Pki) -> None:
    of = f" (switches {listed(switches)})" if len(switches) > 1 else ""
    _say(f"{made.certificate} is for {name}{of}; on the host of its Open vSwitch:")
    _say(f"  ovs-vsctl set-ssl {made.key.absolute()} {made.certificate.absolute()} {pki.ca.certificate.absolute()}")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _list(arguments: argparse.Namespace) -> int:
    found = _pki(arguments).listed()
    if arguments.json:
        shown = [each._asdict() | {"until": f"{each.until:%Y-%m-%dT%H:%M:%SZ}"} for each in found]
        print(json.dumps({"certificates": shown}, indent=2))
        return 0
    now = datetime.now(UTC)
    print(table([
        {
            "file": each.file,
            "name": each.name,
            "until (UTC)": f"{each.until:%Y-%m-%d %H:%M}{' (has expired)' if each.until <= now else ''}",
            "certificate": each.fingerprint,
        }
        for each in found
    ]))  # fmt: skip
    return 0
