"""Switches that one member has to decide on alone are not shared."""

from __future__ import annotations

import pytest

from tests.unit import rest_client
from tests.unit.rest_client import Client


@pytest.mark.parametrize("verb", ["share", "gather"])
def test_the_switches_are_not_shared_while_one_of_them_has_two_tables(
    monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    two = {"ingress": 0} | dict.fromkeys(("client_out", "service", "client_in", "routes"), 1)
    monkeypatch.setattr(rest_client, "REPORT", rest_client.REPORT | {"layout": two})
    problem = Client(":memory:").refused(409, "POST", f"/v1/cluster/{verb}")
    if verb == "share":
        assert problem["detail"].startswith("not while there are switches with two tables")
        assert "arh1" in problem["detail"]
    else:
        assert "this controller is alone" in problem["detail"]
