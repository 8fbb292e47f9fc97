"""What is for people's eyes alone: colours, and text that is drawn again.  A pipe or a file never gets any of it.

Colour only repeats what a word says.  ``NO_COLOR`` in the environment (no-color.org), or ``TERM=dumb``, leaves it out.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from typing import TextIO

_STYLES = {"critical": "1;31", "warning": "33", "passing": "32", "faint": "2", "strong": "1"}
_WORDS = re.compile(r"(?<!\S)(critical|warning|passing)(?!\S)")
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"
_STYLE = re.compile("(\x1b\\[[0-9;]*m)")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but for tab and newline


def is_terminal(stream: TextIO | None = None) -> bool:
    """Can text be drawn again there?  ``stream``: by default, standard output."""
    return (stream or sys.stdout).isatty() and os.environ.get("TERM", "") != "dumb"


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """In the style of ``_STYLES``, if it has this one and the stream is a terminal that wants colours."""
    if style not in _STYLES or os.environ.get("NO_COLOR") or not is_terminal(stream):
        return text
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"


def with_words_styled(text: str) -> str:
    """The words of health in their styles; widths of columns stay as they are."""
    return _WORDS.sub(lambda word: styled(word[0], word[0]), text)


def harmless(text: str) -> str:
    """Without control characters: what others have written does not steer the terminal."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def draw(text: str) -> None:
    """On a terminal in the place of what was drawn before, as much as fits; elsewhere behind it."""
    if not is_terminal():
        print(f"{text}\n", flush=True)
        return
    columns, rows = shutil.get_terminal_size()
    lines = text.split("\n")
    if len(lines) >= rows:
        lines = [*lines[: rows - 2], f"... {len(lines) - rows + 2} more lines"]
    drawn = "".join(f"{_cut(line, columns)}{_CLEAR_LINE}\n" for line in lines)
    print(f"{_HOME}{drawn}{_CLEAR_BELOW}", end="", flush=True)


def _cut(line: str, columns: int) -> str:
    """To fit; styles take no room, and end with the line."""
    parts, left = [], columns
    for part in _STYLE.split(line):
        is_style = part.startswith("\x1b[")
        parts.append(part if is_style else part[:left])
        left -= 0 if is_style else len(parts[-1])
    return "".join(parts)


def clear() -> None:
    """Before the first ``draw``."""
    if is_terminal():
        print(f"\x1b[2J{_HOME}", end="", flush=True)
