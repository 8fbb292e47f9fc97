"""What a slave reads from reports of removed rules: the translation addresses that its master has released."""

from __future__ import annotations

from anycast_sdn.core.bindings import Half
from anycast_sdn.core.model import Address
from anycast_sdn.openflow import oxm
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.readback import HALF_OF

_MATCH = 44  # bytes before the first field of the match (OF 1.3.5 §7.4.2)
_DESTINATIONS = {oxm.header("ipv4_dst"): 4, oxm.header("ipv6_dst"): 16}


def translated_of(removed: bytes) -> Address | None:
    """PR1X, where the rule was one for replies of a pinned flow; ``removed``: the body of a FLOW_REMOVED."""
    kind = kind_of(int.from_bytes(removed[:8], "big"))
    if kind is None or kind not in HALF_OF or HALF_OF[kind][0] is not Half.IN:
        return None
    at = _MATCH
    while at + oxm.HEADER.size <= len(removed):
        header, size = removed[at : at + oxm.HEADER.size], removed[at + oxm.HEADER.size - 1]
        value = removed[at + oxm.HEADER.size : at + oxm.HEADER.size + size]
        if _DESTINATIONS.get(header) == len(value):
            return value
        at += oxm.HEADER.size + size
    return None
