"""Users of etcd: the name and password by which it is asked, where it has users.

A token stands for both.  etcd gives it out, and forgets it when it is started anew, when the password is changed, and
five minutes after it was used last: then a new one is asked for, with the password as it is then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

AUTHENTICATE = "auth/authenticate"
AUTHENTICATE_S = 3.0  # checking a password takes etcd 0.1 to 0.3 s of its processor, on purpose
NO_USERS = "authentication is not enabled"
# What etcd says of a request without a token, or with one that does not count (any more): it has done nothing.
NO_TOKEN = (
    "user name is empty", "invalid auth token", "revision of auth store is old", "revision in header is old",
)  # fmt: skip


class User(NamedTuple):
    """``password``: reads it, where it may have been changed; raises ConfigurationError."""

    name: str
    password: Callable[[], str]


def refuses_token(said: str) -> bool:
    return any(words in said for words in NO_TOKEN)
