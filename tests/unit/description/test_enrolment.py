"""Which groups and servers may be enrolled, as checked for REST."""

from __future__ import annotations

import re

import pytest

from anycast_sdn.core.groups import Groups
from anycast_sdn.core.model import AnycastGroup, Prefix, packed
from anycast_sdn.description import enrolment, reading
from tests.unit.network_files import EDGE, VALID, edited

NETWORK = reading.parse(VALID, "net.yaml")
WEB, DNS = NETWORK.groups


def test_a_group_may_be_enrolled_again_and_changed_although_its_prefixes_overlap_its_former_ones() -> None:
    changed = AnycastGroup("web", (Prefix.parse("198.18.0.0/24"),))
    enrolment.check_group(NETWORK, NETWORK.groups, WEB)
    enrolment.check_group(NETWORK, NETWORK.groups, changed)


@pytest.mark.parametrize(
    ("group", "error", "where"),
    [
        (AnycastGroup("Web", WEB.prefixes), enrolment.InvalidGroup, "name"),
        (AnycastGroup("new", ()), enrolment.InvalidGroup, "prefixes"),
        (AnycastGroup("new", (Prefix.parse("192.0.2.1/32"),)), enrolment.OutsideAnycast, "prefixes[0]"),
        (AnycastGroup("new", (*DNS.prefixes, *WEB.prefixes)), enrolment.Overlap, "prefixes[0]"),
    ],
)
def test_a_group_that_may_not_be_enrolled_has_an_error_of_its_own(
    group: AnycastGroup, error: type[enrolment.EnrolmentError], where: str
) -> None:
    with pytest.raises(error) as caught:
        enrolment.check_group(NETWORK, NETWORK.groups, group)
    assert caught.value.where == where


def test_service_addresses_have_to_fit_beside_the_clients_of_an_edge_inside_a_connection_tracker() -> None:
    network = reading.parse(edited({f"{EDGE}.engine": "conntrack"}), "net.yaml")
    half = AnycastGroup("half", (Prefix.parse("2001:db8:a::/65"),))
    enrolled = Groups({"half": half})
    enrolment.check_group(network, enrolled, half)  # again, in place of itself
    for prefix, fits in (("2001:db8:a:1::/65", False), ("2001:db8:a:1::/66", True)):
        more = AnycastGroup("more", (Prefix.parse(prefix),))
        enrolment.check_group(NETWORK, enrolled, more)
        if fits:
            enrolment.check_group(network, enrolled, more)
            continue
        with pytest.raises(enrolment.NoRoom, match="leave 18446744073709551615"):
            enrolment.check_group(network, enrolled, more)
        with pytest.raises(enrolment.NoRoom):
            enrolment.check_room(network, enrolled.replaced(more))


@pytest.mark.parametrize(
    ("address", "error"),
    [
        ("10.1.0.10", enrolment.ServerInClientSubnet),
        ("10.9.0.10", enrolment.ServerOutsideEdges),
        ("198.18.0.1", enrolment.ServerOutsideEdges),
        ("2001:db8:2::10", enrolment.WrongFamily),
        ("10.2.0.1", enrolment.NotAHostAddress),
        ("10.2.0.255", enrolment.NotAHostAddress),
    ],
)
def test_a_server_that_may_not_be_enrolled_has_an_error_of_its_own(
    address: str, error: type[enrolment.EnrolmentError]
) -> None:
    with pytest.raises(error, match=re.escape(address)):
        enrolment.check_server(NETWORK, WEB, packed(address))


def test_a_server_behind_a_server_edge_may_be_enrolled_again_and_again() -> None:
    enrolment.check_server(NETWORK, WEB, packed("10.2.0.10"))
    enrolment.check_server(NETWORK, WEB, packed("10.2.0.12"))
