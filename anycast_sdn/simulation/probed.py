"""What packets through a simulated switch show of it, as those of ``openflow.packet_trials`` through a real one."""

from __future__ import annotations

from typing import Protocol

from anycast_sdn.openflow.abilities import Lack
from anycast_sdn.openflow.layout import Layout
from anycast_sdn.openflow.packet_probes import PacketProbe, lacks_shown, number_in, packet_probes
from anycast_sdn.openflow.rules import Message
from anycast_sdn.simulation.effects import Effect, PacketIn
from anycast_sdn.simulation.refusals import Refused

_NONCE = b"any nonce"


class Probed(Protocol):
    def apply(self, message: Message, now: float) -> list[Effect]: ...


def lacks_of(switch: Probed, layout: Layout) -> tuple[Lack, ...]:
    """``switch``: one that holds nothing, and is thrown away."""
    probes = [probe for probe in packet_probes(layout, _NONCE) if _takes(switch, probe)]
    return lacks_shown({probe: _back(switch, probe) for probe in probes}, layout)


def _takes(switch: Probed, probe: PacketProbe) -> bool:
    try:
        for rule in probe.rules:
            switch.apply(rule, 0.0)
    except Refused:
        return False
    return True


def _back(switch: Probed, probe: PacketProbe) -> bytes | None:
    try:
        effects = switch.apply(probe.message, 0.0)
    except Refused:
        return None
    frames = (each.frame for each in effects if isinstance(each, PacketIn))
    return next((frame for frame in frames if number_in(frame, _NONCE) is not None), None)
