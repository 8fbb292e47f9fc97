"""Real Open vSwitch that lacks one thing, by a profile of a few words (M35)."""

from __future__ import annotations

from pathlib import Path

from played import playing, roles

NO_IPV6 = "{hardware: IPv4 only, refuse: [{set: [ipv6_src, ipv6_dst]}], quoted: 8}"
NO_TTL = "{hardware: one that says nothing, ignore: [{actions: [dec_nw_ttl]}]}"


def test_a_switch_that_cannot_rewrite_ipv6_serves_ipv4(tmp_path: Path) -> None:
    with playing(tmp_path, ars2=NO_IPV6) as network:
        assert roles(network, "ars2")["server edge"]["families"] == ["ipv4"]
        for service, server in (("198.18.0.1", "as2"), ("2001:db8:a::1", "as3")):
            assert {answer.split()[0] for answer in network.ask("h1", service, "--flows", 8)} == {server}


def test_what_a_switch_ignores_is_found_by_packets(tmp_path: Path) -> None:
    """No error tells it."""
    with playing(tmp_path, core=NO_TTL) as network:
        core = roles(network, "core")["core"]
        assert core["families"] == []
        assert "the TTL stays as it was" in core["sentence"]
