"""HAProxy's agent-check line: what a program on the server says of its service, in one line of ASCII.

The grammar is HAProxy's (configuration manual, ``agent-check``).  Words in any order, separated by blanks, tabs or
commas; CR or LF ends the line; a description may follow ``#``.  What a line does not speak of stays as it was, so each
part of ``AgentLine`` may be None.  A line with a word that is none of these is refused as a whole.

| word | here |
| --- | --- |
| ``up`` | the check of the agent passes |
| ``down``, ``fail``, ``stopped`` | it fails, with the word and the description as its output |
| ``drain``, ``maint`` | the server takes no new flows, and keeps those that it has |
| ``ready`` | it takes new flows again |
| ``75%`` | its weight, as a part of that which the agent was given; ``0%``: none |
| ``maxconn:30`` | its capacity |
"""

from __future__ import annotations

import re
from typing import NamedTuple

MOST = 1024  # bytes of a line
_UP, _DOWN = ("up",), ("down", "fail", "stopped")
_READY, _DRAIN = ("ready",), ("drain", "maint")


class AgentLine(NamedTuple):
    is_up: bool | None = None
    output: str = ""  # the word that says up or down, and the description
    is_draining: bool | None = None
    percent: int | None = None  # of the weight, 0 and more
    max_connections: int | None = None  # 1 and more


def read_line(raw: bytes) -> AgentLine:
    """Raises ValueError with the reason."""
    try:
        line = re.split(r"[\r\n]", raw.decode("ascii"), maxsplit=1)[0]
    except UnicodeDecodeError:
        raise ValueError("it is not ASCII") from None
    if not line.replace("\t", "").isprintable():
        raise ValueError("it has control characters")
    spoken, sharp, description = line.partition("#")
    words = re.split(r"[ \t,]+", spoken.strip(" \t,"))
    if words == [""]:
        raise ValueError("it is empty")
    read = AgentLine()
    for word in words:
        read = _with(read, word.lower())
    if read.output and sharp:
        read = read._replace(output=f"{read.output}: {description.strip()}")
    return read


def _with(line: AgentLine, word: str) -> AgentLine:
    """As HAProxy, the last word of a kind counts."""
    if word in _UP + _DOWN:
        return line._replace(is_up=word in _UP, output=word)
    if word in _READY + _DRAIN:
        return line._replace(is_draining=word in _DRAIN)
    if found := re.fullmatch(r"([0-9]{1,5})%", word):
        return line._replace(percent=int(found[1]))
    if (found := re.fullmatch(r"maxconn:([0-9]{1,9})", word)) and int(found[1]):
        return line._replace(max_connections=int(found[1]))
    raise ValueError(f"{word[:40]!a} is no word of an agent check")
