"""Options of etcd, which several commands have: where it is, and who we are there.

The rule: an option that would have no effect is refused.  The password is never on the command line, where others of
this machine could read it.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from anycast_sdn.cli import options
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.words import listed

if TYPE_CHECKING:
    from anycast_sdn.etcd.client import Tls
    from anycast_sdn.etcd.users import User

PASSWORD = "ANYCAST_SDN_ETCD_PASSWORD"
LONGEST_PASSWORD = 4096  # bytes

_TLS = ("--etcd-cert", "--etcd-key", "--etcd-ca")
_USER = ("--etcd-user", "--etcd-password-file")


def add_to(parser: Any) -> None:
    """All but --etcd itself."""
    for option, meaning in (
        ("--etcd-cert", "our certificate for etcd; its URLs are https then"),
        ("--etcd-key", "its key, unencrypted, unless that is in the same file"),
        ("--etcd-ca", "the certificates of the CAs that have signed etcd's"),
    ):
        parser.add_argument(option, type=options.path, metavar="PEM", help=meaning)
    parser.add_argument("--etcd-user", type=_user, metavar="NAME",
                        help="our name there, where etcd has users ('etcdctl auth enable')")
    parser.add_argument("--etcd-password-file", type=options.path, metavar="PATH",
                        help=f"the file with its password; without it, the environment's {PASSWORD} is taken")


def must_fit(arguments: argparse.Namespace, *more: str) -> None:
    """Raises ConfigurationError where options are given that have no effect; ``more``: others that need --etcd."""
    given = [name for name in (*more, *_TLS, *_USER) if _given(arguments, name)]
    if given and not arguments.etcd:
        verb = "is" if len(given) == 1 else "are"
        raise ConfigurationError(f"{listed(given)} {verb} for several controllers: say where their etcd is (--etcd)")
    plain = [each for each in arguments.etcd or () if each.startswith("http:")]
    if plain and (files := [name for name in _TLS if name in given]):
        verb = "is" if len(files) == 1 else "are"
        raise ConfigurationError(
            f"{listed(files)} {verb} for TLS, and --etcd has {listed(plain)}: nothing would be encrypted there; write "
            f"https://, or leave {'it' if len(files) == 1 else 'them'} out"
        )
    if arguments.etcd_key and not arguments.etcd_cert:
        raise ConfigurationError("--etcd-key is of a certificate: give that, too, with --etcd-cert")
    if arguments.etcd_password_file and not arguments.etcd_user:
        raise ConfigurationError("--etcd-password-file is of a user: give the name, too, with --etcd-user")


def tls(arguments: argparse.Namespace) -> Tls:
    from anycast_sdn.etcd.client import Tls

    return Tls(arguments.etcd_cert, arguments.etcd_key, arguments.etcd_ca)


def user(arguments: argparse.Namespace) -> User | None:
    """Raises ConfigurationError."""
    from anycast_sdn.etcd.users import User

    if not arguments.etcd_user:
        return None
    file = arguments.etcd_password_file
    given = os.environ.get(PASSWORD, "")
    if not file and not given:
        where = f"--etcd-password-file, or the environment's {PASSWORD}"
        raise ConfigurationError(f"--etcd-user needs its password: {where}")
    found = User(arguments.etcd_user, (lambda: _read(file)) if file else lambda: given)
    found.password()
    return found


def _read(file: str) -> str:
    """Raises ConfigurationError."""
    try:
        with open(file, "rb") as opened:
            found = opened.read(LONGEST_PASSWORD + 1).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise ConfigurationError(f"{file}: the password of --etcd-user cannot be read: {reason}") from error
    if not found or len(found) > LONGEST_PASSWORD:
        raise ConfigurationError(f"{file}: {'is too long for' if found else 'has no'} password (--etcd-password-file)")
    return found


def _user(given: str) -> str:
    """The type of --etcd-user."""
    name, colon, _ = given.partition(":")
    if colon:  # as etcdctl has it
        raise argparse.ArgumentTypeError(
            f"write the name alone, {name!r}; the password is in --etcd-password-file, or the environment's {PASSWORD}"
        )
    if not name:
        raise argparse.ArgumentTypeError("the name is empty")
    return name


def _given(arguments: argparse.Namespace, option: str) -> bool:
    return bool(getattr(arguments, option.strip("-").replace("-", "_")))
