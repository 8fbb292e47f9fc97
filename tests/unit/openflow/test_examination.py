"""What is said of a switch where trials have not found out whether it is able."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from os_ken.ofproto import ofproto_v1_3 as ofp

from anycast_sdn.openflow.examination import Examination
from anycast_sdn.openflow.features import Features
from anycast_sdn.openflow.judgement import Role, judge
from anycast_sdn.openflow.without import used_without
from anycast_sdn.views.switch_reports import without_views
from tests.unit.switch_end import Peer, error, in_trials, message

IS_IPV6 = b"\x80\x00\x0a\x02\x86\xdd"  # OXM of eth_type
FULL = ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_TABLE_FULL
NOT_SHOWN = "That it does with them what its rules say is not shown"


class Examined(Peer):
    """A switch that is examined.  ``full``: it has no room for rules of IPv6; ``lacks``: what it does not answer."""

    def __init__(self, full: bool = False, lacks: Collection[int] = ()) -> None:
        super().__init__()
        found: list[Features] = []
        unknown = Features(open_vswitch=False)
        Examination(self.connection, ("",) * 5, {1: True, 2: True}, unknown, found.append).begin()
        for _ in range(200):
            for kind, xid, body in self.sent():
                if kind == ofp.OFPT_FLOW_MOD and full and IS_IPV6 in body and body[17] == ofp.OFPFC_ADD:
                    self.say(error(*FULL, xid=xid))
                if kind == ofp.OFPT_ECHO_REQUEST:
                    self.say(message(ofp.OFPT_ECHO_REPLY, body, xid))
                elif kind in lacks:
                    continue
                elif kind == ofp.OFPT_BARRIER_REQUEST:
                    self.say(message(ofp.OFPT_BARRIER_REPLY, b"", xid))
                elif answer := in_trials(kind, body):
                    self.say(answer)
            self.now += 0.25
            self.connection.tick(self.now)
        (self.features,) = found

    def without(self) -> str:
        return "; ".join(each["effect"] for each in without_views(self.features, True, used_without(self.features)))


@pytest.mark.parametrize("role", Role)
def test_what_a_full_table_has_kept_from_being_tried_is_said(role: Role) -> None:
    judgement = judge(role, Examined(full=True).features)
    assert judgement.is_able
    says = f"can be a {role.value}, as far as is known: whether it can match IPv6 packets (tables 0"
    assert judgement.sentence.startswith(says)
    assert "table full" in judgement.sentence
    assert judgement.sentence.endswith("was not found out")
    assert "not known" not in judge(role, Examined(full=True).features, frozenset((4,))).sentence


@pytest.mark.parametrize("role", Role)
def test_that_a_switch_confirms_nothing_is_said(role: Role) -> None:
    switch = Examined(lacks=(ofp.OFPT_BARRIER_REQUEST,))
    says = "as far as is known: it does not confirm what it is sent, and has only not refused it"
    assert judge(role, switch.features).sentence.startswith(f"can be a {role.value}, {says}")
    assert f"whether their rules are there is not known. {NOT_SHOWN}" in switch.without()


def test_why_nothing_was_shown_by_packets_is_said() -> None:
    without = Examined(lacks=(ofp.OFPT_PACKET_OUT,)).without()
    assert f"was not, or not wholly, tried with packets: it does not let them pass its tables. {NOT_SHOWN}" in without
    assert f"tried with packets: none came back. {NOT_SHOWN}" in Examined().without()


def test_of_a_switch_of_which_all_was_found_out_nothing_is_said() -> None:
    assert judge(Role.CORE, Features()).sentence == "can be a core"
    assert not without_views(Features(), True, used_without(Features()))
