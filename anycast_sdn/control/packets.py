"""Packets: what becomes of packets that one switch sends to the controller.

Each row of the pipeline that sends packets up has a handler: those of flows are the engine's, the others are here.  An
invented source gets no binding: before the engine has a first packet, its source must be known at its port.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from anycast_sdn.control.host_routes import HostRoutes
from anycast_sdn.control.neighbours import Neighbours
from anycast_sdn.control.share import Share
from anycast_sdn.control.throttle import Throttle
from anycast_sdn.core.events import Drop, FrameMalformed, PacketsDropped, dropped
from anycast_sdn.core.groups import Groups
from anycast_sdn.engines.engine import Engine, PacketHandler
from anycast_sdn.openflow import frames
from anycast_sdn.openflow.answers import Answers
from anycast_sdn.openflow.builders import Unreachable
from anycast_sdn.openflow.reaction import Reaction, as_received
from anycast_sdn.openflow.row import Kind
from anycast_sdn.openflow.rules import OFPP_CONTROLLER, BeginConnection, PacketOut


class Packets:
    def __init__(
        self,
        switch: str,
        engine: Engine,
        neighbours: Neighbours,
        hosts: HostRoutes,
        answers: Answers,
        throttle: Throttle,
        share: Callable[[], Share],
    ) -> None:
        """``share``: what is decided here of the switch."""
        self._switch = switch
        self._engine = engine
        self._neighbours = neighbours
        self._hosts = hosts
        self._answers = answers
        self._throttle = throttle
        self._share = share

    def handlers(self) -> dict[Kind, PacketHandler]:
        """What becomes of a packet that the rule of each row sends up: the switch's own rows, and its engine's."""
        handlers = self._engine.packet_handlers
        return {
            Kind.ARP: self._arp,
            Kind.ND: self._nd,
            Kind.GATEWAY: self._gateway,
            Kind.CHECK_ANSWER: self._gateway,
            Kind.UNRESOLVED: self._unresolved,
            Kind.PROHIBITED: partial(self._refuse, Unreachable.ADMINISTRATIVELY_PROHIBITED),
            Kind.NO_ROUTE_HERE: partial(self._refuse, Unreachable.NET),
            Kind.NO_ROUTE: partial(self._refuse, Unreachable.NET),
            Kind.GATEWAY_HERE: self._gateway,
            Kind.UNRESOLVED_HERE: self._unresolved,
            **handlers,
            **{kind: partial(self._first_packet, handlers[kind]) for kind in self._engine.checked_kinds},
        }

    def _first_packet(self, handle: PacketHandler, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """Let the engine ``handle`` it if its source is known at this port: an invented source gets no binding."""
        if in_port != OFPP_CONTROLLER and not self._neighbours.is_at(frames.source_of(frame), in_port):
            key = frames.parse_ip(frame).key
            if self._engine.flows.by_key(key) is None:
                if self._share() is Share.FLOWS:  # it has gone since ``is_for_leader``
                    return Reaction(events=dropped(self._switch, [Drop.UNKNOWN_SOURCE]))
                replies = self._neighbours.check_source(frame, key.source, in_port, now)
                if not replies.frames:
                    self._throttle.refused(in_port)
                return self._hosts.follow(replies, now)
        reaction = handle(in_port, frame, groups, now)
        last = reaction.messages[-1] if reaction.messages else None
        if not (isinstance(last, PacketOut | BeginConnection) and last.frame is frame):
            lost = any(isinstance(each, PacketsDropped) and each.reason is Drop.SERVER_LOST for each in reaction.events)
            if not (lost and reaction.messages):  # many clients may have lost their connections at once, by no fault
                self._throttle.refused(in_port)
        return reaction

    def look_for_client(self, in_port: int, frame: bytes, now: float) -> Reaction:
        """Its master does not know the source of this first packet: it gets it again when that is known."""
        try:
            source = frames.parse_ip(frame).key.source
        except frames.BadFrame as error:
            return Reaction(events=[FrameMalformed(self._switch, str(error))])
        if self._neighbours.is_at(source, in_port):
            self._hosts.say_again(source)
            return Reaction([as_received(in_port, frame)])
        replies = self._neighbours.check_source(frame, source, in_port, now)
        if not replies.frames:
            self._throttle.refused(in_port)
        return self._hosts.follow(replies, now)

    def _refuse(self, reason: Unreachable, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        """Answer by an ICMP error.  The rule of the switch has counted the packet."""
        return Reaction([*self._answers.refuse(in_port, frame, reason, now)])

    def _gateway(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        if frames.parse_ip(frame).icmp_type < 0:
            return Reaction([*self._answers.unreachable_here(in_port, frame, now)])
        return Reaction([self._answers.echo_reply(frame)])

    def _arp(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        return self._hosts.follow(self._neighbours.arp(frames.parse_arp(frame), in_port, now), now)

    def _nd(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        return self._hosts.follow(self._neighbours.nd(frames.parse_nd(frame), in_port, now), now)

    def _unresolved(self, in_port: int, frame: bytes, groups: Groups, now: float) -> Reaction:
        destination = frames.parse_ip(frame).key.destination
        known = self._neighbours.get(destination)
        if in_port == OFPP_CONTROLLER and known:
            return Reaction(events=dropped(self._switch, [Drop.LOOPED]))
        reaction = self._hosts.follow(self._neighbours.wait(frame, destination, in_port, now), now)
        if known:
            reaction.messages[:0] = self._hosts.install_missing(destination, known)
        return reaction
