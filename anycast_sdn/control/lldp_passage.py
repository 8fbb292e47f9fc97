"""Where LLDP comes through: some switches keep it to themselves, and then its silence says nothing of their links.

The rules kept here:
- That LLDP does not come through at a switch is found when it is missed at one of its links, whose ends both answer,
  and nothing has ever shown that it does: that a frame of this switch has arrived anywhere, or that one has arrived
  there.
- A port whose frame has arrived somewhere, or where one has arrived, is none of those: its silence counts, and so does
  that of a link that has been confirmed.
- The first frame shows that it does come through; its links are watched by LLDP from then on.

What is known is of the time since this controller began to lead: at most a word of each switch and each port.
"""

from __future__ import annotations

from collections.abc import Container

from anycast_sdn.description.model import Port

FINDING = "does not let LLDP through, although it answers"
EFFECT = "its links are used as the network file declares them, and go down with their ports alone"
NO_LLDP = f"{FINDING}: {EFFECT}"


class LldpPassage:
    """``used``: False: LLDP is not used at all, by the network file."""

    def __init__(self, used: bool) -> None:
        self.used = used
        self._sends: set[str] = set()  # switches whose frames have arrived
        self._takes: set[str] = set()  # those where one has arrived
        self._ports: set[tuple[Port, bool]] = set()  # the same of ports: (port, has it received)
        self.swallowing: set[str] = set()  # switches where LLDP does not come through, as has been found
        self._found: set[str] = set()  # of these, since the last ``pop_found``

    def arrived(self, sender: Port, receiver: Port, ends: Container[Port]) -> set[str]:
        """A frame has → switches of which it was not known that it can.  ``ends``: of declared links."""
        self._sends.add(sender.switch)
        self._takes.add(receiver.switch)
        self._ports |= {(port, at) for port, at in ((sender, False), (receiver, True)) if port in ends}
        shown = {name for name in (sender.switch, receiver.switch) if name in self.swallowing and self._passes(name)}
        self.swallowing -= shown
        return shown

    def explains(self, sender: Port, receiver: Port) -> bool:
        """Has it been found, why nothing of this port arrives at that one?"""
        if not self.used:
            return True
        return bool({sender.switch, receiver.switch} & self.swallowing) and self._may_swallow(sender, receiver)

    def find(self, sender: Port, receiver: Port) -> bool:
        """Nothing of this port has arrived at that one, and both switches answer → is it LLDP that does not pass?"""
        if not self._may_swallow(sender, receiver):
            return False
        blamed = {sender.switch} - self._sends or {receiver.switch} - self._takes
        silent = {name for name in (sender.switch, receiver.switch) if name not in self._sends | self._takes}
        new = (silent or blamed) - self.swallowing
        self.swallowing |= new
        self._found |= new
        return True

    def pop_found(self) -> list[str]:
        found, self._found = sorted(self._found), set()
        return found

    def _may_swallow(self, sender: Port, receiver: Port) -> bool:
        if (sender, False) in self._ports or (receiver, True) in self._ports:
            return False
        return sender.switch not in self._sends or receiver.switch not in self._takes

    def _passes(self, name: str) -> bool:
        return name in self._sends and name in self._takes
