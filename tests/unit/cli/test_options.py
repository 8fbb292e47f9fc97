"""How addresses are written on the command line."""

from __future__ import annotations

import pytest

from anycast_sdn.cli import main


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1:6653", ("192.0.2.1", 6653)),
        ("[::]:6653", ("::", 6653)),
        ("[2001:db8::1]:80", ("2001:db8::1", 80)),
        ("localhost:8080", ("localhost", 8080)),
        (":8080", ("127.0.0.1", 8080)),
    ],
)
def test_addresses_are_written_with_a_port_and_ipv6_in_brackets(text: str, address: tuple[str, int]) -> None:
    assert main.parser().parse_args(["run", "my.yaml", "--openflow", text]).openflow == address
    assert main.parser().parse_args(["flows", "--rest", text]).rest == (*address, "http")


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "::1:8080", "[::1]", "[zz]:80", "[127.0.0.1]:80", "a b:80", "host:0", "host:65536", "host:٣", "h/:1"],
)
def test_other_addresses_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["flows", "--rest", text])
    assert ended.value.code == 2
    assert "is not HOST:PORT, as in 127.0.0.1:8080 or [::1]:8080" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "a b", "host:80", "http://host", "host/", "[::1]", "h\u00f6st", "a\x1b[31m"])
def test_a_rest_host_that_cannot_be_a_host_field_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["run", "my.yaml", "--rest-host", text])
    assert ended.value.code == 2
    assert "is not a host name, as in controller.example, without http:// and port" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["controller.example", "localhost", "192.0.2.1", "2001:db8::1", "a_b"])
def test_host_names_and_addresses_may_be_given_to_rest(text: str) -> None:
    assert main.parser().parse_args(["run", "my.yaml", "--rest-host", text]).rest_host == [text]
