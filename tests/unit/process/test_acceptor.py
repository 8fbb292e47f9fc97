"""How many connections may wait, and what counts as one address."""

import pytest

from anycast_sdn.process.acceptor import MOST_STRANGERS, OTHER_FILES, most_strangers, origin


@pytest.mark.parametrize("files", [32, 64, 256, 1024, 4096, 1 << 20])
@pytest.mark.parametrize("switches", [1, 4, 200])
def test_strangers_leave_files_for_all_switches_and_for_everything_else(switches: int, files: int) -> None:
    most = most_strangers(switches, files)
    assert 4 <= most <= MOST_STRANGERS
    if files * 3 // 4 >= switches + OTHER_FILES + 4:
        assert most + switches + OTHER_FILES + files // 4 <= files  # a quarter is left for REST


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_loopback_may_be_many(address: str) -> None:
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
def test_one_address_is_a_64_of_ipv6_but_of_link_local_ones(one: str, other: str, same: bool) -> None:
    assert (origin(one) == origin(other)) is same
