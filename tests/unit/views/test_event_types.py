"""Each type of event has one name and says what has happened; docs/events.md has all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from anycast_sdn.core.events import Reported, Severity
from anycast_sdn.views.event_types import event_types, happened, members, severities

ROOT = Path(__file__).parents[3]


def test_names_are_unique() -> None:
    names = [kind.type for kind in event_types()]
    assert len(names) == len(set(names))
    assert {"link.down", "server.health", "catchment.changed", "controller.started", "flow.opened"} <= set(names)


@pytest.mark.parametrize("kind", event_types(), ids=lambda kind: kind.type)
def test_each_type_is_described(kind: type[Reported]) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", kind.type)
    assert happened(kind).endswith(".")
    assert not happened(kind).startswith(kind.__name__), "its docstring is missing"
    assert any(severity.value in severities(kind) for severity in Severity)
    assert set(re.findall(r"`(\w+)`(?=[^.;]*:)", happened(kind))) <= set(members(kind)), "members that it has"


def test_each_type_that_the_code_declares_is_returned_somewhere() -> None:
    code = "".join(
        path.read_text() for path in (ROOT / "anycast_sdn").rglob("*.py") if not path.name.endswith("_events.py")
    ) + (ROOT / "anycast_sdn/core/flow_events.py").read_text()
    made = set(re.findall(r"\b([A-Z]\w+)(?=\(| if | else |\))", code))
    assert not {kind.__name__ for kind in event_types()} - made


def test_only_events_and_what_belongs_to_none_is_logged() -> None:
    """A new line of the log should be an event.  These are about the start, the end, REST or a fault of ours."""
    lines = {
        f"{path.relative_to(ROOT / 'anycast_sdn')}": len(re.findall(r"LOG\.(?!exception|debug)\w+\(", path.read_text()))
        for path in (ROOT / "anycast_sdn").rglob("*.py")
        if "agent" not in path.parts
    }
    assert {name for name, count in lines.items() if count} <= {
        "process/run.py", "process/rest_service.py", "process/service_manager.py", "process/acceptor.py",
        "store/sqlite.py", "process/peers.py", "process/clustered.py",
        # What another member has written in etcd, or sent, and cannot be used.
        "cluster/agreement.py", "control/noted.py", "process/bgp_sessions.py", "process/shared_flows.py",
        "process/sharing.py", "process/shared_codes.py", "process/shared_counters.py", "process/mirroring.py",
        "store/etcd.py",
        "process/switch_tls.py",  # certificates that were read again, or cannot be
    }  # fmt: skip
