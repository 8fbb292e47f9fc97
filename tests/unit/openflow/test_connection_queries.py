"""Inquiries about connections: what comes back says what was asked."""

from __future__ import annotations

import pytest

from anycast_sdn.core.model import ICMP, ICMPV6, SCTP, TCP, UDP, packed
from anycast_sdn.core.tracked_address import PEER
from anycast_sdn.openflow import builders
from anycast_sdn.openflow.connection_queries import Answer, Ends, answer, ask

PR1X = {False: packed("203.0.113.7"), True: packed("2001:db8:1:f::7")}
SERVER = {False: packed("10.2.0.10"), True: packed("2001:db8:2::10")}
EACH = [(v6, Ends(*ends)) for v6 in (False, True) for ends in [
    (TCP, 40000, 80), (UDP, 40000, 53), (SCTP, 40000, 80), (47, 0, 0),
    (ICMPV6, 77, 128 << 8) if v6 else (ICMP, 77, 8 << 8),
]]  # fmt: skip


@pytest.mark.parametrize(("v6", "ends"), EACH)
def test_the_frame_alone_says_which_connection_was_asked_for_and_its_server(v6: bool, ends: Ends) -> None:
    frame = ask(5, 1 << 39, PR1X[v6], ends, 9).frame
    assert answer(frame, found=False) == Answer(5, 1 << 39, PR1X[v6], ends, None)
    source = "ipv6_src" if v6 else "ipv4_src"
    for label, server in ((SERVER[v6], SERVER[v6]), (bytes(len(PEER[v6])), None)):
        found = builders.rewrite(frame, source, label)
        assert answer(found, found=True) == Answer(5, 1 << 39, PR1X[v6], ends, server)
