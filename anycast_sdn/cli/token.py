"""``token add``, ``token list``, ``token revoke``: who may use the REST interface, on the controller's host.

A token is printed once, to standard output, and never stored, logged or listed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anycast_sdn.cli import options
from anycast_sdn.cli.tables import table
from anycast_sdn.core.model import packed, text

if TYPE_CHECKING:
    from anycast_sdn.api.tokens import Token

_ABOUT = """\
Add, list and revoke the tokens that REST clients need. The controller reads their file at its start and at SIGHUP
(systemctl reload anycast-sdn). As long as there is no file, only clients of the controller's own machine are served."""

_ADD = """\
Make a token and print it: this is the only time that it is shown. The file has its SHA-256.

Scopes: read (everything that is shown), enrol:GROUP (the servers of this group; enrol:* of any group),
admin (everything)."""

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def add_to(commands: Any) -> None:
    token = options.command(commands, "token", "who may use REST", _ABOUT, "token add ci --scope read", "token list")
    verbs = token.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_add(verbs)
    listing = options.command(
        verbs, "list", "list tokens, without what is secret", "List who has which rights.", "token list --json"
    )
    listing.add_argument("--json", action="store_true", help="print JSON, for programs")
    listing.set_defaults(act=_list)
    revoke = options.command(
        verbs, "revoke", "revoke a token", "Revoke a token, by its name.", "token revoke ci"
    )
    revoke.add_argument("name", metavar="NAME")
    revoke.set_defaults(act=_revoke)
    for verb in (listing, revoke):
        _add_place(verb)


def _add_add(verbs: Any) -> None:
    add = options.command(
        verbs, "add", "make a token", _ADD,
        "token add ci --scope read --expires 90d",
        "token add web1 --scope enrol:web --server 10.2.0.10 > web1.token",
    )  # fmt: skip
    add.add_argument("name", metavar="NAME", help="whose it is")
    add.add_argument("--scope", action="append", required=True, metavar="SCOPE",
                     help="read, enrol:GROUP, enrol:* or admin; may be repeated")
    add.add_argument("--server", type=_address, action="append", default=[], metavar="ADDRESS",
                     help="it enrols this server alone; may be repeated, as for a server with two addresses")
    add.add_argument("--expires", type=_expiry, metavar="WHEN",
                     help="after a time such as 12h, 90d or 52w, or at one such as 2027-01-31 (UTC); never by default")
    add.add_argument("--certificate", metavar="CN",
                     help="instead of a token: the name in client certificates that has these rights")
    add.add_argument("--requests-per-s", type=float, default=100, metavar="N", help="default %(default)s")
    add.add_argument("--burst", type=int, default=500, metavar="N", help="requests at once (default %(default)s)")
    add.add_argument("--concurrent", type=int, default=32, metavar="N",
                     help="requests that are being answered at the same time (default %(default)s)")
    add.set_defaults(act=_add)
    _add_place(add)


def _add_place(verb: Any) -> None:
    where = verb.add_mutually_exclusive_group()
    where.add_argument("--database", type=options.path, default="anycast-sdn.sqlite", metavar="PATH",
                       help="the controller's --database: the tokens are beside it (default %(default)s)")
    where.add_argument("--file", type=options.path, metavar="PATH", help="the file of tokens, as in 'run --tokens'")


def _place(arguments: argparse.Namespace) -> Path:
    from anycast_sdn.api import token_file
    from anycast_sdn.api.tokens import TokensError

    place = Path(arguments.file) if arguments.file else token_file.beside(arguments.database)
    if place is None:
        raise TokensError("a database in memory has no place beside it: say --file PATH, and 'run --tokens PATH'")
    return place


def _add(arguments: argparse.Namespace) -> int:
    from pydantic import ValidationError

    from anycast_sdn.api import token_file, tokens

    place = _place(arguments)
    secret = "" if arguments.certificate else tokens.secret_of(os.urandom(32))
    members = {
        "name": arguments.name,
        "sha256": tokens.sha256_of(secret) if secret else None,
        "certificate": arguments.certificate,
        "scopes": sorted(set(arguments.scope)),
        "servers": sorted(set(arguments.server)),
        "created": datetime.now(UTC).replace(microsecond=0),
        "expires": arguments.expires,
        "requests_per_s": arguments.requests_per_s,
        "burst": arguments.burst,
        "concurrent": arguments.concurrent,
    }
    try:
        entry = tokens.Token.model_validate(members)
    except ValidationError as error:
        raise tokens.TokensError(tokens.reason(error)) from None
    token_file.change(place, lambda present: present.with_entry(entry), create=True)
    print(f"{place}: {entry.name} was added; the controller reads it at SIGHUP, or when it starts", file=sys.stderr)
    if secret:
        print(secret)
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from anycast_sdn.api import token_file

    known, warning = token_file.read(_place(arguments))
    if warning:
        print(f"anycast-sdn: {warning}", file=sys.stderr)
    if arguments.json:
        shown = [entry.model_dump(mode="json", exclude={"sha256"}, exclude_none=True) for entry in known]
        print(json.dumps({"tokens": shown}, indent=2))
        return 0
    print(table([_row(entry) for entry in known]) if len(known) else "no tokens")
    return 0


def _row(entry: Token) -> dict[str, Any]:
    expires = f"{entry.expires:%Y-%m-%d %H:%M}" if entry.expires else "never"
    return {
        "name": entry.name,
        "scopes": " ".join(entry.scopes),
        "servers": " ".join(entry.servers),
        "by": f"certificate {entry.certificate}" if entry.certificate else "token",
        "expires (UTC)": f"{expires} (has expired)" if entry.has_expired(datetime.now(UTC)) else expires,
    }


def _revoke(arguments: argparse.Namespace) -> int:
    from anycast_sdn.api import token_file

    place = _place(arguments)
    token_file.change(place, lambda present: present.without(arguments.name))
    print(f"{place}: {arguments.name} is revoked as soon as the controller gets SIGHUP", file=sys.stderr)
    return 0


def _address(given: str) -> str:
    try:
        return text(packed(given))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{given!a} is not an IP address") from None


def _expiry(given: str) -> datetime:
    now = datetime.now(UTC).replace(microsecond=0)
    if found := re.fullmatch(r"(?!0+[mhdw])([0-9]{1,5})([mhdw])", given):
        return now + timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    try:
        moment = datetime.fromisoformat(given)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{given!a} is no time such as 90d, and no date such as 2027-01-31") from None
    if moment <= now:
        raise argparse.ArgumentTypeError(f"{given} is over already")
    return moment
