"""HAProxy's agent-check line: each word, words together, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anycast_sdn.agent.agent_line import AgentLine, read_line


@pytest.mark.parametrize(
    ("line", "read"),
    [
        (b"up", AgentLine(is_up=True, output="up")),
        (b"up\n", AgentLine(is_up=True, output="up")),
        (b"UP\r\n", AgentLine(is_up=True, output="up")),
        (b"down", AgentLine(is_up=False, output="down")),
        (b"fail#database is away\n", AgentLine(is_up=False, output="fail: database is away")),
        (b"stopped # on purpose\nup\n", AgentLine(is_up=False, output="stopped: on purpose")),
        (b"drain\n", AgentLine(is_draining=True)),
        (b"maint\n", AgentLine(is_draining=True)),
        (b"ready\n", AgentLine(is_draining=False)),
        (b"75%\n", AgentLine(percent=75)),
        (b"0%", AgentLine(percent=0)),
        (b"150%", AgentLine(percent=150)),
        (b"maxconn:30\n", AgentLine(max_connections=30)),
        (b"ready up 50%\n", AgentLine(True, "up", False, 50)),
        (b" ,up,\tready,100%,maxconn:7 \r", AgentLine(True, "up", False, 100, 7)),
        (b"up drain\n", AgentLine(True, "up", True)),
        (b"up down\n", AgentLine(is_up=False, output="down")),
    ],
)
def test_words_in_any_order_are_read(line: bytes, read: AgentLine) -> None:
    assert read_line(line) == read


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b" , \n", b"#up\n", b"hello\n", b"up hello\n", b"-5%", b"5 %", b"1.5%", b"999999%", b"maxconn:0",
     b"maxconn:-1", b"maxconn:", b"maxconn:9999999999", b"up\0\n", b"\x1b[0mup\n", "üp".encode(), b"\xff\n",
     b"HTTP/1.1 200 OK\r\n"],
)  # fmt: skip
def test_a_line_with_a_word_that_is_none_is_refused_as_a_whole(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_line(line)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(line: bytes) -> None:
    try:
        read = read_line(line)
    except ValueError:
        return
    assert read != AgentLine()
