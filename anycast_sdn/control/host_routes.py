"""HostRoutes: what follows at one switch when hosts there are found, move or go.

Each host has a rule of its own.  Most hosts concern nothing else.  Servers and routers do: groups and routes depend on
them, also at other switches.  Where flows are decided on by another controller, the switch's master, that has to know
where hosts are, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anycast_sdn.control.egress import Egress
from anycast_sdn.control.installed import Installed
from anycast_sdn.control.neighbours import Neighbours, Replies
from anycast_sdn.control.reconcile import Reconciler
from anycast_sdn.control.serving import Serving
from anycast_sdn.control.share import Hosts, Share
from anycast_sdn.control.wanted import WantedRules
from anycast_sdn.core.events import dropped
from anycast_sdn.core.model import Address, Neighbour
from anycast_sdn.openflow.answers import Answers
from anycast_sdn.openflow.reaction import Reaction, as_received, out_of, through_pipeline
from anycast_sdn.openflow.rules import AddFlow, DeleteFlow, Message


class HostRoutes:
    def __init__(
        self,
        switch: str,
        neighbours: Neighbours,
        wanted: WantedRules,
        installed: Installed,
        serving: Serving,
        egress: Egress,
        reconciler: Reconciler,
        answers: Answers,
        is_synchronised: Callable[[], bool],
        share: Callable[[], Share],
    ) -> None:
        """``is_synchronised``: may changes be sent?  ``share``: what is decided here of the switch."""
        self._switch = switch
        self._neighbours = neighbours
        self._wanted = wanted
        self._installed = installed
        self._serving = serving
        self._egress = egress
        self._reconciler = reconciler
        self._answers = answers
        self._is_synchronised = is_synchronised
        self._share = share
        self._moved: dict[Address, None] = {}  # for ``pop_moved``
        self._new: dict[Address, None] = {}  # for ``pop_new``

    def follow(self, replies: Replies, now: float) -> Reaction:
        """A host's route is installed before the packets that waited for it are sent."""
        messages: list[Message] = list(map(self._install, replies.moved)) if self._is_synchronised() else []
        messages += [out_of(port, frame) for port, frame in replies.frames]
        messages += map(through_pipeline, replies.resolved)
        messages += [as_received(port, frame) for port, frame in replies.verified]
        for frame in replies.unreachable:
            messages += self._answers.host_unreachable(frame, now)
        if self._share() is Share.REST:
            self._new |= dict.fromkeys(replies.moved)
        watched = [address for address in (*replies.moved, *replies.missing) if self._neighbours.is_watched(address)]
        if watched:
            self._moved |= dict.fromkeys(watched)
            self._egress.moved(watched)
            for address in self._serving.checked & set(watched):
                self._reconciler.recheck_checked(address)
        return Reaction(messages, bool(watched), dropped(self._switch, replies.drops))

    def install_missing(self, address: Address, neighbour: Neighbour) -> list[Message]:
        """A packet to this host, which is known, has found no route: it has not been compared yet."""
        return [] if self._wanted.host(address, neighbour) in self._installed else [self._install(address)]

    def _install(self, address: Address) -> Message:
        """Record the rule of one host as installed, or as removed, as ``reconcile`` would → the message for it."""
        neighbour = self._neighbours.get(address)
        if neighbour:
            rule = self._wanted.host(address, neighbour)
            self._installed.add(rule)
            return AddFlow(rule)
        return DeleteFlow(self._installed.remove(self._wanted.host(address, Neighbour(bytes(6), 0))))

    def pop_moved(self) -> Iterable[Address]:
        """The servers and routers that appeared, moved or vanished since the last call."""
        moved, self._moved = self._moved, {}
        return moved

    def told(self, hosts: Hosts) -> None:
        """The leader has found them."""
        for address, neighbour in hosts.items():
            self._neighbours.told(address, neighbour)

    def say_again(self, address: Address) -> None:
        """The switch's master does not know where this host is."""
        self._new[address] = None

    def pop_new(self) -> Hosts:
        """Where hosts are whose master has to know it, since the last call."""
        new, self._new = self._new, {}
        return {address: self._neighbours.get(address) for address in new}
