"""The health of a server in a group, as JSON."""

from __future__ import annotations

from typing import Any

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.model import Address
from anycast_sdn.core.times import rfc3339


def server_health(controller: Controller, group: str, server: Address, now: float, epoch: float) -> dict[str, Any]:
    """``epoch``: the wall clock's time at ``now``.  ``reason`` is "" while all checks pass."""
    health = controller.health.of(group, server)
    subnet = controller.network.subnet_of(server)
    edge = controller.switch(subnet.edge) if subnet else None
    held = f"held as it was: {edge.name} is not connected" if edge and not edge.synchronised else ""
    return {
        "status": health.status.value,
        "since": _time(health.since, now, epoch),
        "reason": "; ".join(filter(None, (held, health.reason))),
        "checks": [
            {
                "type": name.type,
                **({} if name.port is None else {"port": name.port}),
                **({"detail": name.detail} if name.detail else {}),
                "status": state.status.value,
                "since": _time(state.since, now, epoch),
                "output": state.output,
            }
            for name, state in controller.health.checks(group, server)
        ],
    }


def _time(when: float, now: float, epoch: float) -> str | None:
    """RFC 3339; None: there was no result yet."""
    if not when:
        return None
    return rfc3339(epoch - now + when)
