"""Problems in a network file: where, why, and which name was probably meant.  ``reason`` serves REST, too."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from anycast_sdn.description.values import NotOfForm


class Problem(NamedTuple):
    path: str  # in the network file, as in "switches[0].dpid"
    reason: str
    written: str = ""  # an unknown name, and ``known``: the names that could have been meant
    known: Collection[str] = ()

    def with_suggestion(self) -> str:
        """The reason, and the known name that is most similar to the written one, if any is similar."""
        return self.reason + did_you_mean(self.written, self.known)


def no_such(kind: str, path: str, written: str, known: Collection[str], before: str = "") -> Problem:
    """The problem of a reference to a name that does not exist; ``before`` begins its sentence."""
    return Problem(path, f"{before}no {kind} is called {written!a}", written, known)


def did_you_mean(written: str, known: Collection[str]) -> str:
    """"; did you mean 'core'?", or "" when no known name is like it.  Costs some 10 µs for each known name."""
    by_lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(written.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!a}?" if close else ""


def reason(error: Any, shown: Callable[[Any], str]) -> str:
    """Why a value was refused: a sentence from one of pydantic's errors.  ``shown`` writes the value."""
    if error["type"] == "value_error":
        failure = error["ctx"]["error"]
        return f"{shown(error['input'])} {failure}" if isinstance(failure, NotOfForm) else str(failure)
    if error["type"] in ("too_short", "too_long"):
        return str(error["msg"]).replace("List should have", "needs").replace(" after validation", "")
    if error["type"] == "union_tag_invalid":
        *others, last = error["ctx"]["expected_tags"].replace("'", "").split(", ")
        return f"{shown(error['ctx']['tag'])} is not {', '.join(others)} or {last}"
    wanted = error["msg"].replace("Input should", "must", 1).replace("integer", "whole number")
    return f"{wanted}, not {shown(error['input'])}"
