"""What a token of ours looks like, so that it is recognised where it does not belong: in URLs, in logs, in errors."""

from __future__ import annotations

import re

PREFIX = "asdn_"
_LOOKS_LIKE = re.compile(PREFIX + r"[0-9A-Za-z_-]{16,}")


def has_token(text: str) -> bool:
    return _LOOKS_LIKE.search(text) is not None


def redacted(text: str) -> str:
    return _LOOKS_LIKE.sub(f"{PREFIX}…", text) if PREFIX in text else text
