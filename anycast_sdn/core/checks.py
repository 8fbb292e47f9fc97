"""Checks: how the servers of a group are watched (M33), as the group's settings say it.

A check says whether a server passes it, and why; it decides nothing.  ARP and ND are a check that each server has
always, without a setting.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class HealthStatus(enum.Enum):
    """What is known of a server (words of Consul); the worst of its checks counts."""

    PASSING = "passing"
    WARNING = "warning"  # serves, with a part of its share
    CRITICAL = "critical"  # takes no new flows
    UNKNOWN = "unknown"  # a check has no result yet, and none says worse: counts as passing


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """How often, and how many results in a row change a server's status (``rise`` and ``fall`` as in HAProxy)."""

    interval_s: float = 5.0  # from one attempt to the next, 0.5–3600
    timeout_s: float = 2.0  # an attempt without an answer fails after this long, 0.1–60
    rise: int = 2  # successes in a row before a failing server passes, 1–100
    fall: int = 3  # failures in a row before a passing server fails, 1–100


@dataclass(frozen=True, slots=True, kw_only=True)
class IcmpCheck(Check):
    """The server answers an ICMP echo request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpCheck(Check):
    """The server accepts a TCP connection, which is reset at once."""

    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpCheck(Check):
    """The server answers a datagram.  With ``dns``, it is a DNS query and the answer has to be NOERROR or NXDOMAIN."""

    port: int
    payload: bytes = b""
    answer: bytes | None = None  # must be in the answer; None: any answer passes
    dns: str = ""  # the name to ask for; then ``payload`` and ``answer`` are empty


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCheck(Check):
    """The agent on the server asks for ``path`` by HTTP, and reports the result."""

    port: int = 80
    path: str = "/"
    expect_status: tuple[int, ...] = ()  # empty: any of 200–399


@dataclass(frozen=True, slots=True, kw_only=True)
class PassiveCheck(Check):
    """Among the server's new flows, enough get a first reply, and in time; nothing is sent."""

    max_unanswered: float = 0.5  # share of first packets, 0–1
    max_first_reply_s: float | None = None  # median; None: no limit


AnyCheck = IcmpCheck | TcpCheck | UdpCheck | HttpCheck | PassiveCheck
