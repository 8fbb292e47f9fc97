"""The text of what is stored has all of it, and only what is known is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.core.checks import AnyCheck, HttpCheck, IcmpCheck, PassiveCheck, TcpCheck, UdpCheck
from anycast_sdn.core.model import (
    Affinity,
    AfterDrain,
    AnycastGroup,
    AtDeadline,
    Distance,
    Drain,
    GroupValidity,
    Lease,
    OnServerLoss,
    Prefix,
    SelectionSettings,
    Server,
    ServerState,
    packed,
)
from anycast_sdn.description import limits, settings
from anycast_sdn.description.limits import Range
from anycast_sdn.description.section import Section, _sections_in
from anycast_sdn.store import encoding


def within(allowed: Range) -> st.SearchStrategy[float]:
    return st.floats(allowed.least, allowed.most)


def whole(allowed: Range) -> st.SearchStrategy[int]:
    return st.integers(int(allowed.least), int(allowed.most))


BASE = {
    "interval_s": within(limits.INTERVAL),
    "timeout_s": within(limits.TIMEOUT),
    "rise": whole(limits.RISE),
    "fall": whole(limits.FALL),
}
PAYLOADS = st.binary(max_size=limits.MAX_PAYLOAD) | st.text(max_size=limits.MAX_PAYLOAD // 4).map(str.encode)
CHECKS: st.SearchStrategy[AnyCheck] = st.one_of(
    st.builds(IcmpCheck, **BASE),
    st.builds(TcpCheck, **BASE, port=whole(limits.PORT)),
    st.builds(UdpCheck, **BASE, port=whole(limits.PORT), payload=PAYLOADS, answer=st.none() | PAYLOADS, dns=st.text()),
    st.builds(
        HttpCheck,
        **BASE,
        port=whole(limits.PORT),
        path=st.text(),
        expect_status=st.lists(whole(limits.HTTP_STATUS), max_size=limits.MAX_STATUSES).map(tuple),
    ),
    st.builds(
        PassiveCheck,
        **BASE,
        max_unanswered=within(limits.MAX_UNANSWERED),
        max_first_reply_s=st.none() | within(limits.FIRST_REPLY),
    ),
)
ADDRESSES = st.binary(min_size=4, max_size=4) | st.binary(min_size=16, max_size=16)
PREFIXES = st.builds(
    lambda address, length: Prefix(
        (int.from_bytes(address, "big") >> length << length).to_bytes(len(address), "big"), 8 * len(address) - length
    ),
    ADDRESSES,
    st.integers(0, 32),
)
GROUPS = st.builds(
    AnycastGroup,
    name=st.just("web"),
    prefixes=st.lists(PREFIXES).map(tuple),
    servers=st.just({}),
    affinity=st.sampled_from(Affinity),
    on_server_loss=st.sampled_from(OnServerLoss),
    validity=st.builds(GroupValidity, *[st.none() | whole(limits.VALIDITY)] * len(GroupValidity._fields)),
    checks=st.lists(CHECKS, max_size=limits.MAX_CHECKS).map(tuple),
    min_healthy=whole(limits.MIN_HEALTHY),
    slow_start_s=within(limits.SLOW_START),
    selection=st.builds(SelectionSettings, st.sampled_from(Distance), within(limits.SPILL_AT)),
)
DRAINS = st.builds(
    Drain,
    st.text(),
    st.floats(0, 1e10),
    st.none() | within(limits.DEADLINE),
    st.sampled_from(AfterDrain),
    st.sampled_from(AtDeadline),
)
SERVERS = st.builds(
    Server,
    ADDRESSES,
    whole(limits.WEIGHT),
    st.sampled_from(ServerState),
    st.none() | whole(limits.CAPACITY),
    st.none() | st.builds(Lease, within(limits.TTL), st.none() | within(limits.DEREGISTER_AFTER)),
    st.none() | DRAINS,
    st.none() | ADDRESSES,
)


@given(GROUPS)
def test_a_group_is_read_as_it_was_written(group: AnycastGroup) -> None:
    assert encoding.group("web", encoding.group_text(group), {}) == group


@given(SERVERS)
def test_a_server_is_read_as_it_was_written(server: Server) -> None:
    assert encoding.server(server.address, encoding.server_text(server)) == server


@given(DRAINS)
def test_a_drain_is_read_as_it_was_written(drain: Drain) -> None:
    assert encoding.drain(encoding.drain_text(drain)) == drain


def test_what_an_earlier_release_did_not_know_has_its_default() -> None:
    web = encoding.group("web", '{"prefixes": ["198.18.0.1/32"]}', {})
    assert web == AnycastGroup("web", (Prefix.parse("198.18.0.1/32"),))
    assert encoding.server(packed("10.2.0.10"), "{}") == Server(packed("10.2.0.10"))


@pytest.mark.parametrize("text", ['{"colour": "red"}', '{"weight": 1001}', '{"state": "gone"}', "{", "", "[]", "7"])
def test_what_is_not_known_or_out_of_its_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not|must|cannot|should|valid|JSON"):
        encoding.server(packed("10.2.0.10"), text)


# What the first schema of etcd has.  A setting that is added is not named here, but in ``encoding.LATER``, with a
# schema that the release before does not know: else controllers of both releases could not share an etcd.
FIRST = {
    encoding._Group: "prefixes affinity on_server_loss validity checks min_healthy slow_start_s selection",
    encoding._Server: "weight state capacity lease twin drain",
    encoding._Drain: "operation began_at deadline_s then at_deadline",
    settings.ServiceValidity: "tcp_s tcp_closing_s tcp_closed_s udp_s icmp_s other_s unanswered_s",
    settings.Selection: "distance spill_at",
    settings.Lease: "ttl_s deregister_after_s",
    settings.IcmpCheck: "type interval_s timeout_s rise fall",
    settings.TcpCheck: "type interval_s timeout_s rise fall port",
    settings.UdpCheck: "type interval_s timeout_s rise fall port payload answer dns",
    settings.HttpCheck: "type interval_s timeout_s rise fall port path expect_status",
    settings.PassiveCheck: "type interval_s timeout_s rise fall max_unanswered max_first_reply_s",
}


def sections_in(kind: type[Section]) -> Iterator[type[Section]]:
    yield kind
    for field in kind.model_fields.values():
        for inner in _sections_in(field.annotation):
            yield from sections_in(inner)


def test_each_setting_has_the_schema_that_has_brought_it() -> None:
    sections = {*sections_in(encoding._Group), *sections_in(encoding._Server)}
    brought = {kind: {*kind.model_fields} - {*encoding.LATER.get(kind, {})} for kind in sections}
    assert brought == {kind: {*names.split()} for kind, names in FIRST.items()}


def test_what_an_earlier_schema_does_not_have_is_left_out_at_its_default_and_refused_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = {encoding._Server: {"capacity": 3}, settings.TcpCheck: {"rise": 2}, settings.IcmpCheck: {"type": 2}}
    monkeypatch.setattr(encoding, "LATER", later)
    server = Server(packed("10.2.0.10"))
    assert encoding.server_text(server, 1) == encoding.server_text(server, 3) == '{"weight":1,"state":"active"}'
    large = replace(server, capacity=7)
    assert "capacity" in encoding.server_text(large, 3)
    for schema in (1, 2):
        with pytest.raises(ValueError, match=f"capacity cannot be set yet: it needs schema 3 .* which has {schema}"):
            encoding.server_text(large, schema)

    web = AnycastGroup("web", (Prefix.parse("198.18.0.1/32"),), checks=(TcpCheck(port=80),))
    assert '"rise"' in encoding.group_text(web, 2)
    assert '"rise"' not in encoding.group_text(web, 1)
    assert encoding.group("web", encoding.group_text(web, 1), {}) == web
    for check in (TcpCheck(port=80, rise=5), IcmpCheck()):
        encoding.group_text(replace(web, checks=(check,)), 2)
        with pytest.raises(ValueError, match="it needs schema 2 of etcd, which has 1"):
            encoding.group_text(replace(web, checks=(check,)), 1)
