"""What the agent and the controller say to each other, as values; the client that carries it is in ``cli``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

TIMEOUT_S = 10.0


class Request(NamedTuple):
    method: str
    path: str
    body: Any = None  # sent as JSON
    timeout_s: float = TIMEOUT_S
    anew: bool = False  # only if nothing is there yet; 412 otherwise

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


class Answer(NamedTuple):
    status: int  # of HTTP; 0 when no controller has answered
    body: Any = None  # JSON
    location: str = ""  # the path of what was begun
    reason: str = ""  # a sentence, when it was not done

    @property
    def is_done(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_refused(self) -> bool:
        """The request itself is at fault; the same one would be refused again."""
        return 400 <= self.status < 500 and self.status not in (408, 429)


Ask: TypeAlias = Callable[[Request], Answer]  # waits for the answer; raises nothing
