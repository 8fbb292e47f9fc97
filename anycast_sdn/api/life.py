"""Drains, their operations, and leases over REST (M33)."""

from __future__ import annotations

from typing import Any

from anycast_sdn.api import access
from anycast_sdn.api.asked import Answer, Asked
from anycast_sdn.api.tokens import Need
from anycast_sdn.control.operations import Operation
from anycast_sdn.core.model import Address, Drain, NotFound, text
from anycast_sdn.core.times import rfc3339
from anycast_sdn.views.turns import with_turns


def drain_server(asked: Asked, group: str, address: Address) -> Answer:
    return _begun(asked.life.drain_server(group, address, **(asked.body.values() if asked.body else {})))


def put_lease(asked: Asked, group: str, address: Address) -> Answer:
    """Renews it; as it is, without a body."""
    server = asked.life.renew(group, address, asked.body.value() if asked.body else None)
    assert server.lease
    lease = {name: value for name, value in server.lease._asdict().items() if value is not None}
    return Answer({**lease, "left_s": asked.life.lease_left_s(group, address)})


def drain_edge(asked: Asked, edge: str) -> Answer:
    return _begun(asked.life.drain_edge(edge, **(asked.body.values() if asked.body else {})))


def resume_edge(asked: Asked, edge: str) -> Answer:
    asked.life.resume_edge(edge)
    return Answer()


def list_operations(asked: Asked) -> Answer:
    operations = with_turns(asked.life.operations(), asked.turn.over)
    return Answer({"operations": [_operation_json(each) for each in operations]})


def get_operation(asked: Asked, id: str) -> Answer:
    """For those who may read, and those who may enrol the server that is drained."""
    operation = asked.life.operation(id)
    if not any(asked.caller.may(Need.READ, operation.group, address) for address in operation.addresses):
        access.check_caller(asked.caller, Need.READ, operation.group)
    return Answer(_operation_json(asked.life.operation(id, asked.query.wait)))


def drain_json(asked: Asked, drain: Drain | None) -> dict[str, Any] | None:
    if drain is None:
        return None
    try:
        operation = asked.life.operation(drain.operation)
        flows = {"flows_at_start": operation.flows_at_start, "flows_left": operation.flows_left}
    except NotFound:
        flows = {"flows_at_start": None, "flows_left": None}
    return {
        "operation": drain.operation,
        **flows,
        "since": _time(drain.began_at),
        "deadline": _time(None if drain.deadline_s is None else drain.began_at + drain.deadline_s),
        "then": drain.then.value,
        "at_deadline": drain.at_deadline.value,
    }


def _begun(operation: Operation) -> Answer:
    return Answer(_operation_json(operation), status=202, location=f"/v1/operations/{operation.id}")


def _operation_json(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "kind": operation.kind.value,
        "state": operation.state.value,
        "edge": operation.edge,
        "group": operation.group or None,
        "addresses": list(map(text, operation.addresses)),
        "flows_at_start": operation.flows_at_start,
        "flows_left": operation.flows_left,
        "since": _time(operation.began),
        "deadline": _time(operation.deadline),
        "ended": _time(operation.ended),
        "reason": operation.reason,
    }


def _time(epoch: float | None) -> str | None:
    """RFC 3339."""
    return None if epoch is None else rfc3339(epoch)
