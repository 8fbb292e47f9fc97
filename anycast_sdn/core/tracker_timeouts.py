"""How long connections may be idle in a switch's connection tracker, so that they end as ``Validity`` says (M19).

A zone of the tracker has a timeout for each state of a connection.  Their names are those of Open vSwitch
(ovs-vswitchd.conf.db(5), table CT_Timeout_Policy).  Its userspace datapath has fewer states than the kernel and ignores
the others' names.  Protocols other than TCP, UDP and ICMP have the datapath's own timeouts, whatever is set (3.1).
Where these are shorter than ``other_s``, the binding begins the connection again.

Validities of single groups are not in here: a zone holds the connections of all groups.
"""

from __future__ import annotations

from collections.abc import Mapping

from anycast_sdn.core.roles import Conntrack, Validity


def of_zones(conntrack: Conntrack, validity: Validity) -> dict[int, Mapping[str, int]]:
    """The zones of a client edge → their timeouts, in seconds."""
    return {
        conntrack.zone_of(v6, udp): timeouts(validity, udp) for v6 in (False, True) for udp in (False, True)
    }


def timeouts(validity: Validity, udp: bool) -> dict[str, int]:
    """``udp``: of the zone for UDP, and not of that for all other protocols."""
    one_closed = dict.fromkeys(("tcp_fin_wait", "tcp_close_wait"), validity.tcp_closing_s)
    both_closed = dict.fromkeys(("tcp_last_ack", "tcp_time_wait", "tcp_close"), validity.tcp_closed_s)
    return {
        "tcp_syn_sent": validity.unanswered_s,
        "tcp_syn_sent2": validity.unanswered_s,
        "tcp_syn_recv": validity.tcp_closing_s,  # answered, and not open yet: as one that closes (RFC 5382 REQ-5)
        "tcp_established": validity.tcp_s,
        "tcp_unack": validity.tcp_s,
        "tcp_retransmit": validity.tcp_s,
        **one_closed,
        **both_closed,
        "udp_first": validity.unanswered_s,
        "udp_single": validity.unanswered_s,
        "udp_multiple": validity.udp_s if udp else validity.other_s,
        "icmp_first": validity.unanswered_s,
        "icmp_reply": validity.icmp_s,
    }
