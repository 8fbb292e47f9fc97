"""Time to the first reply, and loss, in this minute and the one before: of each group's sites and servers, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.histogram import SECONDS, quantile
from anycast_sdn.core.model import text


def reply_views(
    controller: Controller, group: str | None, now: float, turn: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    """``group``: of this one alone."""
    for name in list(controller.groups.names()):
        if group in (None, name):
            servers = list(_servers(controller, name, now, turn))
            yield {"group": name, "sites": list(_sites(controller, name, now)), "servers": servers}


def _sites(controller: Controller, group: str, now: float) -> Iterator[dict[str, Any]]:
    """Those whose clients have begun flows to the group."""
    for edge, engine in controller.reply_times.edges.items():
        totals = engine.first_replies.of_groups.get(group)
        refused, unanswered, *answered = map(int, totals.recent(now)) if totals else (0, 0, 0)
        if refused or unanswered or any(answered):
            p50, p95 = (quantile(share, SECONDS, answered) for share in (0.5, 0.95))
            yield {
                "edge": edge,
                **_counts(sum(answered), refused, unanswered),
                "first_reply_p50_ms": _ms(p50),
                "first_reply_p95_ms": _ms(p95),
            }


def _servers(controller: Controller, group: str, now: float, turn: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """Those that have got new flows, or may have."""
    for address, of in list(controller.reply_times.of_servers.get(group, {}).items()):
        answered, refused, seconds, unanswered = of.recent(now)
        if answered or refused or unanswered:
            subnet = controller.network.subnet_of(address)
            yield {
                "server": text(address),
                "edge": subnet.edge if subnet else None,
                **_counts(answered, refused, unanswered),
                "first_reply_mean_ms": _ms(seconds / answered if answered else None),
            }
        turn()


def _counts(answered: float, refused: float, unanswered: float) -> dict[str, Any]:
    flows = answered + refused + unanswered
    return {
        "answered": int(answered),
        "refused": int(refused),
        "unanswered": round(unanswered, 1),
        "unanswered_share": round(unanswered / flows, 4),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 2)
