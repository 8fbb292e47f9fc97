"""RemovedServers: which servers are served on although they are no longer enrolled."""

from __future__ import annotations

from anycast_sdn.control.removed_servers import RemovedServers
from anycast_sdn.core.bindings import Binding, BindingTable, Half
from tests.unit.engines.samples import KEY, OTHER, SERVER


class Scene:
    """Two client edges; one of them has a flow that is pinned to ``SERVER``."""

    def __init__(self) -> None:
        self.enrolled = {SERVER, OTHER}
        self.flows = {"arh1": BindingTable(), "arh2": BindingTable()}
        self.flow = Binding(1, KEY, b"\xcb\0\x71\1", "web", 0.0, SERVER, Half.BOTH)
        self.flows["arh1"].put(self.flow)
        self.removed = RemovedServers(lambda: self.enrolled)

    def remove(self, server: bytes) -> None:
        self.enrolled.remove(server)
        self.removed.recheck_server(server, self.flows)

    def recheck(self, edge: str) -> set[bytes]:
        return self.removed.recheck_edge(edge, self.flows[edge])


def test_an_enrolled_server_is_none_of_them() -> None:
    scene = Scene()
    assert scene.recheck("arh1") == set()
    assert list(scene.removed) == []


def test_a_removed_server_is_one_of_them_until_its_last_flow_has_ended() -> None:
    scene = Scene()
    scene.remove(SERVER)
    scene.remove(OTHER)
    assert list(scene.removed) == [SERVER]
    scene.flows["arh1"].remove(scene.flow)
    assert scene.recheck("arh1") == {SERVER}
    assert list(scene.removed) == []


def test_it_stays_one_while_another_client_edge_has_flows_to_it() -> None:
    scene = Scene()
    scene.remove(SERVER)
    scene.flows["arh2"].put(scene.flow)
    assert scene.recheck("arh2") == {SERVER}
    scene.flows["arh1"].remove(scene.flow)
    assert scene.recheck("arh1") == {SERVER}
    assert SERVER in scene.removed


def test_a_server_that_is_enrolled_again_is_none_of_them() -> None:
    scene = Scene()
    scene.remove(SERVER)
    scene.enrolled.add(SERVER)
    scene.removed.recheck_server(SERVER, scene.flows)
    assert SERVER not in scene.removed
    assert scene.recheck("arh1") == set()
