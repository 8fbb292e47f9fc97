"""The client of a running controller's REST interface.

Every failure is an AnycastError with a sentence: ``Refused`` when the controller gives a reason, ``Unreachable`` when
none answers, and AnycastError itself when something else does.
"""

from __future__ import annotations

import argparse
import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

from anycast_sdn.cli import options
from anycast_sdn.core.model import AnycastError
from anycast_sdn.core.words import address as written

TIMEOUT_S = 10


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


def arguments() -> argparse.ArgumentParser:
    """The arguments of each command that asks a controller."""
    asking = argparse.ArgumentParser(add_help=False)
    asking.add_argument("--rest", type=options.address, default=options.REST, metavar="HOST:PORT",
                        help="the controller's REST address (default %(default)s)")
    asking.add_argument("--json", action="store_true", help="print the controller's answer as JSON, for programs")
    return asking


def get_all(address: tuple[str, int], path: str, listing: str) -> Any:
    """All pages of a listing as one answer."""
    answer = get(address, path, listing)
    page = answer
    while following := page.get("next"):
        page = get(address, urllib.parse.urlsplit(str(following))._replace(scheme="", netloc="").geturl(), listing)
        answer[listing] += page[listing]
    answer.pop("next", None)
    return answer


def get(address: tuple[str, int], path: str, listing: str) -> Any:
    """What is at ``path``: an object with a list under the name ``listing``; any other answer is no controller's."""
    answer = ask(address, path)
    if not isinstance(answer, dict) or not isinstance(answer.get(listing), list):
        raise no_controller(address)
    return answer


def ask(
    address: tuple[str, int], path: str, method: str = "GET", timeout_s: float = TIMEOUT_S, body: object = None
) -> Any:
    """The answer's body, which is JSON; None when it is empty."""
    return call(address, path, method, timeout_s, body).body


def call(
    address: tuple[str, int], path: str, method: str = "GET", timeout_s: float = TIMEOUT_S, body: object = None
) -> Answer:
    """``body``, unless it is None, is sent as JSON."""
    url = f"http://{written(*address)}"
    request = urllib.request.Request(url + path, method=method)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with _DIRECT.open(request, timeout=timeout_s) as response:
            content = response.read()
            read = json.loads(content) if content else None
            return Answer(response.status, read, response.headers.get("Location", ""))
    except urllib.error.HTTPError as error:
        if detail := _detail(error):
            raise Refused(detail, error.code) from error
        status = f"{error.code} {error.reason}".partition("\n")[0]  # urllib has more lines of its own
        raise AnycastError(f"{no_controller(address)}: {status}") from error
    except http.client.IncompleteRead as error:
        raise Unreachable(f"the answer of {url} has ended before it was whole; is it still running?") from error
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        words = getattr(reason, "strerror", None) or reason
        raise Unreachable(f"no controller answers at {url}: {words}; is 'anycast-sdn run' running?") from error
    except (http.client.HTTPException, ConnectionError, ValueError, RecursionError) as error:
        raise no_controller(address) from error


def no_controller(address: tuple[str, int]) -> AnycastError:
    """Something answers there, but not as a controller does."""
    return AnycastError(f"what answers at http://{written(*address)} is no controller")


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # through no proxy, whatever the environment


def _detail(error: urllib.error.HTTPError) -> str:
    """The sentence of a problem (RFC 9457); empty when it is none, or does not arrive whole."""
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError, RecursionError, OSError, http.client.HTTPException):
        return ""
