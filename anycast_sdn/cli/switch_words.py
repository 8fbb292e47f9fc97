"""A switch's report in words: ``switches`` and ``probe`` print it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any

from anycast_sdn.cli.tables import WIDTH
from anycast_sdn.cli.terminal import harmless
from anycast_sdn.core.words import FAMILIES, counted, listed


def written(report: Any) -> str:
    """What it is, the judgement on each role, what it goes without, its tables and what it holds."""
    head = f"{report['name']}{_in_brackets(make(report))}, datapath id {report['dpid']:#x}, {_where(report)}"
    parts = [_lines([head], "")]
    if not report["roles"]:
        parts.append("  What it can be is not known: it has not connected since the controller's start.")
    else:
        parts.append(_lines(map(role_sentence, sorted(report["roles"], key=lambda role: not role["wanted"]))))
    said = " ".join(role["sentence"] for role in report["roles"])  # with what is done instead
    if without := [each["effect"] for each in report["without"] if each["effect"] not in said]:
        parts.append("It goes without:\n" + _lines(without))
    unanswered = [each for each in report["unanswered"] if each != "confirmation"]  # of that the roles tell
    if unanswered:
        asked = listed(unanswered)
        parts.append(_lines([f"It does not answer when asked for its {asked}: that is taken as not there."], ""))
    parts.append(_lines(_tables(report), ""))
    return harmless("\n\n".join(parts))


def make(report: Any) -> str:
    """Who has made it, what it is and its software's version, as far as it says that."""
    said = report["description"]
    hardware, manufacturer = said["hardware"], said["manufacturer"]
    if hardware and manufacturer and manufacturer.lower() in hardware.lower():
        manufacturer = None
    what = " ".join(filter(None, (manufacturer, hardware)))
    return ", ".join(filter(None, (what, said["software"])))


def role_sentence(role: Any) -> str:
    sentence: str = role["sentence"]
    return sentence + ("" if role["wanted"] else " (the network file does not give it this role)")


def able(role: Any) -> str:
    """ "yes", "IPv4 only" or "no"."""
    families = role["families"]
    if len(families) == len(FAMILIES):
        return "yes"
    return f"{FAMILIES[families[0]]} only" if families else "no"


def _where(report: Any) -> str:
    if report["address"] is None:
        return "not connected"
    return f"connected from {report['address']}" + ("" if report["connected"] else ", its rules are being read")


def _in_brackets(words: str) -> str:
    return f" ({words})" if words else ""


def _tables(report: Any) -> Iterator[str]:
    tables, layout, rules = report["tables"], report["layout"], report["rules"]
    has = "It does not say how many tables it has" if tables is None else f"It has {counted(tables, 'table')}"
    carried: dict[int, list[str]] = {}
    for name, table in (layout or {}).items():
        carried.setdefault(table, []).append(name.replace("_", " "))
    used = [f"{table} {' and '.join(names)}" for table, names in sorted(carried.items())]
    yield f"{has}; used as {', '.join(used)}." if used else f"{has}."
    yield from _room(report["room"] or {"tables": [], "groups": {"needs": 0, "says": None}})
    if rules:
        yield (f"It holds {counted(rules['bindings'], 'rule')} of flows, {counted(rules['other'], 'other rule')} and "
               f"{counted(rules['groups'], 'group')} of the controller.")  # fmt: skip


def _room(room: Any) -> Iterator[str]:
    said = [f"{each['says']:,} rules in table {each['table']}" for each in room["tables"] if each["says"]]
    if groups := room["groups"]["says"]:
        said.append(f"{groups:,} groups")
    if said:
        yield f"It says that it has room for {listed(said)}."
    if needs := [f"{each['needs']:,} in table {each['table']}" for each in room["tables"] if each["needs"]]:
        yield f"It needs, besides the rules of flows: {listed(needs)}."


def _lines(sentences: Iterable[str], indent: str = "  ") -> str:
    return "\n".join(
        line for sentence in sentences
        for line in wrap(sentence, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ",
                         break_on_hyphens=False)
    )  # fmt: skip
