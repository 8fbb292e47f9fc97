"""Heads and bodies of HTTP/1.1 requests (RFC 9112): bytes in, values out; nothing here reads or sends.

The rules this file keeps:

- A request that a proxy before us could parse in another way is refused (RFC 9112 §11.2, request smuggling).  So lines
  end with CR LF, names and values have the characters that the RFC allows and no others, no line is folded, and a body
  has one length that is given once.
- A refusal is a ``Problem``; the connection is not used any further.
- Every line, every head and every number has a limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

from anycast_sdn.api.problems import Problem

MAX_REQUEST_LINE = 8192  # bytes
MAX_HEAD = 32768  # bytes, with the request line
MAX_FIELDS = 100
MAX_CHUNKS = 2000  # in one body
MAX_CHUNK_LINE = 256  # bytes: a chunk's length with its extensions, or a trailer

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_REQUEST_LINE = re.compile(rb"(%s{1,32}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])" % _TOKEN)
_FIELD = re.compile(rb"(%s{1,256}):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*" % _TOKEN)
_STARTS = re.compile(rb"%s|\r?\Z" % _TOKEN)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[\t\x20-\x7e]*)?\r\n")
_ABSOLUTE = re.compile(r"https?://([^/?#]*)([^?#]*)(\?[^#]*)?", re.IGNORECASE)
_ORIGIN_FORM = re.compile(r"(/[^?#]*)(\?[^#]*)?")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{0,5})?")
_ONCE = ("authorization", "host", "content-length", "content-type", "transfer-encoding", "expect")  # they are no lists


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body."""

    method: str
    raw_path: str  # as it was sent, percent-encoded; "*" asks about the server as a whole
    query: str
    authority: str  # the host, or host:port, that it is for; "" when an HTTP/1.0 request has none
    fields: dict[str, str]  # by name in lower case; of several with one name the values are joined by commas
    keep_alive: bool
    length: int | None  # of the body; None: it is chunked

    @property
    def path(self) -> bytes:
        return unquote_to_bytes(self.raw_path)

    @property
    def expects_continue(self) -> bool:
        return "expect" in self.fields and self.length != 0


def end_of_head(received: bytes) -> int:
    """The length in bytes of the head that ``received`` begins with; 0 when it is not complete yet.

    Raises Problem as soon as it cannot become a valid head.
    """
    start = 2 if received.startswith(b"\r\n") else 0  # RFC 9112 §2.2: an empty line before it is ignored
    if received[start:] and not _STARTS.match(received, start):
        raise Problem(400, "what was sent is not HTTP")
    line_end = received.find(b"\r\n", start)
    if (line_end if line_end >= 0 else len(received)) - start > MAX_REQUEST_LINE:
        raise Problem(414, f"the request line may have {MAX_REQUEST_LINE} bytes at most")
    end = received.find(b"\r\n\r\n", start)
    head = received[:end] if end >= 0 else received
    if re.search(rb"(?<!\r)\n|\r(?!\n)(?!\Z)", head):
        raise Problem(400, "lines end with CR LF, and neither of them stands alone")
    if (end if end >= 0 else len(received)) > MAX_HEAD or head.count(b"\n") > MAX_FIELDS + 1:
        raise Problem(431, f"a head may have {MAX_HEAD} bytes and {MAX_FIELDS} header fields at most")
    return end + 4 if end >= 0 else 0


def parse_head(head: bytes) -> Head:
    """``head``: up to and with the empty line.  Raises Problem."""
    request_line, *lines = head.removeprefix(b"\r\n").removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(request_line)
    if not found:
        raise Problem(400, "the request does not begin with a line such as GET /healthz HTTP/1.1")
    method, target, major, minor = (part.decode() for part in found.groups())
    if (major, minor) not in (("1", "0"), ("1", "1")):
        raise Problem(505, f"this server speaks HTTP/1.1 and HTTP/1.0, not HTTP/{major}.{minor}")
    fields = _fields(lines)
    if minor == "1" and "host" not in fields:
        raise Problem(400, "a request needs a Host field")  # RFC 9112 §3.2
    if minor == "0":
        fields.pop("expect", None)  # RFC 9110 §10.1.1: HTTP/1.0 has no 100 Continue
    path, query, authority = _target(method, target, fields.get("host", ""))
    if "expect" in fields and fields["expect"].lower() != "100-continue":
        raise Problem(417, "the only expectation that can be met is 100-continue")
    options = [option.strip().lower() for option in fields.get("connection", "").split(",")]
    keep_alive = minor == "1" and "close" not in options
    return Head(method, path, query, authority, fields, keep_alive, _length(fields, minor))


def _fields(lines: list[bytes]) -> dict[str, str]:
    if len(lines) > MAX_FIELDS:
        raise Problem(431, f"a head may have {MAX_FIELDS} header fields at most")
    fields: dict[str, str] = {}
    for line in lines:
        found = _FIELD.fullmatch(line)
        if not found:
            raise Problem(400, "a header field is not NAME: VALUE, on one line")
        name, value = found[1].decode().lower(), found[2].decode("latin-1")
        if name in fields and name in _ONCE:
            raise Problem(400, f"there are two {found[1].decode()} fields")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _target(method: str, target: str, host: str) -> tuple[str, str, str]:
    """→ (path, query, authority), of any form of RFC 9112 §3.2 that is for an origin server."""
    if target == "*" and method == "OPTIONS":
        path, query, authority = "*", "", host
    elif found := _ORIGIN_FORM.fullmatch(target):
        path, query, authority = found[1], found[2] or "", host
    elif found := _ABSOLUTE.fullmatch(target):
        path, query, authority = found[2] or ("*" if method == "OPTIONS" else "/"), found[3] or "", found[1]
        if not authority:
            raise Problem(400, "the request's URI names no host")
    else:
        raise Problem(400, "the request's target is neither a path such as /healthz nor an http URI")
    for given in (host, authority):
        if given and not _AUTHORITY.fullmatch(given):
            raise Problem(400, "the host that the request is for is not HOST or HOST:PORT")
    return path, query.removeprefix("?"), authority


def _length(fields: dict[str, str], minor: str) -> int | None:
    """RFC 9112 §6.3, read strictly.  None: the body is chunked."""
    if "transfer-encoding" in fields:
        if "content-length" in fields:
            raise Problem(400, "a body has a Content-Length or a Transfer-Encoding, not both")
        if minor == "0":
            raise Problem(400, "HTTP/1.0 has no Transfer-Encoding")
        if fields["transfer-encoding"].lower() != "chunked":
            raise Problem(501, "the only Transfer-Encoding that is understood is chunked")
        return None
    length = fields.get("content-length", "0")
    if not re.fullmatch("[0-9]{1,15}", length):
        raise Problem(400, "the Content-Length is not a number")
    return int(length)


class Source(Protocol):
    """Where a body comes from."""

    def take(self, size: int) -> bytes:
        """``size`` bytes; fewer at the end of the connection."""

    def take_line(self, limit: int) -> bytes:
        """Up to and with the next LF, if it is among the next ``limit`` bytes; else these, without it."""


class Body:
    """A request's body, as ``wsgi.input``: only ``read`` waits for bytes."""

    def __init__(self, length: int | None, source: Source, begin: Callable[[], None] = lambda: None) -> None:
        """``length``: None when it is chunked.  ``begin`` is called before the first byte is asked for."""
        self._source = source
        self._begin = begin
        self._begun = False
        self._chunked = length is None
        self._left = length or 0  # of the body, or of this chunk
        self._chunks = 0
        self.whole = length == 0  # has all of it been read?

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer at the end.  Raises Problem when the chunked coding is malformed."""
        if not self._begun and not self.whole:
            self._begun = True
            self._begin()
        return self._read_chunks(size) if self._chunked else self._read(size)

    def _read(self, size: int) -> bytes:
        data = self._source.take(min(size, self._left))
        self._left -= len(data)
        self.whole = not self._left
        return data

    def _read_chunks(self, size: int) -> bytes:
        body = bytearray()
        while not self.whole and len(body) < size:
            if not self._left:
                self._next_chunk()
            if self._left:
                body += (data := self._source.take(min(self._left, size - len(body))))
                self._left -= len(data)
                if not data:
                    raise Problem(400, "the connection ended in a chunk")
                if not self._left and self._source.take(2) != b"\r\n":
                    raise Problem(400, "a chunk is longer than it says")
        return bytes(body)

    def _next_chunk(self) -> None:
        found = _CHUNK.fullmatch(self._source.take_line(MAX_CHUNK_LINE))
        self._chunks += 1
        if not found:
            raise Problem(400, "a chunk does not begin with its length")
        if self._chunks > MAX_CHUNKS:
            raise Problem(413, f"a body may have {MAX_CHUNKS} chunks at most")
        self._left = int(found[1], 16)
        if not self._left:
            self._skip_trailers()

    def _skip_trailers(self) -> None:
        for _ in range(MAX_FIELDS):
            line = self._source.take_line(MAX_CHUNK_LINE)
            if line == b"\r\n":
                self.whole = True
                return
            if not line.endswith(b"\r\n") or not _FIELD.fullmatch(line[:-2]):
                break
        raise Problem(400, "a trailer is not NAME: VALUE, on one line")
