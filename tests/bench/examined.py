"""What a fully able switch answers while the controller tries it out (see ``openflow.examination``)."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from anycast_sdn.core.model import packed
from anycast_sdn.openflow.examination import NONCE
from anycast_sdn.openflow.frames import L3, checksum
from anycast_sdn.openflow.layouts import suited
from anycast_sdn.openflow.packet_probes import PacketProbe, number_in, packet_probes

TRIAL_COOKIES = range(0xA17C_FF00_0000_0000, 0xA17C_FF00_0000_1000)  # of rules that the controller tries out
_BOUNCED, _FRAGMENT, _PROBE = (bytes.fromhex("02ac00f7a6" + last) for last in ("03", "01", "11"))  # source MACs
_NUMBER = 2  # bytes, which are the last ones of a probe's packet and follow the nonce
_NEW_SOURCE = packed("203.0.113.254")
_SOURCE, _SUM = slice(L3 + 12, L3 + 16), slice(L3 + 10, L3 + 12)
_ALL_TABLES = 254
_REMOVED = Struct("!QHBBIIHHQQHH4x")  # with a match of nothing
_DELETED = 2  # OFPRR_DELETE


def sent_back(frame: bytes) -> bytes | None:
    """What comes back of a frame that the controller sends to the tables; None: it is none of a trial."""
    source = frame[6:12]
    if source == _BOUNCED:
        return frame
    if source == _FRAGMENT:  # its address is to be set, and nothing else to change
        changed = bytearray(frame)
        changed[_SOURCE], changed[_SUM] = _NEW_SOURCE, bytes(2)
        changed[_SUM] = checksum(changed[L3 : L3 + 20]).to_bytes(2, "big")
        return bytes(changed)
    if source != _PROBE:
        return None
    nonce = frame[-NONCE - _NUMBER : -_NUMBER]
    number = number_in(frame, nonce)
    return None if number is None else _probes(nonce)[number].wanted


@lru_cache(maxsize=64)  # all of an examination share one nonce
def _probes(nonce: bytes) -> tuple[PacketProbe, ...]:
    return packet_probes(suited(_ALL_TABLES), nonce)


def removal(cookie: int, table: int, priority: int) -> bytes:
    """The body of the report that such a rule was deleted."""
    return _REMOVED.pack(cookie, priority, _DELETED, table, 0, 0, 0, 0, 0, 0, 1, 4)
