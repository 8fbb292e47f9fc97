"""The dashboard's files, at /ui: they are in the package, hold no data, and are open to everybody who is served.

The rules this file keeps:

- The files are read once, at start, and a request finds them by their whole name: no path leads anywhere else.
- A page loads and asks nothing but this controller, and stands in no other page's frame (content security policy).
- A browser asks each time whether a file is as it was (ETag), so a page never meets a controller of another version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, NamedTuple

from anycast_sdn.api.problems import Problem

ROOT = "/ui/"
INDEX = "index.html"

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "woff2": "font/woff2",
}
_SECURITY = [
    ("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
]


class _File(NamedTuple):
    content: bytes
    type: str
    tag: str


class Pages:
    """A WSGI application for the paths of which ``has`` is true."""

    def __init__(self, found: Mapping[str, bytes]) -> None:
        """``found``: the files by their paths below /ui/."""
        self._files = {
            name: _File(content, _type(name), f'"{hashlib.sha256(content).hexdigest()[:32]}"')
            for name, content in found.items()
        }

    def has(self, path: str) -> bool:
        return path in ("/", "/ui") or path.startswith(ROOT)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Raises Problem."""
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            raise Problem(405, "pages take HEAD, GET", headers={"Allow": "HEAD, GET"})
        if not path.startswith(ROOT):
            # Relative, because a proxy may have put a prefix before our paths.
            start_response("302 Found", [("Location", ROOT[1:]), ("Content-Length", "0"), *_SECURITY])
            return ()
        file = self._files.get(path[len(ROOT) :] or INDEX)
        if file is None:
            raise Problem(404, "the dashboard has no such file")
        headers = [("ETag", file.tag), ("Cache-Control", "no-cache"), *_SECURITY]
        if _is_among(file.tag, environ.get("HTTP_IF_NONE_MATCH", "")):
            start_response("304 Not Modified", headers)
            return ()
        start_response("200 OK", [("Content-Type", file.type), ("Content-Length", str(len(file.content))), *headers])
        return (file.content,) if method == "GET" else ()


def of_package() -> Pages:
    """Those that are installed with this code."""
    return Pages(dict(_all_below(files("anycast_sdn") / "web")))


def _all_below(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir():
            yield from _all_below(entry, f"{prefix}{entry.name}/")
        elif _type(entry.name):
            yield prefix + entry.name, entry.read_bytes()


def _type(name: str) -> str:
    """ "" for what no page needs."""
    return _TYPES.get(name.rpartition(".")[2], "")


def _is_among(tag: str, given: str) -> bool:
    """RFC 9110 §13.1.2: tags are compared weakly, because a proxy that compresses weakens them."""
    return given.strip() == "*" or tag in (each.strip().removeprefix("W/") for each in given.split(","))
