"""What switches are asked when they connect."""

from __future__ import annotations

from dataclasses import fields

from anycast_sdn.control.translation import Features
from anycast_sdn.openflow.pipeline import kind_of
from anycast_sdn.openflow.rules import FinTimeout
from anycast_sdn.questions import TRIALS


def test_each_trial_is_for_a_feature() -> None:
    assert TRIALS.keys() <= {field.name for field in fields(Features)}


def test_rules_that_are_only_tried_go_by_themselves_and_are_nobody_s() -> None:
    """Open vSwitch dies of rules with fin_timeout and without a timeout of their own when they go."""
    for trial in TRIALS.values():
        assert trial.rule.idle_timeout
        assert not trial.rule.notify
        assert kind_of(trial.rule.cookie) is None


def test_extensions_of_open_vswitch_are_tried_there_alone() -> None:
    for name, trial in TRIALS.items():
        assert trial.extension or not any(isinstance(action, FinTimeout) for action in trial.rule.actions), name
