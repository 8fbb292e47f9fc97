"""REST over TLS: certificates, and peers that mean ill; the real curl and openssl, over loopback; no testbed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rest_service import Service

from tests.unit.certificates import Authority

TLS = ("--rest-tls-cert", "ctl.pem", "--rest-tls-key", "ctl.key")
TRUST = ("--cacert", "ca.pem")


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    Authority(tmp_path).certify("ctl", "DNS:ctl.example", "IP:127.0.0.1")
    yield service
    service.stop()


@pytest.mark.row("M35", "REST over TLS, under the names of its certificate", on="loopback")
def test_rest_speaks_tls_under_the_names_of_its_certificate(service: Service) -> None:
    service.start(*TLS)
    assert service.curl("/v1/groups", *TRUST, scheme="https") == (200, {"groups": []})
    named = ("--resolve", f"ctl.example:{service.port}:127.0.0.1")
    assert service.curl(f"https://ctl.example:{service.port}/v1/groups", *TRUST, *named)[0] == 200
    other = ("-H", f"Host: evil.example:{service.port}")  # a name that the certificate does not have
    assert service.curl(f"https://ctl.example:{service.port}/v1/groups", *TRUST, *named, *other)[0] == 421
    status, problem = service.curl("/v1/groups")
    assert (status, problem["detail"]) == (400, "TLS is spoken here: use https")
