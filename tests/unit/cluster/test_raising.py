"""Members of two releases side by side: the schema is raised when the last one is of the later release."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest

from anycast_sdn.cluster.agreement import NETWORK, Agreement
from anycast_sdn.cluster.keys import MEMBERS, MemberKey
from anycast_sdn.cluster.overview import SchemaState
from anycast_sdn.cluster.raising import LASTS_S, Raising
from anycast_sdn.cluster.steering import CannotSteer
from anycast_sdn.core.election_events import SchemaRaised
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.etcd.client import Put
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.etcd.schema import KNOWN, SCHEMA
from tests.unit.cluster.world import PREFIX, Process, World
from tests.unit.operators import network

HERE = network()
EARLIER: Sequence[int] = (1,)


class Releases(World):
    """A cluster whose members have releases, each with what raises the schema."""

    def __init__(self) -> None:
        super().__init__()
        self.raising: dict[str, Raising] = {}
        self.agreements: dict[str, Agreement] = {}

    def join(self, name: str, known: Sequence[int]) -> Process:
        """Raises ConfigurationError."""
        looking = Agreement(self.mirror(), HERE, known)
        Raising(self.mirror(), looking, "", HERE.name, known).must_be_known()
        process = self.start(name, known=known)
        agreement = Agreement(process.mirror, HERE, known)
        self.raising[name] = Raising(process.mirror, agreement, process.id, HERE.name, known)
        agreement.join()
        self.agreements[name] = agreement
        self.run(1)
        return process

    def mirror(self) -> Mirror:
        mirror = Mirror(self.etcd.client(), PREFIX)
        mirror.load()
        return mirror

    def leave(self, process: Process) -> None:
        process.cluster.drain(process.id)
        self.run(1)
        self.kill(process)
        self.etcd.revoke(process.lease.number)
        self.run(1)

    def look(self, seconds: float, missing: Collection[str] = ()) -> list[SchemaRaised]:
        """What each member does about the schema, twice a second."""
        raised = []
        for _ in range(round(seconds * 2)):
            self.run(0.5)
            for process in self.members:
                name = process.id.partition("-")[0]
                if found := self.raising[name].look(missing, self.etcd.now):
                    raised.append(found)
        return raised

    @property
    def schema(self) -> str:
        return self.etcd.values[PREFIX + SCHEMA].text


@pytest.fixture
def world() -> Releases:
    return Releases()


def test_the_schema_is_raised_when_the_last_member_has_the_later_release(world: Releases) -> None:
    m0, m1 = world.join("m0", EARLIER), world.join("m1", EARLIER)
    world.leave(m0)
    m0 = world.join("m0", KNOWN)
    assert world.look(LASTS_S * 2) == []
    assert world.raising["m0"].state() == SchemaState(1, 2, ["m1"])
    world.leave(m1)
    m1 = world.join("m1", KNOWN)
    assert world.look(LASTS_S - 3) == []
    assert world.look(4) == [SchemaRaised(1, 2)]
    world.run(0.1)
    assert world.schema == "2"
    assert world.raising["m1"].state() == SchemaState(2, 0, [])
    assert [each.differs for each in world.agreements.values()] == ["", ""]
    assert world.look(LASTS_S * 2) == []


def test_a_release_that_does_not_know_it_is_refused_and_says_what_to_do(world: Releases) -> None:
    world.join("m0", KNOWN)
    said = f"network {HERE.name}, has schema version 2, this release reads up to 1: use the release that .*m0 has"
    with pytest.raises(ConfigurationError, match=said):
        world.join("m1", EARLIER)


def test_it_is_not_raised_while_a_member_is_missing_or_just_started_anew(world: Releases) -> None:
    for name in ("m0", "m1"):
        world.join(name, KNOWN)
    world.etcd.put(PREFIX + SCHEMA, "1")
    assert world.look(LASTS_S * 2, missing=["m2"]) == []
    assert world.look(LASTS_S - 3) == []
    earlier = world.join("m2", EARLIER)
    assert world.look(LASTS_S) == []
    world.leave(earlier)
    assert world.look(LASTS_S + 2) == [SchemaRaised(1, 2)]


def test_who_joins_at_that_moment_keeps_it_from_being_raised(world: Releases) -> None:
    world.join("m0", KNOWN)
    world.etcd.put(PREFIX + SCHEMA, "1")
    world.look(LASTS_S - 1)
    late = MemberKey("m1", "rest", [], schemas=EARLIER).text()
    transact = world.members[0].client.transact

    def behind_another(conditions, operations, otherwise=()):  # type: ignore[no-untyped-def]
        if any(isinstance(each, Put) and each.key == PREFIX + SCHEMA for each in operations):
            world.etcd.put(f"{PREFIX}{MEMBERS}m1-1", late)
        return transact(conditions, operations, otherwise)

    world.members[0].client.transact = behind_another  # type: ignore[method-assign]
    assert world.look(LASTS_S) == []
    assert world.schema == "1"


def test_a_member_that_was_cut_off_meanwhile_does_not_lead_and_can_read_nothing(world: Releases) -> None:
    m0 = world.join("m0", KNOWN)
    world.etcd.put(PREFIX + SCHEMA, "1")
    m1 = world.join("m1", EARLIER)
    assert m0.cluster.leads()
    world.etcd.put(PREFIX + SCHEMA, "2")
    world.run(1)
    with pytest.raises(CannotSteer, match="m1 has a release that cannot read what etcd has"):
        m0.cluster.lead("m1")
    with pytest.raises(CannotSteer, match="m0 is the last member that may lead"):
        m0.cluster.drain("m0")
    world.kill(m0)
    world.run(10)
    assert not m1.cluster.leads()


def test_an_accepted_file_that_is_not_the_leaders_is_not_replaced(world: Releases) -> None:
    world.join("m0", KNOWN)
    world.etcd.put(PREFIX + SCHEMA, "1")
    world.run(1)
    other = replace(HERE, switches=(replace(HERE.switches[0], dpid=7), *HERE.switches[1:]))
    Agreement(world.mirror(), other).accept()
    accepted = world.etcd.values[PREFIX + NETWORK].text
    assert world.look(LASTS_S * 2) == []
    assert world.etcd.values[PREFIX + NETWORK].text == accepted


@pytest.mark.parametrize("schemas", ["null", '"x"', "[]", '["2"]', "7"])
def test_what_a_member_says_of_its_schemas_may_be_nonsense(schemas: str) -> None:
    assert MemberKey.of(f'{{"name": "m0", "schemas": {schemas}}}').schemas == (1,)
