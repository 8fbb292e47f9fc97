"""SharedCodes: the codes of services at switches that are shared: the leader gives them, and masters are told.

They are in the rules of services, on which the leader decides, and in each connection of the tracker, which the master
begins (``engines.service_codes``).

The rules this file keeps:

- A line of the topic ``codes`` has all codes of one switch.  It is said before rules with them are written.
- All members hear it, and keep it: whoever decides on the switch next goes on with these codes, also if the switch has
  lost its rules meanwhile.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping

from anycast_sdn.control.controller import Controller
from anycast_sdn.core.model import Prefix
from anycast_sdn.process.sharing import By, Lines, Masters, Sharing

LOG = logging.getLogger(__name__)

CODES = "codes"


class SharedCodes:
    def __init__(self, controller: Controller, cluster: Masters, sharing: Sharing, lines: Lines) -> None:
        self._controller = controller
        self._cluster = cluster
        self._sharing = sharing
        self._lines = lines
        self._said: dict[int, tuple[By, int]] = {}  # switch → as it was managed, and how its codes had changed
        self._heard: dict[int, Mapping[Prefix, int]] = {}  # by switch
        self._unread: set[str] = set()  # members of which a line could not be read
        sharing.before_writes.append(self.say)
        lines.listen(CODES, self._hear)

    def beat(self) -> None:
        """To be called several times a second."""
        managed = self._sharing.managed if self._cluster.leads() else {}
        for dpid in self._said.keys() - managed.keys():
            del self._said[dpid]
        for dpid in managed:
            self.say(dpid)

    def say(self, dpid: int) -> None:
        """If they are others than was said: something that the leader has decided on this switch may depend on them."""
        codes, by = self._controller.switches[dpid].engine.codes, self._sharing.managed.get(dpid)
        if codes and by and self._said.get(dpid) != (by, codes.changes):
            self._said[dpid] = by, codes.changes
            shown = {str(service): code for service, code in codes.all.items()}
            self._lines.publish(CODES, json.dumps([self._cluster.term(), format(dpid, "x"), shown]))

    def _hear(self, member: str, text: str) -> None:
        try:
            term, number, shown = json.loads(text)
            dpid, codes = int(number, 16), {Prefix.parse(service): int(code) for service, code in shown.items()}
            is_latest = self._sharing.is_latest(member, int(term))
        except (ValueError, TypeError, AttributeError) as error:
            if member not in self._unread:
                self._unread.add(member)
                LOG.warning("codes of services from member %s cannot be read, and are ignored: %s", member, error)
            return
        if dpid in self._controller.switches and is_latest:
            self._heard[dpid] = codes
            self._controller.switches[dpid].set_codes(codes)

    def begin_anew(self) -> None:
        """The controller has forgotten what it was told.  Meanwhile there may be others: the leader says all anew."""
        for dpid, codes in self._heard.items():
            self._controller.switches[dpid].recall_codes(codes)
