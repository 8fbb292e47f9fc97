"""Admission: which connections of switches are admitted: one of each switch that the network file has.

Where switches show certificates, a connection must show that of the switch that it says it is, before anything is done
about its datapath id.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from anycast_sdn.control.controller import Controller
from anycast_sdn.openflow.channel import Channel

SHOWN_IDS = 8  # of switches that are not connected, in one line of the log


class Admission:
    def __init__(
        self, controller: Controller, connected: Callable[[int], Channel | None], admit: Callable[[Channel], None]
    ) -> None:
        """``connected``: the connection of a switch (by datapath id) that has been admitted."""
        self._controller = controller
        self._connected = connected
        self._admit = admit

    def identified(self, switch: Channel) -> None:
        """A second connection replaces the first only if that is dead: otherwise any peer could end the first."""
        if switch.id not in self._controller.switches:
            text = f"switch {switch.id:016x} is not in the network file; {self._awaited()}"
            switch.close(text, f"unknown {switch.id}")
        elif wrong := self._wrong_certificate(switch):
            switch.close(wrong, f"certificate {switch.id}")
        elif older := self._connected(switch.id):
            older.probe(partial(self._choose, switch, older))
        else:
            self._admit(switch)

    def _wrong_certificate(self, switch: Channel) -> str:
        """What is wrong; "": nothing, or no certificate is asked for."""
        described, shown = self._controller.switches[switch.id].described, switch.certificate
        if shown is None or shown.is_of(described.bound_to):
            return ""
        return (
            f"it says that it is switch {described.name} (datapath id {switch.id:016x}), and shows the certificate of "
            f"{shown}; in the network file, that of {described.name} is {described.bound_to}"
        )

    def _awaited(self) -> str:
        """The switches of the file that are not connected, or all of them."""
        known = self._controller.switches
        awaited = [dpid for dpid in known if self._connected(dpid) is None] or list(known)
        ids = [f"{dpid:016x} ({known[dpid].name})" for dpid in awaited[:SHOWN_IDS]]
        more = f" and {len(awaited) - SHOWN_IDS} more" if len(awaited) > SHOWN_IDS else ""
        return f"{'awaited' if len(awaited) < len(known) else 'it has'}: {', '.join(ids)}{more}"

    def _choose(self, newer: Channel, older: Channel, alive: bool) -> None:
        """Of two connections of a switch, after a probe of the older one."""
        if newer.is_closed:
            return
        if alive:
            newer.close(f"switch {older.name} is connected already, and answers", f"second {newer.id}")
            return
        older.close(f"it does not answer, and has connected again from {newer.peer}")
        self.identified(newer)
