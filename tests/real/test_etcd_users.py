"""A real etcd with users: a controller that has a name and a password there, and what becomes of its token."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from etcd_server import EtcdServer
from support import TOPOLOGIES, until
from test_etcd_store import Controller

from anycast_sdn.cli import main
from anycast_sdn.etcd.client import Etcd, EtcdError, Put
from anycast_sdn.etcd.users import User

FIGURE1 = TOPOLOGIES / "figure1.yaml"
NOTICED_S = 60.0  # more than it takes, for a busy machine
WEB = {"prefixes": ["198.18.0.1/32"]}


class Guarded(EtcdServer):
    """It has the user ctl, who may use the keys of controllers; ``as_root`` asks as its administrator."""

    def __enter__(self) -> Guarded:
        super().__enter__()
        first, after = (b64encode(text.encode()).decode() for text in ("/anycast-sdn/", "/anycast-sdn0"))
        for name in ("root", "ctl"):
            self.ask("auth/user/add", name=name, password=name)
            self.ask("auth/role/add", name=name)
            self.ask("auth/user/grant", user=name, role=name)
        self.ask("auth/role/grant", name="ctl", perm={"permType": "READWRITE", "key": first, "range_end": after})
        self.ask("auth/enable")
        return self

    def as_root(self, path: str, **members: Any) -> Any:
        token = self.ask("auth/authenticate", name="root", password="root")["token"]
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(members).encode())
        request.add_header("Authorization", token)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def _answers(self) -> bool:
        """It does not take what has no user, once it has some."""
        try:
            self.put("ready", "")
        except urllib.error.HTTPError as refusal:
            return refusal.code == 400
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with Guarded(tmp_path_factory.mktemp("users")) as server:
        yield server


def test_a_controller_with_a_user_goes_on_when_its_token_does_not_count_any_more(
    etcd: Guarded, tmp_path: Path
) -> None:
    (password := tmp_path / "password").write_text("ctl\n")
    options = ["--etcd", etcd.url, "--etcd-user", "ctl", "--etcd-password-file", str(password)]

    def enrols(controller: Controller, weight: int) -> bool:
        return controller.rest("PUT", "/v1/groups/web", {**WEB, "min_healthy": weight}).status in (200, 201)

    with Controller(FIGURE1, tmp_path, options) as controller:
        until(lambda: enrols(controller, 1), "it leads, and enrols", NOTICED_S)
        etcd.stop()
        etcd.start()  # it has forgotten all tokens
        until(lambda: enrols(controller, 2), "it goes on after a restart of etcd", NOTICED_S)
        password.write_text("wachtwoord\n")
        etcd.as_root("auth/user/changepw", name="ctl", password="wachtwoord")
        until(lambda: enrols(controller, 3), "it goes on with another password", NOTICED_S)
        words = ["store", "export", str(FIGURE1), *options, "--output", f"{tmp_path}/exported.json"]
        assert main.main(words) == 0
        etcd.as_root("auth/disable")
        until(lambda: enrols(controller, 4), "it goes on when etcd has no users any more", NOTICED_S)
        etcd.ask("auth/enable")
        until(lambda: enrols(controller, 5), "and when it has some again", NOTICED_S)
        assert "Traceback" not in controller.log(), controller.log()
        assert "wachtwoord" not in controller.log()
        etcd.as_root("auth/user/changepw", name="ctl", password="ctl")


def test_what_is_wrong_with_a_user_is_said(etcd: Guarded) -> None:
    with pytest.raises(EtcdError, match="--etcd-user, or its password, is wrong"):
        Etcd([etcd.url], user=User("ctl", lambda: "wrong")).below("/anycast-sdn/x/")
    with pytest.raises(EtcdError, match="it wants a user's name and password: --etcd-user"):
        Etcd([etcd.url]).below("/anycast-sdn/x/")
    with pytest.raises(EtcdError, match="its user may not do that: etcdctl role grant-permission"):
        Etcd([etcd.url], user=User("ctl", lambda: "ctl")).transact((), [Put("/other", "1")])
