"""The timeouts of connection tracker zones follow from the validity of bindings."""

from __future__ import annotations

from anycast_sdn.core import tracker_timeouts
from anycast_sdn.core.roles import Conntrack, Validity

VALIDITY = Validity(
    tcp_s=1000, tcp_closing_s=200, tcp_closed_s=4, udp_s=300, icmp_s=60, other_s=500, unanswered_s=30
)


def test_each_state_of_a_connection_has_the_validity_that_a_binding_has_then() -> None:
    found = tracker_timeouts.timeouts(VALIDITY, udp=True)
    assert {found[name] for name in ("tcp_syn_sent", "udp_first", "udp_single", "icmp_first")} == {30}
    assert (found["tcp_established"], found["tcp_fin_wait"], found["tcp_time_wait"], found["tcp_close"]) == (
        1000, 200, 4, 4
    )  # fmt: skip
    assert (found["udp_multiple"], found["icmp_reply"]) == (300, 60)


def test_udp_has_zones_of_its_own_because_all_other_protocols_share_its_timeouts() -> None:
    zones = tracker_timeouts.of_zones(Conntrack(zone=7), VALIDITY)
    assert {zone: timeouts["udp_multiple"] for zone, timeouts in zones.items()} == {7: 500, 8: 300, 9: 500, 10: 300}
