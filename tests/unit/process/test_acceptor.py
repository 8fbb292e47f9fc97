"""How many connections may await admission, and what counts as one address."""

import pytest

from anycast_sdn.process.acceptor import MAX_WAITING, OTHER_FILES, max_waiting, origin


@pytest.mark.parametrize("files", [32, 64, 256, 1024, 4096, 1 << 20])
@pytest.mark.parametrize("switches", [1, 4, 200])
def test_connections_that_await_admission_leave_files_for_all_switches_and_for_everything_else(
    switches: int, files: int
) -> None:
    most = max_waiting(switches, files)
    assert 4 <= most <= MAX_WAITING
    if files * 3 // 4 >= switches + OTHER_FILES + 4:
        assert most + switches + OTHER_FILES + files // 4 <= files  # a quarter is left for REST


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_connections_from_loopback_are_not_bounded(address: str) -> None:
    assert origin(address) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_an_ipv6_prefix_of_64_bits_counts_as_one_address_unless_it_is_link_local(
    one: str, other: str, same: bool
) -> None:
    assert (origin(one) == origin(other)) is same
