"""What an odd or hostile router can do to a BGP session: programs/bgp_conversation.py, in a namespace of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from support import PROGRAMS, ROOT

CASES = [
    "bits beyond the length of a prefix say nothing",
    "a withdrawal right after the announcement is not lost",
    "a refresh is answered, and one of an unknown family ignored",
    "a router without keepalives is refused, and the reason shown",
    "connections that are reset at once are followed by others",
    "routes beyond the limit are ignored, and counted, and forgotten",
]


@pytest.mark.row("M24", "BGP", on="a router made for that")
@pytest.mark.parametrize("case", CASES)
def test_what_a_router_says_costs_no_session_but_its_own(case: str) -> None:
    words = ["unshare", "--net", sys.executable, str(PROGRAMS / "bgp_conversation.py")]
    name = case.replace(",", "").replace(" ", "_")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([*words, name], env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
