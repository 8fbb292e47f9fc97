"""What several commands' arguments have in common: how addresses and paths are written, and their defaults."""

from __future__ import annotations

import argparse
import ipaddress
import json
import re
from pathlib import Path
from typing import Any

from anycast_sdn.core.places import Rest
from anycast_sdn.core.redaction import redacted

OPENFLOW, REST = "127.0.0.1:6653", "127.0.0.1:8080"


def command(commands: Any, name: str, summary: str, description: str, *examples: str, **more: Any) -> Any:
    """A command's parser; ``summary`` stands in the list of commands, ``description`` and examples in its own help."""
    epilog = "\n".join(["examples:", *(f"  anycast-sdn {example}" for example in examples)]) if examples else None
    form = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(
        name, help=summary, description=description, epilog=epilog, formatter_class=form, **more
    )


def add_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="network file (YAML)")


def add_openflow(parser: argparse.ArgumentParser) -> None:
    """Where and how switches connect."""
    parser.add_argument("--openflow", type=address, default=OPENFLOW, metavar="HOST:PORT",
                        help="where switches connect (default %(default)s, this machine only; 0.0.0.0 is all its IPv4 "
                             "addresses, [::] IPv6 as well)")
    parser.add_argument("--openflow-tls", type=path, nargs=3, metavar=("CERT", "KEY", "CA"),
                        help="switches connect by TLS: the controller's certificate, its key, unencrypted, and the CAs "
                             "that have signed the switches' certificates, in PEM; 'anycast-sdn pki' makes some. The "
                             "network file says which switch has which")


def rest(text: str) -> Rest:
    """[http://]HOST:PORT, https://HOST[:PORT] or unix:PATH."""
    place = listening(text)
    return place if place.scheme else place._replace(scheme="http")


def listening(text: str) -> Rest:
    """As ``rest``; without a scheme, that depends on other options."""
    if text.startswith("unix:"):
        return Rest(path(text.removeprefix("unix:")), 0, "unix")
    scheme, separator, place = text.rpartition("://")
    if not separator:
        return Rest(*address(text), "")
    place = place.removesuffix("/")
    if scheme not in ("http", "https") or not place or "@" in place:
        raise argparse.ArgumentTypeError(f"{redacted(text)!r} is not HOST:PORT, https://HOST:PORT or unix:PATH")
    has_port = re.search(r":[0-9]+\Z", place.rpartition("]")[2])
    return Rest(*address(place if has_port else f"{place}:{443 if scheme == 'https' else 80}"), scheme)


def mode(text: str) -> int:
    if not re.fullmatch("0?[0-7]{3}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a file's mode such as 660")
    return int(text, 8)


def address(text: str) -> tuple[str, int]:
    """HOST:PORT; an IPv6 address in brackets, because of its colons."""
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


def datapath_id(text: str) -> int:
    """A number as people write it, or 16 hexadecimal digits as switches show it."""
    digits = text.replace(":", "")
    try:
        number = int(digits, 16 if len(digits) == 16 else 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!a} is not a datapath id, as in 1, 0x1 or 0000000000000001")
    return number


def host_name(text: str) -> str:
    """A name as it stands in a Host field, without port and scheme."""
    if not re.fullmatch(r"[0-9A-Za-z._-]+", text) and not _is_ipv6(text):
        example = "controller.example, without http:// and port"
        raise argparse.ArgumentTypeError(f"{text!a} is not a host name, as in {example}")
    return text


def seconds(text: str) -> float:
    """A time to wait, or the like; 0 and more."""
    return _number(text, float, "a number of seconds")


def count(text: str) -> int:
    """A whole number, 0 and more; what is too large, the controller says."""
    return int(_number(text, int, "a whole number"))


def fraction(text: str) -> float:
    return _number(text, float, "a number from 0 to 1", 1.0)


def _number(text: str, kind: type[int] | type[float], what: str, most: float = 1e9) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!a} is not {what}")
    return value


def said(arguments: argparse.Namespace, answer: Any, sentence: str) -> int:
    """Prints what a command has done: for people, or, with --json, the controller's answer → the exit status."""
    print(json.dumps(answer, indent=2) if arguments.json else sentence)
    return 0


def path(text: str) -> str:
    if not text:  # to SQLite, an empty path is a temporary database
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def endpoints(given: str) -> list[str]:
    """The type of --etcd."""
    found = [each.strip() for each in given.split(",") if each.strip()]
    if not found:
        raise argparse.ArgumentTypeError("write URL[,URL…], for example http://192.0.2.1:2379")
    return found


def member(given: str) -> str:
    """The type of --member."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,62})", given, re.IGNORECASE):
        raise argparse.ArgumentTypeError(f"{given!r}: a name has letters, digits, '.' and '-', 63 at most")
    return given
