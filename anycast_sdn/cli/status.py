"""``status``: a controller and its network on one screen: is all well, and if not, what is wrong, with what effect."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from textwrap import wrap
from typing import Any

from anycast_sdn.cli import client, options
from anycast_sdn.cli.tables import WIDTH, table
from anycast_sdn.cli.terminal import harmless, styled, with_words_styled
from anycast_sdn.core.words import FAMILIES, counted, listed

_ABOUT = """\
Show on one screen whether all is well, and if not what is wrong, since when and with which effect; links, servers, how
long the pools of translation addresses last, and rates."""
_IN_FULL = 3  # reasons of one kind
_STATES = {"ok": "passing", "starting": "warning", "degraded": "critical"}
_HEALTH = ("passing", "critical", "warning", "unknown")
_RATES_S = 60


def add_to(commands: Any) -> None:
    status = options.command(commands, "status", "show on one screen whether all is well", _ABOUT,
                             "status", "status --json", parents=[client.arguments()])  # fmt: skip
    status.set_defaults(act=_status)


def _status(arguments: argparse.Namespace) -> int:
    controller = client.controller(arguments)
    known = {
        "health": client.get(controller, "/v1/health", "reasons"),
        "topology": client.get(controller, "/v1/topology", "links"),
        "services": client.get(controller, "/v1/services", "services")["services"],
        "edges": client.get(controller, "/v1/edges?hosts=none", "edges")["edges"],
        "flows": client.get(controller, "/v1/flows?limit=1", "flows")["summary"],
        "history": client.ask(controller, f"/v1/history?last_s={_RATES_S}&step_s={_RATES_S}"),
        "cluster": client.get(controller, "/v1/cluster", "members"),
    }
    print(json.dumps(known, indent=2) if arguments.json else harmless_lines(screen(known, str(controller))))
    return 0


def harmless_lines(lines: Iterator[str]) -> str:
    return "\n".join(line.rstrip() for line in lines)


def screen(known: Any, where: str) -> Iterator[str]:
    """The lines; ``known``: what the controller has answered."""
    health = known["health"]
    yield f"network {harmless(health['network'])}, controller {health['version']} at {where}, {health['now']}"
    yield from _reasons(health)
    yield ""
    yield from _parts(known)
    pools = [_pool_row(edge["name"], family, use) for edge in known["edges"] for family, use in edge["pools"].items()]
    if pools:
        yield ""
        yield table(pools)
    if known["services"]:
        yield ""
        yield with_words_styled(table([_service_row(service) for service in known["services"]]))


# -------------------------------------------------------------------------------- what is wrong


def _reasons(health: Any) -> Iterator[str]:
    reasons, now = health["reasons"], _time(health["now"])
    counts = Counter(reason["severity"] for reason in reasons)
    some = ", ".join(f"{number} {severity}" for severity, number in counts.items())
    yield styled(health["status"], _STATES.get(health["status"], "")) + (f": {some}" if some else ": all is well" * (
        health["status"] == "ok"))  # fmt: skip
    alike: dict[tuple[str, str], list[Any]] = {}
    for reason in reasons:
        alike.setdefault((reason["code"], reason["severity"]), []).append(reason)
    for some_reasons in alike.values():
        yield from _of_one_kind(some_reasons, now)
    if health["more_reasons"]:
        yield f"  and {health['more_reasons']} more"


def _of_one_kind(reasons: list[Any], now: datetime) -> Iterator[str]:
    """The latest ones in full, the others by name."""
    shown = reasons if len(reasons) <= _IN_FULL else reasons[: _IN_FULL - 1]
    said = ""
    for reason in shown:
        word = styled(f"{reason['severity']:8}", reason["severity"])
        since = _span((now - _time(reason["since"])).total_seconds())
        first, *more = wrap(f"{harmless(reason['detail'])} ({since})", WIDTH - 12)
        yield f"  {word}  {first}"
        effect = [] if reason["effect"] == said else wrap(harmless(reason["effect"]), WIDTH - 12)
        yield from (f"            {line}" for line in (*more, *effect))
        said = reason["effect"]
    if others := reasons[len(shown) :]:
        names = harmless(listed([reason["subject"]["name"] for reason in others], 6))
        also = wrap(f"and {len(others)} more {others[0]['code']}: {names}", WIDTH - 12)
        yield from (f"            {line}" for line in also)


def _time(written: str) -> datetime:
    return datetime.fromisoformat(written.replace("Z", "+00:00"))


def _span(seconds: float) -> str:
    """ "4 s", "12 min", "3 h", "2 d"."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"


# -------------------------------------------------------------------------------- a line for each part


def _parts(known: Any) -> Iterator[str]:
    if known["cluster"]["mode"] == "cluster":
        yield from wrap(f"{'members':9} {harmless(_members(known['cluster']))}", WIDTH, subsequent_indent=" " * 10)
    switches = known["topology"]["switches"]
    away = [switch["name"] for switch in switches if not switch["connected"]]
    yield _line("switches", len(switches) - len(away), len(switches), "connected", away, "not")
    links = [link for link in known["topology"]["links"] if link["declared"]]
    down = ["–".join(link["ends"]) for link in links if not link["up"]]
    yield _line("links", len(links) - len(down), len(links), "up", down, "down")
    services = known["services"]
    totals = {name: sum(service[name] for service in services) for name in ("servers", *_HEALTH, "inactive")}
    health = ", ".join(f"{totals[name]} {name}" for name in (*_HEALTH, "inactive") if totals[name])
    enrolled = f"{totals['servers']} enrolled in {counted(len(services), 'group')}"
    yield f"{'servers':9} {enrolled}{f': {health}' if health else ''}"
    series = known["history"]["series"]
    flows = known["flows"]
    parts = [f"{flows['pinned']:,} pinned", f"{flows['unanswered']:,} unanswered",
             _rate(series, "opened_per_s", "{:.1f} new/s"),
             _rate(series, "first_reply_p95_ms", "95 % answered within {:.1f} ms"),
             _rate(series, "unanswered_share", "{:.2g} % without an answer")]  # fmt: skip
    yield f"{'flows':9} {', '.join(filter(None, parts))}"
    drops = Counter({f"{name} at {edge['name']}": rate for edge in known["edges"]
                     for name, rate in edge["drops_per_s"].items() if rate})  # fmt: skip
    most = listed([f"{rate:g}/s {name}" for name, rate in drops.most_common()], 3)
    yield f"{'drops':9} {most or 'none in the last minute'}"


def _members(cluster: Any) -> str:
    names = [member["name"] for member in cluster["members"]]
    leads = f"{cluster['leader']} leads" if cluster["leader"] else "none leads"
    lost = f"; missing, or not reached: {listed(cluster['incomplete'])}" if cluster["incomplete"] else ""
    said = f"{listed(names)}; {leads}{lost}"
    if not cluster.get("shared"):
        return said
    masters = Counter(switch["master"] for switch in cluster["switches"])
    return f"{said}; switches are shared: {listed([f'{masters[name]} by {name}' for name in names])}"


def _line(name: str, good: int, of: int, word: str, others: list[str], what: str) -> str:
    if not others:
        return f"{name:9} {'all ' if of > 1 else ''}{of} {word}" if of else f"{name:9} none"
    return f"{name:9} {good} of {of} {word}; {what}: {harmless(listed(others, 4))}"


def _rate(series: Any, name: str, form: str) -> str:
    values = [value for value in series.get(name, []) if value is not None]
    return form.format(values[-1]) if values else ""


# -------------------------------------------------------------------------------- tables


def _pool_row(edge: str, family: str, use: Any) -> dict[str, Any]:
    used = (use["size"] - use["free"]) / use["size"] if use["size"] else 1.0
    burst = use["used_up_in_s"] if use["level"] != "plenty" else None  # of seconds: it means nothing to such a pool
    seconds = [each for each in (burst, use["exhausted_in_s"]) if each is not None]
    lasts = "" if use["level"] == "exhausted" or not seconds else f"about {_span(min(seconds))}"
    return {
        "pool": f"{edge} {FAMILIES[family]}",
        "in use": f"{used:.0%}" if used >= 0.01 or not use["leased"] else "under 1%",
        "leased": use["leased"],
        "resting": use["resting"],
        "level": use["level"],
        "exhausted in": lasts,
    }


def _service_row(service: Any) -> dict[str, Any]:
    wrong = ", ".join(f"{service[each]} {each}" for each in _HEALTH[1:] if service[each])
    load, highest = service["load"], service["highest_load"]
    return {
        "group": service["name"],
        "ANY/n": listed(service["prefixes"], 2),
        "behind": listed([each["edge"] or "no edge" for each in service["edges"]], 3),
        "servers": service["servers"],
        "health": wrong or ("passing" if service["servers"] else ""),
        "load": "" if load is None else f"{load:.0%}" + (f", up to {highest:.0%}" if service["servers"] > 1 else ""),
        "flows": service["flows"],
    }
