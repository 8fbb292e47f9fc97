"""Questions to programs on this server: an HTTP check, and HAProxy's agent check.  Each has a deadline for the whole.

An HTTP check passes when the first line of the answer has a status from 200 to 399; redirects are not followed, and
certificates are not verified (as kubelet does), because the question is whether the service answers.
"""

from __future__ import annotations

import re
import socket
import ssl
import time
import urllib.parse
from collections.abc import Collection
from typing import NamedTuple

from anycast_sdn.agent import agent_line
from anycast_sdn.core.words import address as written

TIMEOUT_S = 2.0
MOST = 8192  # bytes of a first line
PASSING = frozenset(range(200, 400))


class Result(NamedTuple):
    is_up: bool
    output: str  # why


class HttpTarget(NamedTuple):
    is_https: bool
    host: str
    port: int
    path: str  # with its query

    def __str__(self) -> str:
        return f"http{'s' * self.is_https}://{written(self.host, self.port)}{self.path}"


def http_target(url: str) -> HttpTarget:
    """Raises ValueError."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError(f"{url!a} is not http://HOST[:PORT][/PATH] or https://…")
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    if not re.fullmatch(r"[!-~]+", path):
        raise ValueError(f"{url!a} has characters that a path cannot have: write them as %XX")
    is_https = parts.scheme == "https"
    return HttpTarget(is_https, parts.hostname, parts.port or (443 if is_https else 80), path)


def ask_http(
    target: HttpTarget, passing: Collection[int] = PASSING, timeout_s: float = TIMEOUT_S
) -> Result:
    """``passing``: the statuses with which it passes."""
    request = (
        f"GET {target.path} HTTP/1.1\r\nHost: {written(target.host, target.port)}\r\n"
        "User-Agent: anycast-sdn-agent\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )
    deadline = time.monotonic() + timeout_s
    try:
        with socket.create_connection((target.host, target.port), timeout_s) as connection:
            if not target.is_https:
                line = _first_line(connection, request.encode(), deadline)
            else:
                connection.settimeout(_left(deadline))
                with _UNVERIFIED.wrap_socket(connection, server_hostname=target.host) as secure:
                    line = _first_line(secure, request.encode(), deadline)
    except UnicodeError:  # of the codec "idna"; it is no OSError
        return Result(False, f"{target.host!a} is no host name")
    except OSError as error:
        return Result(False, _reason(error, timeout_s))
    found = re.match(rb"HTTP/1\.[01] ([0-9]{3})(?: |\r?\n|$)", line)
    if not found:
        return Result(False, f"no answer of HTTP: {line[:40]!r}" if line else "closed without an answer")
    return Result(int(found[1]) in passing, f"status {found[1].decode()}")


def ask_agent(address: tuple[str, int], timeout_s: float = TIMEOUT_S) -> agent_line.AgentLine:
    """Raises OSError when nobody answers, and ValueError when what is answered is no line of an agent check."""
    deadline = time.monotonic() + timeout_s
    with socket.create_connection(address, timeout_s) as connection:
        line = _first_line(connection, b"", deadline, agent_line.MOST)
    return agent_line.read_line(line)


def _first_line(connection: socket.socket, request: bytes, deadline: float, most: int = MOST) -> bytes:
    """What is received until the end of a line or of the connection.  Raises OSError, also when that is too much."""
    connection.settimeout(_left(deadline))
    if request:
        connection.sendall(request)
    received = b""
    while not re.search(rb"[\r\n]", received):
        connection.settimeout(_left(deadline))
        if not (data := connection.recv(most)):
            break
        received += data
        if len(received) > most:
            raise OSError(f"more than {most} bytes without the end of a line")
    return received


def _left(deadline: float) -> float:
    if (left := deadline - time.monotonic()) <= 0:
        raise TimeoutError("timed out")
    return left


def _reason(error: OSError, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    return (error.strerror or str(error)).strip() or type(error).__name__


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_UNVERIFIED = _context()
