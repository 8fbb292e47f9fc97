"""Profiles of families of switches, each after the documents that its ``source`` names.

They say what the documents say, in so far as it matters here; where those are silent, everything works.  One thing is
assumed of all: that they refuse Open vSwitch's extensions, which no document mentions.  Nothing here was tried on
hardware; ``bofuss`` is a program, and was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from anycast_sdn.description.profile import EXPERIMENTER, MATCH_FIELDS, Elements, Profile

_EXTENSIONS = Elements(
    match=(EXPERIMENTER,), set=(EXPERIMENTER,), actions=(EXPERIMENTER,), messages=(EXPERIMENTER,),
    multipart=(EXPERIMENTER,),
)  # fmt: skip
_ADDRESSES = ("ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst")
_ARP = ("arp_spa", "arp_tpa", "arp_sha", "arp_tha")
_ND = ("ipv6_nd_target", "ipv6_nd_sll", "ipv6_nd_tll")
_TAGS = ("push_vlan", "pop_vlan", "push_mpls", "pop_mpls")
_PARTS_OF_GROUPS = ("group", "group_desc", "group_features")


def _all_but(*fields: str) -> tuple[str, ...]:
    """Only these are set."""
    return tuple(field for field in MATCH_FIELDS if field not in fields)


def _profiles() -> Iterable[Profile]:
    yield Profile(
        name="allied-telesis",
        source="FAUCET, which sets DEC_TTL = False for its class AlliedTelesis",
        manufacturer="Allied Telesis",
        hardware="x930",
        refuse=(_EXTENSIONS, Elements(actions=("dec_nw_ttl",))),
    )
    yield Profile(
        name="aruba-3810m",
        source="Aruba OpenFlow 1.3 Administrator Guide for ArubaOS-Switch 16.08 and 16.09, implementation notes of "
        "the custom pipeline and of groups; FAUCET on Aruba switches (no OFPAT_DEC_NW_TTL)",
        manufacturer="HPE",
        hardware="Aruba 3810M",
        software="KB.16.08",
        groups=1024,
        refuse=(
            _EXTENSIONS,
            Elements(
                actions=("dec_nw_ttl", "set_queue"),
                ports=("all", "local", "table", "in_port"),
                instructions=("write_metadata",),
                bucket_actions=("set_field", "dec_nw_ttl", "set_nw_ttl", "copy_ttl_in", "copy_ttl_out"),
            ),
            Elements(set=("eth_src", "tcp_src", "tcp_dst", "udp_src", "udp_dst"), family=6),
        ),
    )
    yield Profile(
        name="bofuss",
        source="tried: BOFUSS, the software switch of CPqD (ofsoftswitch13)",
        manufacturer="Stanford University, Ericsson Research and CPqD Research",
        hardware="OpenFlow 1.3 Reference Userspace Switch",
        tables=64,
        close=(Elements(actions=(EXPERIMENTER,)),),
        refuse=(Elements(set=("in_port",), match=(EXPERIMENTER,)),),
        wrong=("icmpv6_checksum", "replacing"),
    )
    yield Profile(
        name="cisco-asr9000",
        source="Cisco ASR 9000 System Management Configuration Guide, Release 5.1.x, Implementing OpenFlow Agent, "
        "switch types L2_L3 and L3_V4",
        manufacturer="Cisco Systems, Inc.",
        hardware="ASR 9000",
        refuse=(
            _EXTENSIONS,
            Elements(actions=("group", "dec_nw_ttl", "set_nw_ttl", "set_queue", "push_mpls", "pop_mpls")),
        ),
    )
    yield Profile(
        name="dell-os10",
        source="Dell EMC SmartFabric OS10 User Guide, OpenFlow (S4048-ON, S4128): tables of supported fields, "
        "instructions, action sets and action types",
        manufacturer="Dell EMC",
        hardware="S4048-ON",
        tables=1,
        wrong=("cookies",),
        refuse=(
            _EXTENSIONS,
            Elements(
                instructions=("goto_table", "write_metadata", "clear_actions", "meter"),
                actions=("group", "set_queue", "dec_nw_ttl", "set_nw_ttl", "copy_ttl_in", "copy_ttl_out", *_TAGS),
                messages=("group_mod", "meter_mod"),
                multipart=(*_PARTS_OF_GROUPS, "meter", "meter_config", "meter_features"),
                set=_all_but("eth_src", "eth_dst", "vlan_vid", "vlan_pcp", "ip_dscp"),
            ),
        ),
    )
    yield Profile(
        name="dell-n3200",
        source="Dell Networking N-Series User Guide 6.8.0, OpenFlow: one hardware table with OpenFlow 1.3; modified "
        "are VLAN ID and priority, MAC addresses and ToS",
        manufacturer="Dell EMC",
        hardware="N3200-ON",
        tables=1,
        refuse=(
            _EXTENSIONS,
            Elements(actions=("pop_vlan",), set=_all_but("eth_src", "eth_dst", "vlan_vid", "vlan_pcp", "ip_dscp")),
        ),
    )
    yield Profile(
        name="extreme-s-series",
        source="Extreme Networks S-, K- and 7100-Series Configuration Guide, OpenFlow: general limitations, and packet "
        "processing limitations",
        manufacturer="Extreme Networks",
        hardware="S-Series",
        groups=4096,
        refuse=(
            _EXTENSIONS,
            Elements(
                groups=("select", "ff"),
                match=("sctp_src", "sctp_dst", *_ARP, *_ND, "ipv6_exthdr", "ipv6_flabel"),
                set=("in_port", "in_phy_port", "eth_type", "ip_proto", "arp_op", *_ARP, "sctp_src", "sctp_dst",
                     "icmpv4_type", "icmpv4_code", *_ND, "icmpv6_type", "icmpv6_code"),
            ),
        ),
    )  # fmt: skip
    yield Profile(
        name="juniper-qfx5100",
        source="Junos OS OpenFlow User Guide: flow instructions (a rule has one: apply or write actions), OpenFlow "
        "v1.3.1 compliance matrix (no experimenters), and of v1.0 the flow actions",
        manufacturer="Juniper Networks",
        hardware="QFX5100",
        tables=1,
        refuse=(
            _EXTENSIONS,
            Elements(
                instructions=("goto_table", "meter", "write_metadata", "clear_actions"),
                set=_all_but("eth_dst", "vlan_vid"),
                ports=("local",),
            ),
        ),
    )
    yield Profile(
        name="nvidia-onyx",
        source="NVIDIA (Mellanox) Onyx User Manual v3.10, OpenFlow 1.3 Workflow: match, actions and groups of the ACL "
        "tables 0-249",
        manufacturer="Mellanox Technologies",
        hardware="SN2700",
        tables=250,
        refuse=(
            _EXTENSIONS,
            Elements(
                set=_all_but(
                    "eth_src", "eth_dst", "vlan_vid", "vlan_pcp", "ip_dscp", "ip_ecn", "tcp_src", "tcp_dst", "udp_src",
                    "udp_dst", "metadata",
                ),
                bucket_actions=("set_field", "dec_nw_ttl"),
                groups=("indirect",),
            ),
        ),
    )  # fmt: skip
    yield Profile(
        name="of-dpa",
        source="Dell DNOS-OF Deployment Guide (OF-DPA), policy ACL table: groups set fields, rules do not; the numbers "
        "of tables as in PicOS, Picos_ttp.json, which follows it",
        manufacturer="Broadcom",
        hardware="OF-DPA 2.0",
        tables=7,
        numbered=(0, 10, 20, 30, 40, 50, 60),
        refuse=(
            _EXTENSIONS,
            Elements(
                actions=("dec_nw_ttl", "set_nw_ttl", "pop_vlan"),
                set=(*_ADDRESSES, *_ARP, "arp_op", "tcp_src", "tcp_dst", "udp_src", "udp_dst"),
                match=_ND,
            ),
        ),
    )
    yield Profile(
        name="zodiac-fx",
        source="the firmware of the Zodiac FX, of the time of version 0.70: 512 rules in 10 tables; no groups; the TTL "
        "and IPv6 addresses are not set; requests that it does not know are not answered",
        manufacturer="Northbound Networks",
        hardware="Zodiac-FX Rev.A",
        software="0.70",
        tables=10,
        all_rules=512,
        refuse=(Elements(match=(EXPERIMENTER,), messages=("group_mod",), multipart=("table_features",)),),
        ignore=(
            Elements(
                actions=("dec_nw_ttl", "set_nw_ttl", "group", EXPERIMENTER),
                set=("ipv6_src", "ipv6_dst", *_ND, "sctp_src", "sctp_dst", "icmpv6_type", EXPERIMENTER),
                messages=("set_async", "get_async_request", EXPERIMENTER),
                multipart=(*_PARTS_OF_GROUPS, "queue", EXPERIMENTER),
            ),
        ),
    )


PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in _profiles()}
