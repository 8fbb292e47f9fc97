"""Who may use REST: tokens on the controller as a process, over loopback, asked by the real curl; no testbed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rest_service import JSON, Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """At the end: it is alive, has met no error of its own, and no token is in any line of its log."""
    service = Service(tmp_path)
    yield service
    service.stop()


@pytest.mark.row("M35", "a token of one group changes nothing in another, and nothing when revoked", on="loopback")
def test_a_token_has_its_own_rights_until_it_is_revoked(service: Service) -> None:
    admin, web = service.token("root", "--scope", "admin"), service.token("web", "--scope", "enrol:web")
    service.start()
    for group, prefix in (("web", "198.18.0.1/32"), ("dns", "198.18.0.53/32")):
        body = json.dumps({"prefixes": [prefix]})
        assert service.curl(f"/v1/groups/{group}", "-X", "PUT", *JSON, "-d", body, token=admin)[0] == 201
    enrol = ("-X", "PUT", *JSON, "-d", "{}")
    assert service.curl("/v1/groups/web/servers/10.2.0.10", *enrol)[0] == 401
    assert service.curl("/v1/groups/web/servers/10.2.0.10", *enrol, token=web)[0] == 201
    assert service.curl("/v1/groups/web/servers/10.2.0.10", token=web)[0] == 200
    status, problem = service.curl("/v1/groups/dns/servers/10.2.0.10", *enrol, token=web)
    assert (status, "enrol:dns" in problem["detail"]) == (403, True)
    for path, options in (
        ("/v1/groups/dns", ()),
        ("/v1/flows", ()),
        ("/v1/flows?group=web", ("-X", "DELETE")),
        ("/v1/groups/web", ("-X", "DELETE")),
        ("/v1/topology/links/arh1:1", ("-X", "PATCH", *JSON, "-d", '{"cost": 2}')),
    ):
        assert service.curl(path, *options, token=web)[0] == 403, path
    service.command("token", "revoke", "web", "--database", "db.sqlite")
    service.reload()
    assert service.curl("/v1/groups/web/servers/10.2.0.10", token=web)[0] == 401
    assert service.curl("/v1/groups/web/servers/10.2.0.10", token=admin)[0] == 200
