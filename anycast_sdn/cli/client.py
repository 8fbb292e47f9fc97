"""The client of a running controller's REST interface.

Every failure is an AnycastError with a sentence: ``Refused`` when the controller gives a reason, ``Unreachable`` when
none answers, and AnycastError itself when something else does.

A token comes from a file or from the environment, because everybody on a machine sees the arguments of a program.  It
is sent to the controller that was named and to nobody else: no proxy is used, no redirection followed.
"""

from __future__ import annotations

import argparse
import functools
import http.client
import json
import os
import re
import socket
import ssl
import stat
import sys
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from anycast_sdn.cli import options
from anycast_sdn.core.model import AnycastError
from anycast_sdn.core.places import Rest
from anycast_sdn.core.words import listed

TIMEOUT_S = 10
TOKEN = "ANYCAST_SDN_TOKEN"  # in the environment
LONGEST_TOKEN = 4096  # bytes of a file


class Answer(NamedTuple):
    """What a controller answers when it does as it is asked."""

    status: int
    body: Any  # None when there is none
    location: str  # the path of what was created or begun; empty otherwise


class Refused(AnycastError):
    """The controller gives the reason why it does not do as it is asked."""

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status  # of HTTP


class Unreachable(AnycastError):
    """No controller answers, or its answer does not arrive whole."""


@dataclass(frozen=True, slots=True)
class Controller:
    """Where a controller is, and how we show who we are."""

    rest: Rest
    token: str = field(default="", repr=False)
    ca: str | None = None  # whom we trust to say that it is the controller; None: those that this machine trusts
    certificate: tuple[str, str | None] | None = None  # ours, and its key

    def __str__(self) -> str:
        return str(self.rest)


def asking() -> argparse.ArgumentParser:
    """The arguments of each command that asks a controller."""
    parser = argparse.ArgumentParser(add_help=False)
    add_arguments(parser)
    return parser


def arguments() -> argparse.ArgumentParser:
    """Those of each command that prints what the controller answers."""
    parser = asking()
    parser.add_argument("--json", action="store_true", help="print the controller's answer as JSON, for programs")
    return parser


def add_arguments(parser: argparse.ArgumentParser, **more: Any) -> None:
    """Those that say where the controller is, and who we are.

    ``more``: as ``add_argument``'s; a default of SUPPRESS leaves what stands before the word of the command.
    """
    given = {"default": None} | more
    address = {"default": options.REST} | more
    parser.add_argument("--rest", type=options.rest, metavar="URL", **address,
                        help=f"the controller: HOST:PORT, https://HOST:PORT or unix:PATH (default {options.REST})")
    parser.add_argument("--token-file", metavar="FILE", **given,
                        help=f"the file that holds our token; without it, the environment's {TOKEN} is taken")
    parser.add_argument("--ca", metavar="FILE", **given,
                        help="PEM certificates of who has signed the controller's (https); by default, of those whom "
                             "this machine trusts")
    parser.add_argument("--cert", metavar="FILE", **given, help="our own certificate (https), PEM")
    parser.add_argument("--key", metavar="FILE", **given, help="its key, unless that is in the same file")


def controller(arguments: argparse.Namespace) -> Controller:
    """The one that a command is about."""
    if arguments.key and not arguments.cert:
        raise AnycastError("--key is of a certificate: give that, too, with --cert")
    given = [option for option, file in (("--ca", arguments.ca), ("--cert", arguments.cert)) if file]
    if given and arguments.rest.scheme != "https":
        have = "is" if len(given) == 1 else "are"
        raise AnycastError(f"{listed(given)} {have} for https, and --rest is {arguments.rest}: write https://")
    certificate = (arguments.cert, arguments.key) if arguments.cert else None
    return Controller(arguments.rest, _token(arguments.token_file), arguments.ca, certificate)


def _token(file: str | None) -> str:
    source = file or f"the environment's {TOKEN}"
    given = _content(file) if file else os.environ.get(TOKEN, "")
    token = given.strip()
    if file and not token:
        raise AnycastError(f"{file}: has no token in it")
    if not re.fullmatch(r"[0-9A-Za-z._~+/=-]*", token):
        raise AnycastError(f"{source}: is no token: these have letters, digits, '-' and '_'")
    return token


def _content(file: str) -> str:
    try:
        with open(file, "rb") as opened:
            if (mode := os.fstat(opened.fileno()).st_mode) & 0o077 and stat.S_ISREG(mode):
                print(f"anycast-sdn: {file}: others may read this token: chmod 600 {file}", file=sys.stderr)
            return opened.read(LONGEST_TOKEN).decode("ascii", "replace")
    except OSError as error:
        raise AnycastError(f"{file}: the token cannot be read: {error.strerror}") from error


# -------------------------------------------------------------------------------- questions


def get_all(controller: Controller, path: str, listing: str) -> Any:
    """All pages of a listing as one answer."""
    answer = get(controller, path, listing)
    page = answer
    while following := page.get("next"):
        page = get(controller, urllib.parse.urlsplit(str(following))._replace(scheme="", netloc="").geturl(), listing)
        answer[listing] += page[listing]
    answer.pop("next", None)
    return answer


def get(controller: Controller, path: str, listing: str) -> Any:
    """What is at ``path``: an object with a list under the name ``listing``; any other answer is no controller's."""
    answer = ask(controller, path)
    if not isinstance(answer, dict) or not isinstance(answer.get(listing), list):
        raise no_controller(controller)
    return answer


def ask(
    controller: Controller, path: str, method: str = "GET", timeout_s: float = TIMEOUT_S, body: object = None
) -> Any:
    """The answer's body, which is JSON; None when it is empty."""
    return call(controller, path, method, timeout_s, body).body


def call(
    controller: Controller,
    path: str,
    method: str = "GET",
    timeout_s: float = TIMEOUT_S,
    body: object = None,
    anew: bool = False,
) -> Answer:
    """``body``, unless it is None, is sent as JSON.  ``anew``: only if nothing is there yet; 412 otherwise."""
    fields = _identity(controller)
    if anew:
        fields["If-None-Match"] = "*"
    elif method in ("PATCH", "DELETE"):  # whatever it is like now: they change what they name
        fields["If-Match"] = "*"
    sent = None
    if body is not None:
        fields["Content-Type"], sent = "application/json", json.dumps(body).encode()
    with _failures_named(controller):
        connection = _connection(controller, timeout_s)
        try:
            connection.request(method, path, sent, fields)
            response = connection.getresponse()
            _check(controller, response)
            content = response.read()
        finally:
            connection.close()
        read = json.loads(content) if content else None
        return Answer(response.status, read, response.headers.get("Location", ""))


@contextmanager
def opened(controller: Controller, path: str, fields: dict[str, str], silent_s: float) -> Iterator[Iterator[bytes]]:
    """The lines of an answer that goes on, as they come.  Raises Unreachable when nothing comes for ``silent_s``."""
    with _failures_named(controller):
        connection = _connection(controller, silent_s)
        try:
            connection.request("GET", path, None, _identity(controller) | fields)
            response = connection.getresponse()
            _check(controller, response)
            yield iter(response.readline, b"")
        finally:
            connection.close()


def _identity(controller: Controller) -> dict[str, str]:
    return {"Authorization": f"Bearer {controller.token}"} if controller.token else {}


def _check(controller: Controller, response: http.client.HTTPResponse) -> None:
    """Raises AnycastError when it is no success."""
    if response.status >= 300:
        if detail := _detail(_body(response)):
            raise Refused(detail + _ADVICE.get(response.status, ""), response.status)
        raise AnycastError(f"{no_controller(controller)}: {response.status} {response.reason}")


def path(*names: str) -> str:
    """The path of a resource, by its names below /v1; they may have any characters."""
    return "/v1/" + "/".join(urllib.parse.quote(name, safe=":") for name in names)


def no_controller(controller: Controller) -> AnycastError:
    """Something answers there, but not as a controller does."""
    return AnycastError(f"what answers at {controller} is no controller")


_ADVICE = {401: f" (give a token with --token-file FILE, or in the environment's {TOKEN})"}


def _body(response: http.client.HTTPResponse) -> bytes:
    """Of an error: without it the status remains."""
    try:
        return response.read()
    except (OSError, http.client.HTTPException):
        return b""


def _detail(body: bytes) -> str:
    """The sentence of a problem (RFC 9457); empty when it is none, or did not arrive whole."""
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


# -------------------------------------------------------------------------------- connections


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(controller: Controller, timeout_s: float) -> http.client.HTTPConnection:
    rest = controller.rest
    if rest.scheme == "unix":
        return _UnixConnection(rest.host, timeout_s)
    if rest.scheme == "https":
        trust = _trust(controller.ca, controller.certificate)
        return http.client.HTTPSConnection(rest.host, rest.port, timeout=timeout_s, context=trust)
    return http.client.HTTPConnection(rest.host, rest.port, timeout=timeout_s)


@functools.cache  # a listing may have hundreds of pages
def _trust(ca: str | None, certificate: tuple[str, str | None] | None) -> ssl.SSLContext:
    try:
        trust = ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise AnycastError(f"{ca}: holds no certificates that can be read (PEM): {_words(error)}") from error
    if certificate:
        try:
            trust.load_cert_chain(*certificate, password="")
        except (OSError, ValueError) as error:
            files = " and ".join(str(Path(file)) for file in certificate if file)
            raise AnycastError(f"{files}: no certificate with its key, unencrypted, in PEM: {_words(error)}") from error
    return trust


@contextmanager
def _failures_named(controller: Controller) -> Iterator[None]:
    try:
        yield
    except http.client.IncompleteRead as error:
        raise Unreachable(f"the answer of {controller} has ended before it was whole; is it still running?") from error
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message or _words(error)
        advice = "" if controller.ca else "; if you trust it, give the certificate of who has signed it with --ca"
        raise AnycastError(f"the certificate of {controller} is refused: {reason}{advice}") from error
    except ssl.SSLError as error:
        raise AnycastError(f"{controller}: {_tls_reason(error)}") from error
    except ConnectionResetError as error:
        raise Unreachable(f"what answers at {controller} has ended the connection; is it still running?") from error
    except (http.client.HTTPException, ValueError, RecursionError, BrokenPipeError) as error:
        raise no_controller(controller) from error
    except OSError as error:
        reason = f"{_words(error)}; {_hint(controller, error)}"
        raise Unreachable(f"no controller answers at {controller}: {reason}") from error


def _tls_reason(error: ssl.SSLError) -> str:
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "certificate required" in reason:
        return "it wants a certificate of ours: give one with --cert and --key"
    if "alert" in reason and ("unknown ca" in reason or "certificate" in reason):
        return f"it does not accept our certificate (--cert): {reason}"
    if "wrong version number" in reason or "record layer failure" in reason:
        return "what answers there does not speak TLS: is it http://?"
    return f"TLS failed: {reason}"


def _hint(controller: Controller, error: OSError) -> str:
    if isinstance(error, PermissionError) and controller.rest.scheme == "unix":
        return "its mode says who may open it"
    return "is 'anycast-sdn run' running?"


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    return getattr(error, "strerror", None) or str(error)
