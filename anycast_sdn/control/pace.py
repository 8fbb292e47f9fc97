"""Pace: how much of the controller's work goes into one slice, after which other green threads run."""

from __future__ import annotations

from typing import NamedTuple


class Pace(NamedTuple):
    """How much goes into one slice of work."""

    servers: int = 100  # to decide about
    prefixes: int = 48  # pairs of switch and ANY/n to judge, and prefixes to find routes to
    enrolled: int = 4  # servers whose rules change at all client edges
    changes: int = 1000  # routes that are found to be different
    routes: int = 150  # routes that are judged at a time, and perhaps sent
    rounds: int = 2  # of judging routes, as long as switches hold already what they should
    compared: int = 150  # rules of switches that have connected
    examined: int = 100  # servers whose health may have changed
    freed: int = 64  # flows whose server is lost
    told: int = 250  # servers of whose enrolment their edges are told
