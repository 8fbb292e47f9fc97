"""Schema: the form of what a network has in etcd, and the forms that this release knows.

    meta/schema      the form of all keys of the network, a number

    1    the first one
    2    meta/network has digests of the network file without its secrets

The rules of it:

- A release knows some forms in a row.  It reads and writes the one that etcd has: so members of releases that have this
  form in common run side by side.  What cannot be written in it is refused (``store.encoding``).
- Whoever writes what depends on the form does so under the condition that ``meta/schema`` is as it was.
- The leader raises it, as soon as all members know a later one (``cluster.raising``).  There is no way back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anycast_sdn.etcd.client import Value

SCHEMA = "meta/schema"
KNOWN: Sequence[int] = (1, 2)


def schema_of(values: Mapping[str, Value], otherwise: int = 0) -> int:
    """Of what etcd has; ``otherwise``: where it has none."""
    found = values.get(SCHEMA)
    if not found:
        return otherwise
    return int(found.text) if found.text.isdecimal() and found.text.isascii() else -1


def why_unknown(values: Mapping[str, Value], known: Sequence[int]) -> str:
    """What is wrong with the schema in etcd, for a release that knows these; "" if nothing is."""
    schema = schema_of(values, known[-1])
    if schema in known:
        return ""
    said = f"has schema version {values[SCHEMA].text[:20]}, this release reads"
    if 0 <= schema < known[0]:
        return f"{said} {known[0]} and later: upgrade by way of an earlier release, which reads both"
    return f"{said} up to {known[-1]}: use the release that wrote it"
