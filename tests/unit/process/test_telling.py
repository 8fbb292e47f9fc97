"""What the leader has decided counts at the masters of shared switches before a change is answered."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from anycast_sdn.control.share import Share
from anycast_sdn.core.model import Prefix
from anycast_sdn.process import sharing
from anycast_sdn.process.sharing import TAKEN, TOLD, By, Sharing
from tests.unit.engines import samples
from tests.unit.engines.samples import CLIENT_EDGE
from tests.unit.process.test_mirroring import GENERATION, TERM, Lines

SERVICE = Prefix.parse("198.18.0.0/24")


class Member:
    """A ``Masters``, and its ``Sharing``."""

    def __init__(self, member: str, others: list[Lines], share: Share) -> None:
        self.member, self._share, self.now = member, share, 100.0
        self.controller = samples.controller()
        self.switch = self.controller.switches[CLIENT_EDGE]
        self.switch.share = share
        self.lines = Lines(member, others)
        connections = SimpleNamespace(channels={}, generation=lambda dpid: GENERATION)
        self.sharing = Sharing(self.controller, self, connections, self.lines, None, None, lambda: self.now)  # type: ignore[arg-type]

    def leads(self) -> bool:
        return self._share is Share.REST

    def leader(self) -> str:
        return "a"

    def term(self) -> int:
        return TERM

    def announce(self, service: Prefix, on: bool = True) -> None:
        self.controller.announcements._set_able("east", service, on, 0.0)

    def announces(self, service: Prefix) -> bool:
        return self.controller.announcements.is_announced(service)


class Two:
    def __init__(self) -> None:
        others: list[Lines] = []
        self.leader, self.master = Member("a", others, Share.REST), Member("b", others, Share.FLOWS)
        self.leader.sharing._managed[CLIENT_EDGE] = By("b", GENERATION, (1, 1))

    def tell(self) -> list[str]:
        late = list(self.leader.sharing.tell_now())
        self.leader.lines.deliver()
        return late

    def answer(self) -> list[str]:
        self.master.lines.deliver()
        return list(self.leader.sharing.tell_now())


@pytest.fixture
def two() -> Two:
    two = Two()
    two.tell()
    two.answer()
    return two


def test_a_master_is_late_until_it_has_taken_what_was_decided(two: Two):
    assert not two.tell()
    two.leader.announce(SERVICE)
    assert two.tell() == ["west"]
    assert two.master.announces(SERVICE)
    assert not two.answer()
    two.leader.announce(SERVICE, False)
    assert two.tell() == ["west"]
    assert not two.master.announces(SERVICE)


def test_nothing_is_told_twice(two: Two):
    two.leader.announce(SERVICE)
    two.tell()
    two.answer()
    two.leader.sharing.tell_now()
    assert not [topic for topic, _ in two.leader.lines.said if topic == TOLD]


def test_a_master_has_taken_it_only_when_it_knows_what_is_enrolled(two: Two):
    two.leader.sharing.enrolled(5)
    two.leader.announce(SERVICE)
    assert two.tell() == ["west"]
    assert two.answer() == ["west"]
    two.master.sharing.enrolled(4)
    assert two.answer() == ["west"]
    two.master.sharing.enrolled(5)
    assert not two.answer()


def test_an_enrolment_by_which_nothing_else_changes_is_waited_for_as_well(two: Two):
    two.leader.sharing.enrolled(9)
    assert two.tell() == ["west"]
    two.master.sharing.enrolled(9)
    assert not two.answer()


def test_what_is_not_taken_is_told_again_as_a_whole(two: Two):
    two.leader.announce(SERVICE)
    two.leader.sharing.tell_now()
    two.leader.lines.said.clear()  # it was lost
    other = Prefix.parse("198.18.9.0/24")
    two.leader.announce(other)
    assert two.tell() == ["west"]
    assert not two.master.announces(other)  # it does not know what came before
    assert two.answer() == ["west"]
    two.leader.now += sharing.TAKEN_S + 0.1
    two.tell()
    assert two.master.announces(SERVICE)
    assert two.master.announces(other)
    assert not two.answer()


def test_a_member_that_does_not_lead_waits_for_nobody(two: Two):
    assert not two.master.sharing.tell_now()
    two.leader.lines.listeners[TAKEN]("b", "nonsense")
    assert not two.tell()
