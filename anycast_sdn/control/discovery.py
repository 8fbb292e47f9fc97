"""The links between managed switches: declared ones checked, others found, all of them watched.

Each switch sends LLDP by every port that does not lead to hosts, and every switch passes on to us what comes
in.  A link is *confirmed* while both of its ends hear the other.

Rules kept here:
- A declared link works from the start, so that a network comes up at once, and is down when it is not
  confirmed ``DEAD_S`` after both its switches have connected.  An undeclared link works only where the
  network file allows it, and not before it is confirmed.
- An undeclared link that is down is forgotten when its failures are.  While it is down, its ports are those of
  a stranger.
- A port without a carrier takes its link down at once, silence after ``DEAD_S``.  Only confirmation brings a
  link back, and then it is *held back*: for 1 s, and twice as long each time that it fails again, up to
  ``LONGEST_HOLD_S``; each ``CALM_S`` without a failure takes one doubling back.
- A switch that has lost its controller cannot be told of changes, nor heard.  Its links stay, because it goes
  on forwarding, until they are confirmed again or a port goes down.
- A link that is held back, or leads to such a switch, is a last resort: it counts ``LAST_RESORT`` more than
  it costs, so that it carries what has no other way, and nothing else (as in RFC 6987).
- Ports that are an end of a link, or have heard a frame of ours lately, speak in each round.  Of all others, which lead
  to nobody as far as we know, at most ``IDLE_PER_ROUND`` do, in turn: a link there is found a little later.
- A frame counts once, at the first port that hears it, and only in its own round or shortly after.  What is
  forged, replayed or not ours is dropped, and counted by the caller.
- Of a switch's ports those are kept that are up or an end of a link, ``MOST_PORTS`` at the most: whatever numbers a
  switch names, and by whatever port it says that it hears us, it takes no more room than that.
- Should we ourselves have been kept from looking, nobody is blamed for silence.

Events in, frames and link states out: nothing here sends, and nothing reads a clock.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from anycast_sdn.core.lateness import Lateness
from anycast_sdn.core.model import NotFound
from anycast_sdn.core.words import some
from anycast_sdn.description.model import Link, Network, Port
from anycast_sdn.openflow import lldp
from anycast_sdn.openflow.frames import BadFrame

SEND_S = 0.5
IDLE_PER_ROUND = 500  # ports
PROBES = 200  # frames that are made in one piece
DEAD_S = 2.6  # five frames lost; a tick later, and before 3 s, the link is gone
START_S = 10.0  # so long a switch that has not connected yet is believed to be about to
LATE_S = 1.0  # between two ticks: longer than that, and it is we who did not listen
FRESH_ROUNDS = 3  # so old may a frame be
LONGEST_HOLD_S = 60.0
CALM_S = 60.0
LAST_RESORT = 1 << 24  # more than any path costs: 200 links of the highest cost
UNDECLARED_COST = 1
MOST_PORTS = 1 << 16  # of one switch
MAX_PORT = 0xFFFFFF00  # OFPP_MAX: what is above is no cable


class _Heard(NamedTuple):
    peer: Port
    when: float


@dataclass(slots=True)
class Cable:
    """A link and what is known of it."""

    link: Link
    declared: bool
    up: bool
    trusted: bool = True  # nobody at its ends has left since it was last confirmed
    watched_from: float = math.inf  # since then both ends can speak
    held_until: float = -math.inf
    failures: int = 0  # those that are not forgotten
    changed_at: float = -math.inf  # when it last went up or down
    last_resort: bool = False

    @property
    def ends(self) -> tuple[Port, Port]:
        return self.link.a, self.link.b


class Discovery:
    """All links of ``network``.  ``key``: a secret of this run of the controller."""

    def __init__(self, network: Network, key: bytes) -> None:
        self._key = key
        self._switches = {switch.dpid: switch for switch in network.switches}
        self._dpids = {switch.name: switch.dpid for switch in network.switches}
        self._use_undeclared = network.undeclared_links
        self._host_ports = {Port(subnet.edge, port) for subnet in network.subnets for port in subnet.ports}
        self._host_ports |= {Port(uplink.edge, uplink.port) for uplink in network.uplinks}  # routers are no switches
        self._cables = {frozenset((link.a, link.b)): Cable(link, True, True) for link in network.links}
        self._declared_peer = {
            end: there for link in network.links for end, there in ((link.a, link.b), (link.b, link.a))
        }
        self._at_end: dict[Port, list[Cable]] = {}
        for cable in self._cables.values():
            self._plug(cable)
        self._ports = dict.fromkeys(self._declared_peer, True)  # those that do not lead to hosts → has a carrier
        self._known_ports = Counter(end.switch for end in self._ports)
        self._present: set[str] = set()  # switches that are connected
        self._heard: dict[Port, _Heard] = {}  # what a port last heard
        self._last_sequence: dict[Port, int] = {}  # of each sender
        self._sequence = 0
        self._send_at = -math.inf
        # Ports that are no end of a declared link; the next one to speak first.
        self._idle: OrderedDict[Port, None] = OrderedDict()
        self._to_send: deque[Port] = deque()  # ports that are still to speak in this round
        self._lateness = Lateness(LATE_S, DEAD_S)
        self.starting = True  # switches that have not connected yet are believed to be about to

    # ---------------------------------------------------------------- events; True: the usable links differ

    def connected(self, switch: str, now: float) -> bool:
        if switch in self._present:
            return False
        self._present.add(switch)
        for cable in self._cables_at(switch):
            if all(end.switch in self._present for end in cable.ends):
                cable.watched_from = now
        self._send_at = now
        return self._judge(now)

    def disconnected(self, switch: str, now: float) -> bool:
        self._present.discard(switch)
        for cable in self._cables_at(switch):
            cable.trusted, cable.watched_from = False, math.inf
        return self._judge(now)

    def port_changed(self, end: Port, up: bool, now: float) -> bool:
        if end in self._host_ports or not 0 < end.number < MAX_PORT or self._ports.get(end) is up:
            return False
        if not self._note_port(end, up):
            return False
        self._send_at = now
        here = self._at_end.get(end, ())
        for cable in here:
            if all(there.switch in self._present for there in cable.ends):
                cable.watched_from = now
        return any([self._judge_one(cable, now) for cable in here])

    def _note_port(self, end: Port, up: bool) -> bool:
        """False where that changes nothing: it was not known, or there are too many."""
        known = end in self._ports
        if up or end in self._at_end:
            if not known and self._known_ports[end.switch] >= MOST_PORTS:
                return False
            self._ports[end] = up
            if not known:
                self._known_ports[end.switch] += 1
                self._idle[end] = None
            return True
        if known:
            self._forget_port(end)
        return known

    def _forget_port(self, end: Port) -> None:
        del self._ports[end]
        self._idle.pop(end, None)
        self._known_ports[end.switch] -= 1

    def set_cost(self, end: Port, cost: int) -> None:
        """Of the link that ends here.  Raises NotFound."""
        cable = self.at(end)
        cable.link = replace(cable.link, cost=cost)

    def hear(self, at: Port, frame: bytes, now: float) -> bool:
        """An LLDP frame came in by this port.  Raises BadFrame when it is none of ours, or comes again."""
        probe = lldp.read(frame, self._key)
        switch = self._switches.get(probe.dpid)
        if switch is None or at in self._host_ports:
            raise BadFrame("lldp")
        peer = Port(switch.name, probe.port)
        newest = self._last_sequence.get(peer, 0)
        if not max(newest, self._sequence - FRESH_ROUNDS) < probe.sequence <= self._sequence:
            raise BadFrame("lldp replayed")
        if peer == at:
            raise BadFrame("lldp of its own port")
        self._last_sequence[peer] = probe.sequence
        self._heard[at] = _Heard(peer, now)
        ends = frozenset((at, peer))
        if ends not in self._cables and self._hears(peer, at, now - DEAD_S):
            link = Link(min(ends), max(ends), UNDECLARED_COST)
            self._cables[ends] = Cable(link, declared=False, up=False, watched_from=-math.inf, changed_at=now)
            self._plug(self._cables[ends])
        cable = self._cables.get(ends)
        return cable is not None and not (cable.up and cable.trusted) and self._judge_one(cable, now)

    def tick(self, now: float) -> tuple[bool, list[tuple[int, int, bytes]]]:
        """To be called several times a second → do the usable links differ, and (dpid, port, frame) to send.

        There may be ``more_probes`` to send.
        """
        changed = False
        if self.starting and self._lateness.attentive_s >= START_S:
            self.starting = False
            for switch in self._dpids.keys() - self._present:
                changed |= self.disconnected(switch, now)
        changed |= self._judge(now)
        self._lateness.look(now)
        self._forget(now)
        if now < self._send_at:
            return changed, []
        self._send_at = now + SEND_S
        self._begin_round(now)
        return changed, self.more_probes()

    def has_probes(self) -> bool:
        return bool(self._to_send)

    def more_probes(self) -> list[tuple[int, int, bytes]]:
        """The next ``PROBES`` of this round."""
        probes: list[tuple[int, int, bytes]] = []
        while self._to_send and len(probes) < PROBES:
            name, number = port = self._to_send.popleft()
            if self._ports.get(port) and name in self._present:
                switch = self._switches[self._dpids[name]]
                probe = lldp.Probe(switch.dpid, number, self._sequence)
                probes.append((switch.dpid, number, lldp.build(probe, switch.mac, self._key)))
        return probes

    def _begin_round(self, now: float) -> None:
        self._sequence += 1
        self._heard = {at: heard for at, heard in self._heard.items() if now - heard.when <= DEAD_S}
        oldest = self._sequence - FRESH_ROUNDS
        self._last_sequence = {peer: number for peer, number in self._last_sequence.items() if number > oldest}
        lately = {end for at, heard in self._heard.items() for end in (at, heard.peer)}
        speaks = dict.fromkeys((*self._at_end, *sorted(lately - self._at_end.keys())))
        for _ in range(min(IDLE_PER_ROUND, len(self._idle))):
            end, _ = self._idle.popitem(last=False)
            speaks[end] = self._idle[end] = None
        self._to_send = deque(speaks)

    # ---------------------------------------------------------------- judgement

    def _judge(self, now: float) -> bool:
        return any([self._judge_one(cable, now) for cable in self._cables.values()])

    def _forget(self, now: float) -> None:
        for ends, cable in list(self._cables.items()):
            if not (cable.declared or cable.up) and now - cable.changed_at > CALM_S * cable.failures:
                del self._cables[ends]
                for end in cable.ends:
                    self._at_end[end].remove(cable)
                    if not self._at_end[end]:
                        del self._at_end[end]
                        if self._ports.get(end) is False:
                            self._forget_port(end)

    def _plug(self, cable: Cable) -> None:
        for end in cable.ends:
            self._at_end.setdefault(end, []).append(cable)

    def _judge_one(self, cable: Cable, now: float) -> bool:
        before = cable.up, cable.last_resort
        a, b = cable.ends
        if not (self._ports.get(a, True) and self._ports.get(b, True)):
            self._set_up(cable, False, now)
        elif self._confirmed(cable, now):
            cable.trusted = True
            self._set_up(cable, True, now)
        elif not self._lateness.excuses(now) and now - cable.watched_from > DEAD_S:
            self._set_up(cable, False, now)
        cable.last_resort = not cable.trusted or now < cable.held_until
        return self._used(cable) and (cable.up, cable.last_resort) != before

    def _set_up(self, cable: Cable, up: bool, now: float) -> None:
        if cable.up is up:
            return
        if up:
            doublings = min(cable.failures - 1, 10)  # there is a limit to what a float can hold, too
            cable.held_until = now + (min(2.0**doublings, LONGEST_HOLD_S) if cable.failures else 0.0)
        else:
            calm = int(min(now - cable.changed_at, 1e6) / CALM_S)
            cable.failures = max(0, cable.failures - calm) + 1
        cable.up, cable.changed_at = up, now

    def _confirmed(self, cable: Cable, now: float) -> bool:
        a, b = cable.ends
        since = max(cable.watched_from, now - DEAD_S)
        return self._hears(a, b, since) and self._hears(b, a, since)

    def _hears(self, at: Port, peer: Port, since: float) -> bool:
        heard = self._heard.get(at)
        return heard is not None and heard.peer == peer and heard.when >= since

    def _used(self, cable: Cable) -> bool:
        return cable.declared or self._use_undeclared

    # ---------------------------------------------------------------- what is known

    def links(self) -> list[Link]:
        """The links that may be used now; those of last resort at a cost that nothing else has."""
        return self.usable(self._cables.values())

    def usable(self, cables: Iterable[Cable]) -> list[Link]:
        """As ``links``, of these only."""
        return [
            replace(cable.link, cost=cable.link.cost + LAST_RESORT) if cable.last_resort else cable.link
            for cable in cables
            if cable.up and self._used(cable)
        ]

    def fabric_ports(self) -> dict[str, list[int]]:
        """Switch → the ports by which it takes packets of other switches."""
        ports: dict[str, list[int]] = {switch: [] for switch in self._dpids}
        links = [cable for cable in self._cables.values() if cable.declared or (cable.up and self._use_undeclared)]
        for end in sorted({end for cable in links for end in cable.ends}):
            ports[end.switch].append(end.number)
        return ports

    def cables(self) -> Iterable[Cable]:
        return self._cables.values()

    def at(self, end: Port) -> Cable:
        """The link that ends here.  Raises NotFound."""
        here = self._at_end.get(end)
        if not here:
            names = some("–".join(map(str, cable.ends)) for cable in self._cables.values())
            raise NotFound(f"no link ends at {end}; the links are {names}")
        return max(here, key=lambda cable: (cable.up and self._used(cable), cable.declared))

    def _cables_at(self, switch: str) -> Iterator[Cable]:
        return (cable for cable in self._cables.values() if any(end.switch == switch for end in cable.ends))

    def down(self, now: float) -> Iterator[tuple[str, str]]:
        """The declared links that do not work, each with the reason."""
        for cable in self._cables.values():
            if cable.declared and not cable.up:
                wrong = [f"{end} is cabled to {peer}" for end, peer in self._cabled_instead(cable, now).items()]
                silent = "its ends do not hear each other"
                state = silent if self._state(cable) == "silent" else "a port of it is down"
                yield "–".join(map(str, cable.ends)), ", ".join(wrong) or state

    def _cabled_instead(self, cable: Cable, now: float) -> dict[str, str]:
        return {
            str(end): str(heard.peer)
            for end in cable.ends
            if (heard := self._heard.get(end)) and heard.peer not in cable.ends and now - heard.when <= DEAD_S
        }

    def view(self, cable: Cable, now: float) -> dict[str, object]:
        """One link for people and programs."""
        return {
            "ends": [str(end) for end in cable.ends],
            "cost": cable.link.cost,
            "mtu": cable.link.mtu or None,
            "up": cable.up and self._used(cable),
            "state": self._state(cable),
            "declared": cable.declared,
            "confirmed": self._confirmed(cable, now),
            "failures": cable.failures,
            "cabled_instead": self._cabled_instead(cable, now),
        }

    def _state(self, cable: Cable) -> str:
        """As the routes take it."""
        if not self._used(cable):
            return "not declared"
        if cable.up and cable.last_resort:
            return "held back" if cable.trusted else "switch away"
        if cable.up:
            return "up"
        return "silent" if all(self._ports.get(end, True) for end in cable.ends) else "port down"
