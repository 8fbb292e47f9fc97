"""Postponed: what a switch holds is asked for when it is known what it should hold: soon after beginning anew."""

from __future__ import annotations

from collections.abc import Container

from anycast_sdn.control.controller import Controller
from anycast_sdn.openflow.channel import Channel
from anycast_sdn.openflow.questions import Introduction
from anycast_sdn.process.faults import isolated


class Postponed:
    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._to_begin: list[tuple[Channel, int, Introduction]] = []  # with the session of the channel

    def begin(self, introduction: Introduction, switch: Channel) -> None:
        """At once, or when ``begin_due`` is called."""
        if self._controller.is_beginning and self._controller.is_busy():
            self._to_begin.append((switch, switch.session, introduction))
        else:
            introduction.begin()

    def begin_due(self, introducing: Container[Channel]) -> None:
        """``introducing``: the switches for which that is still to be done."""
        if not self._to_begin or (self._controller.is_beginning and self._controller.is_busy()):
            return
        to_begin, self._to_begin = self._to_begin, []
        for switch, session, introduction in to_begin:
            if switch in introducing and switch.session == session:
                isolated(introduction.begin)()
