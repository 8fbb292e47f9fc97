"""What the profiles of families say, and how trials judge them: a part of docs/hardware.md."""

from __future__ import annotations

from collections.abc import Iterator

from anycast_sdn.core.words import listed
from anycast_sdn.description.profile import ALL_TABLES, MATCH_FIELDS, NAMES, Elements, Profile
from anycast_sdn.description.profiles import PROFILES
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.judgement import Role, judge
from anycast_sdn.openflow.layouts import suited
from anycast_sdn.simulation.switch import SimulatedSwitch

_HEADINGS = {
    "match": "matches of",
    "masks": "masks of",
    "set": "set-field of",
    "actions": "actions",
    "bucket_actions": "in buckets",
    "instructions": "instructions",
    "ports": "outputs to",
    "groups": "groups of type",
    "flags": "flags",
    "timeouts": "timeouts",
    "messages": "messages",
    "multipart": "multipart",
}
_WRONG = {
    "icmpv6_checksum": "wrong ICMPv6 checksums after set-field",
    "lldp": "swallows LLDP",
    "cookies": "keeps no cookies",
    "statistics": "counts nothing",
    "replacing": "loses some rules that replace others",
    "sizes": "announces sizes that it does not have",
}


def as_markdown() -> str:
    lines = [
        "| profile | plays | refuses | ignores | else | client edge | server edge | core |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_row(profile) for profile in PROFILES.values()]
    lines += ["", "Made after:", ""]
    lines += [f"- `{profile.name}`: {profile.source}" for profile in PROFILES.values()]
    return "\n".join(lines) + "\n"


def _row(profile: Profile) -> str:
    features = SimulatedSwitch(layout=suited(profile.tables), profile=profile).found(Features())
    refused, ignored = ("; ".join(filter(None, map(_words, several))) for several in (profile.refuse, profile.ignore))
    roles = (_able(judge(role, features).able) for role in Role)
    plays = f"{profile.manufacturer}, {profile.hardware}"
    return f"| {' | '.join((f'`{profile.name}`', plays, refused, ignored, '; '.join(_else(profile)), *roles))} |"


def _able(families: frozenset[int]) -> str:
    return "yes" if len(families) > 1 else " ".join(f"IPv{family}" for family in families) or "no"


def _words(elements: Elements) -> str:
    parts = [f"{heading} {_names(kind, names)}" for kind, heading in _HEADINGS.items()
             if (names := [name for name in getattr(elements, kind) if name != "experimenter"])]  # fmt: skip
    if not parts:
        return ""
    family = f" (IPv{elements.family} alone)" if elements.family else ""
    return "; ".join(parts) + family


def _names(kind: str, names: list[str]) -> str:
    others = [name for name in NAMES[kind] if name not in names and name != "experimenter"]
    if kind in ("match", "set") and len(names) > len(MATCH_FIELDS) / 2:
        return f"all but `{'`, `'.join(others)}`"
    return f"`{'`, `'.join(names)}`"


def _else(profile: Profile) -> Iterator[str]:
    if profile.numbered:
        yield f"tables {listed([str(number) for number in profile.numbered], len(profile.numbered))}"
    elif profile.tables != ALL_TABLES:
        yield f"{profile.tables} table{'s' * (profile.tables > 1)}"
    sizes = {
        "rules": profile.all_rules, "rules in a table": profile.rules, "groups": profile.groups,
        "meters": profile.meters,
    }  # fmt: skip
    for what, size in sizes.items():
        if size is not None:
            yield f"{size} {what}"
    for closing in profile.close:
        names = [name for kind in NAMES for name in getattr(closing, kind)]
        yield f"dies of {listed(names)} actions"
    yield from (_WRONG[wrong] for wrong in profile.wrong)
