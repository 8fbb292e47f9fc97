"""Discovery: the links between managed switches.  Declared ones are checked, others found, all of them watched.

The controller lets each switch send LLDP by every port that does not lead to hosts, and receives what comes in at the
other switches.  A link is *confirmed* while both of its ends hear each other.

Rules kept here:
- A declared link works from the start, so that a network comes up at once.  It is down when it is not confirmed
  ``DEAD_S`` after both its switches have connected.  An undeclared link works only where the network file allows it,
  and not before it is confirmed.
- An undeclared link that is down is forgotten when its failures are.  While it is down, its ports are not ports of the
  fabric, and packets from there are treated so.
- Where LLDP does not come through at a switch, or is not used at all, the ports alone say whether a declared link is
  up (``lldp_passage``).
- A port without a carrier takes its link down at once, silence after ``DEAD_S``.  Only confirmation brings a link
  back, and then it is *held back*: for 1 s, and twice as long each time that it fails again, up to
  ``LONGEST_HOLD_S``; each ``CALM_S`` without a failure takes one doubling back.
- A switch that is not connected to the controller cannot be sent changes, and its LLDP is not received.  Its links
  stay up, because it goes on forwarding, until they are confirmed again or a port goes down.
- A link that is held back, or leads to such a switch, is a last resort: its cost is ``LAST_RESORT`` higher, so that
  it carries only what has no other path (as in RFC 6987).
- Ports that are an end of a link, or have received a valid frame lately, send in each round.  Of the others, which
  lead to no switch as far as is known, at most ``IDLE_PER_ROUND`` send, in turn: a link there is found a little
  later.
- A frame counts once, at the first port that receives it, and only in its own round or shortly after.  Forged and
  replayed frames, and those of another controller, are dropped, and counted by the caller.
- Of a switch's ports those are kept that are up or an end of a link, ``MAX_PORTS_OF_SWITCH`` at the most: whatever port
  numbers a switch reports, and whatever frames it forges, the memory for them is limited.
- Silence is excused when the controller itself was late (``core.lateness``), and while one of the link's switches does
  not answer (``control.answering``): it can neither send nor report.  So when LLDP is missed, it is asked
  (``doubted``) before the silence would count.
- LLDP at a switch that confirms rules late may come as much later (``late_s``).
- Whoever begins to lead a cluster begins with what its predecessor knew: costs, and links that have failed, which are
  down until they are confirmed.  Rounds are numbered within its term, so that no frame of an earlier term counts, but
  none of them is taken for forged either.

Events in, frames and link states out: nothing here sends, and nothing reads a clock.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from anycast_sdn.control.answering import Answering
from anycast_sdn.control.lldp_passage import NO_LLDP, LldpPassage
from anycast_sdn.control.watched_link import KnownLink, WatchedLink, names_of
from anycast_sdn.core.events import Event
from anycast_sdn.core.lateness import Lateness
from anycast_sdn.core.model import NotFound
from anycast_sdn.core.network_events import LinkChanged, LinkDown, LinkHeld, LinkUp
from anycast_sdn.core.switch_events import SwitchDegraded
from anycast_sdn.core.words import some
from anycast_sdn.description.model import Link, Network, Port
from anycast_sdn.fabric.patience import LONGEST_S
from anycast_sdn.openflow import lldp
from anycast_sdn.openflow.frames import BadFrame

SEND_S = 0.5
IDLE_PER_ROUND = 500  # ports
PROBES = 200  # frames that are made in one slice
DEAD_S = 2.6  # five frames lost; a tick later, and before 3 s, the link is gone
DOUBT_S = 1.0  # two frames lost: do the link's switches answer?
UNHEARD_S = 2.0
START_S = 10.0  # a switch that has not connected within this time is no longer waited for
LATE_S = 1.0  # more than this between two ticks: the controller itself was late
FRESH_ROUNDS = 3  # older frames do not count …
MOST_LATE = math.ceil(2 * LONGEST_S / SEND_S)  # … but between switches that answer late, so many rounds at most
LONGEST_HOLD_S = 60.0
CALM_S = 60.0
LAST_RESORT = 1 << 24  # more than any path costs: 200 links of the highest cost
UNDECLARED_COST = 1
MAX_PORTS_OF_SWITCH = 1 << 16  # of one switch
TERM_BITS = 32  # of a round's number: those of one term; at two rounds a second they last for decades
MOST_TERM = (1 << 64 - TERM_BITS) - 1  # a number has 64 bits
MAX_PORT = 0xFFFFFF00  # OFPP_MAX: numbers above are no physical ports


class _Heard(NamedTuple):
    peer: Port
    when: float


class Discovery:
    """All links of ``network``.  ``key``: a secret of the network's controllers."""

    def __init__(self, network: Network, key: bytes) -> None:
        self.key = key
        self._switches = {switch.dpid: switch for switch in network.switches}
        self._dpids = {switch.name: switch.dpid for switch in network.switches}
        self._use_undeclared = network.undeclared_links
        self._host_ports = {Port(subnet.edge, port) for subnet in network.subnets for port in subnet.ports}
        self._host_ports |= {Port(uplink.edge, uplink.port) for uplink in network.uplinks}  # routers are no switches
        self._watched = {frozenset((link.a, link.b)): WatchedLink(link, True, True) for link in network.links}
        self._costs_set: dict[frozenset[Port], int] = {}  # by an operator, also of links that are not known now
        self._declared_costs = {frozenset((link.a, link.b)): link.cost for link in network.links}
        self._declared_peer = {
            end: there for link in network.links for end, there in ((link.a, link.b), (link.b, link.a))
        }
        self._at_end: dict[Port, list[WatchedLink]] = {}
        for watched in self._watched.values():
            self._index(watched)
        self._ports = dict.fromkeys(self._declared_peer, True)  # those that do not lead to hosts → has a carrier
        self._known_ports = Counter(end.switch for end in self._ports)
        self._present: set[str] = set()  # switches that are connected
        self.passage = LldpPassage(network.lldp)
        self.late_s: Callable[[str], float] = lambda switch: 0.0  # by how much a switch answers late
        self._heard: dict[Port, _Heard] = {}  # the last valid frame that a port received
        self._last_sequence: dict[Port, int] = {}  # of each sender
        self._sequence = 0
        self._term = 0  # the rounds of the one before are below
        self._send_at = -math.inf
        # Ports that are no end of a declared link; the next one to send comes first.
        self._idle: OrderedDict[Port, None] = OrderedDict()
        self._to_send: deque[Port] = deque()  # ports that are still to send in this round
        self._lateness = Lateness(LATE_S, DEAD_S)
        self._answering = Answering()
        self.starting = True  # switches that have not connected yet are waited for
        self._events: list[Event] = []  # for ``pop_events``

    # ---------------------------------------------------------------- events; True: the usable links differ

    def connected(self, switch: str, now: float) -> bool:
        if switch in self._present:
            return False
        self._present.add(switch)
        self._watch_anew(switch, now)
        self._send_at = now
        return self._judge(now)

    def _watch_anew(self, switch: str, now: float) -> None:
        for watched in self._watched_at(switch):
            if all(end.switch in self._present for end in watched.ends):
                watched.watched_from = now

    def disconnected(self, switch: str, now: float) -> bool:
        self._present.discard(switch)
        for watched in self._watched_at(switch):
            watched.trusted, watched.watched_from = False, math.inf
        return self._judge(now)

    def port_changed(self, end: Port, up: bool, now: float) -> bool:
        if end in self._host_ports or not 0 < end.number < MAX_PORT or self._ports.get(end) is up:
            return False
        if not self._note_port(end, up):
            return False
        self._send_at = now
        here = self._at_end.get(end, ())
        for watched in here:
            if all(there.switch in self._present for there in watched.ends):
                watched.watched_from = now
        return any([self._judge_one(watched, now) for watched in here])

    def _note_port(self, end: Port, up: bool) -> bool:
        """Record the state of a port → has that changed anything?  Not where it is of no interest, or one too many."""
        known = end in self._ports
        if up or end in self._at_end:
            if not known and self._known_ports[end.switch] >= MAX_PORTS_OF_SWITCH:
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
        """Set the cost of the link that ends here.  Raises NotFound."""
        watched = self.at(end)
        if cost != watched.link.cost:
            self._events.append(LinkChanged(names_of(watched), watched.link.cost, cost))
        watched.link = replace(watched.link, cost=cost)
        self._costs_set[frozenset(watched.ends)] = cost

    def take_over(self, term: int, known: Iterable[KnownLink], now: float) -> None:
        """This controller leads from now on, and its predecessor left this.  All links are watched from now on.

        ``term``: greater than that of all who have led before.
        """
        told = {each.ends: each for each in known}
        self._costs_set = {ends: each.cost for ends, each in told.items() if each.cost is not None}
        for ends, watched in list(self._watched.items()):
            if not watched.declared:
                self._remove(watched)
                continue
            before = told.get(ends, KnownLink(ends, None, False, 0))
            cost = self._declared_costs[ends] if before.cost is None else before.cost
            both = all(end.switch in self._present for end in ends)
            self._watched[ends] = again = WatchedLink(
                replace(watched.link, cost=cost), True, not before.down, watched_from=now if both else math.inf,
                failures=before.failures, changed_at=now,
            )  # fmt: skip
            for end in ends:
                self._at_end[end] = [again if each is watched else each for each in self._at_end[end]]
        self._heard.clear()
        self._last_sequence.clear()
        self._term = self._sequence = max(self._sequence, min(term, MOST_TERM) << TERM_BITS)
        self._send_at = now
        self._lateness = Lateness(LATE_S, DEAD_S)
        self.starting = True

    def known(self) -> Iterator[KnownLink]:
        """What a successor has to know."""
        for ends, watched in self._watched.items():
            known = KnownLink(ends, self._costs_set.get(ends), watched.declared and not watched.up, watched.failures)
            if watched.declared and known != (ends, None, False, 0):
                yield known
        for ends, cost in self._costs_set.items():
            if ends not in self._watched or not self._watched[ends].declared:
                yield KnownLink(ends, cost, False, 0)

    def hear(self, at: Port, frame: bytes, now: float) -> bool:
        """This port has received an LLDP frame.  Raises BadFrame when the frame is forged, replayed or not ours."""
        if not self.passage.used:
            return False
        probe = lldp.read(frame, self.key)
        switch = self._switches.get(probe.dpid)
        if switch is None or at in self._host_ports:
            raise BadFrame("lldp")
        peer = Port(switch.name, probe.port)
        newest = self._last_sequence.get(peer, 0)
        if probe.sequence < self._term:  # of another leader's time: nothing is wrong with it, and it proves nothing
            return False
        late = FRESH_ROUNDS + math.ceil(self._late_s(at, peer) / SEND_S)
        if not max(newest, self._sequence - late) < probe.sequence <= self._sequence:
            raise BadFrame("lldp replayed")
        if peer == at:
            raise BadFrame("lldp of its own port")
        self._last_sequence[peer] = probe.sequence
        self._heard[at] = _Heard(peer, now)
        for name in self.passage.arrived(peer, at, self._declared_peer):
            self._watch_anew(name, now)
        ends = frozenset((at, peer))
        if ends not in self._watched and self._hears(peer, at, now - DEAD_S):
            link = Link(min(ends), max(ends), self._costs_set.get(ends, UNDECLARED_COST))
            self._watched[ends] = WatchedLink(link, declared=False, up=False, watched_from=-math.inf, changed_at=now)
            self._index(self._watched[ends])
        watched = self._watched.get(ends)
        return watched is not None and not (watched.up and watched.trusted) and self._judge_one(watched, now)

    def tick(self, now: float, owing: Collection[str] = ()) -> tuple[bool, list[tuple[int, int, bytes]]]:
        """To be called several times a second → do the usable links differ, and (dpid, port, frame) to send.

        ``owing``: switches that are connected and owe an answer.  There may be ``more_probes`` to send.
        """
        changed = False
        self._answering.update(owing, now)
        if self.starting and self._lateness.listening_s >= START_S:
            self.starting = False
            for switch in self._dpids.keys() - self._present:
                changed |= self.disconnected(switch, now)
        changed |= self._judge(now)
        self._lateness.checked(now)
        self._forget(now)
        if now < self._send_at or not self.passage.used:
            return changed, []
        self._send_at = now + SEND_S
        self._begin_round(now)
        return changed, self.more_probes()

    def pop_events(self) -> list[Event]:
        """What has happened to links since the last call."""
        found = [SwitchDegraded(name, "lldp", NO_LLDP) for name in self.passage.pop_found()]
        events, self._events = [*self._events, *found], []
        return events

    def doubted(self, now: float) -> dict[str, bool]:
        """Switches that may not answer: LLDP of a link is missing → is all missing that could tell of the switch?

        Only links whose other end answers could.
        """
        doubted: dict[str, bool] = {}
        heard: set[str] = set()
        for watched in self._watched.values():
            if not watched.up or watched.watched_from == math.inf:
                continue
            names = {end.switch for end in watched.ends}
            if self._heard_of(watched, now, UNHEARD_S):
                heard |= names
            if not self._heard_of(watched, now, DOUBT_S):
                owing = {name for name in names if self._answering.owes(name)}
                doubted |= {name: doubted.get(name, False) or owing == {name} for name in names}
        return {name: unheard and name not in heard for name, unheard in doubted.items()}

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
                probes.append((switch.dpid, number, lldp.build(probe, switch.mac, self.key)))
        return probes

    def _begin_round(self, now: float) -> None:
        self._sequence += 1
        self._heard = {at: heard for at, heard in self._heard.items()
                       if now - heard.when <= DEAD_S + self._late_s(at, heard.peer)}  # fmt: skip
        oldest = self._sequence - FRESH_ROUNDS - MOST_LATE
        self._last_sequence = {peer: number for peer, number in self._last_sequence.items() if number > oldest}
        lately = {end for at, heard in self._heard.items() for end in (at, heard.peer)}
        senders = dict.fromkeys((*self._at_end, *sorted(lately - self._at_end.keys())))
        for _ in range(min(IDLE_PER_ROUND, len(self._idle))):
            end, _ = self._idle.popitem(last=False)
            senders[end] = self._idle[end] = None
        self._to_send = deque(senders)

    # ---------------------------------------------------------------- judgement

    def _judge(self, now: float) -> bool:
        return any([self._judge_one(watched, now) for watched in self._watched.values()])

    def _forget(self, now: float) -> None:
        for watched in list(self._watched.values()):
            if not (watched.declared or watched.up) and now - watched.changed_at > CALM_S * watched.failures:
                self._remove(watched)

    def _remove(self, watched: WatchedLink) -> None:
        del self._watched[frozenset(watched.ends)]
        for end in watched.ends:
            self._at_end[end].remove(watched)
            if not self._at_end[end]:
                del self._at_end[end]
                if self._ports.get(end) is False:
                    self._forget_port(end)

    def _index(self, watched: WatchedLink) -> None:
        for end in watched.ends:
            self._at_end.setdefault(end, []).append(watched)

    def _judge_one(self, watched: WatchedLink, now: float) -> bool:
        before = watched.up, watched.last_resort
        a, b = watched.ends
        if not (self._ports.get(a, True) and self._ports.get(b, True)):
            self._set_up(watched, False, now)
        elif self._confirmed(watched, now):
            watched.trusted = True
            self._set_up(watched, True, now)
        elif now - watched.watched_from > DEAD_S + self._late_s(*watched.ends) and not self._is_excused(watched, now):
            self._set_up(watched, self._is_swallowed(watched, now), now)
        if watched.held and now >= watched.held_until:
            watched.held = False
            self._report(watched, LinkUp(names_of(watched)))
        watched.last_resort = not watched.trusted or now < watched.held_until
        return self._used(watched) and (watched.up, watched.last_resort) != before

    def _late_s(self, *ends: Port) -> float:
        """How much later than usual LLDP may come between these."""
        return sum(self.late_s(end.switch) for end in ends)

    def _is_swallowed(self, watched: WatchedLink, now: float) -> bool:
        """Does LLDP not come through, so that nothing is known of a link that is up?"""
        a, b = watched.ends
        ways = [(to, by) for to, by in ((a, b), (b, a)) if not self._hears(to, by, now - DEAD_S - self._late_s(to, by))]
        return watched.up and watched.declared and all([self.passage.find(by, to) for to, by in ways])

    def _is_excused(self, watched: WatchedLink, now: float) -> bool:
        """Does its silence say nothing?"""
        return self._lateness.excuses(now) or any(self._answering.excuses(end.switch, now) for end in watched.ends)

    def _set_up(self, watched: WatchedLink, up: bool, now: float) -> None:
        if watched.up is up:
            return
        if up:
            doublings = min(watched.failures - 1, 10)  # 2.0 to the power of very many would overflow
            watched.held_until = now + (min(2.0**doublings, LONGEST_HOLD_S) if watched.failures else 0.0)
        else:
            calm = int(min(now - watched.changed_at, 1e6) / CALM_S)
            watched.failures = max(0, watched.failures - calm) + 1
        watched.up, watched.changed_at = up, now
        watched.held = up and watched.held_until > now
        if not up:
            self._report(watched, LinkDown(names_of(watched), self._why_down(watched, now)))
        elif watched.held:
            self._report(watched, LinkHeld(names_of(watched), watched.held_until - now))
        else:
            self._report(watched, LinkUp(names_of(watched)))

    def _report(self, watched: WatchedLink, event: Event) -> None:
        if self._used(watched):
            self._events.append(event)

    def _confirmed(self, watched: WatchedLink, now: float, within_s: float = DEAD_S) -> bool:
        a, b = watched.ends
        since = max(watched.watched_from, now - within_s - self._late_s(a, b))
        both = watched.declared and watched.watched_from <= now
        return all(
            self._hears(to, by, since) or (both and self.passage.explains(by, to)) for to, by in ((a, b), (b, a))
        )

    def _heard_of(self, watched: WatchedLink, now: float, within_s: float) -> bool:
        """Has it been confirmed within this time, or has it been watched for less?"""
        return now - watched.watched_from <= within_s or self._confirmed(watched, now, within_s)

    def _hears(self, at: Port, peer: Port, since: float) -> bool:
        heard = self._heard.get(at)
        return heard is not None and heard.peer == peer and heard.when >= since

    def _used(self, watched: WatchedLink) -> bool:
        return watched.declared or self._use_undeclared

    # ---------------------------------------------------------------- what is known

    def links(self) -> list[Link]:
        """The links that may be used now; those of last resort at a cost that nothing else has."""
        return self.usable(self._watched.values())

    def usable(self, links: Iterable[WatchedLink]) -> list[Link]:
        """As ``links``, of these only."""
        return [
            replace(watched.link, cost=watched.link.cost + LAST_RESORT) if watched.last_resort else watched.link
            for watched in links
            if watched.up and self._used(watched)
        ]

    def fabric_ports(self) -> dict[str, list[int]]:
        """Switch → the ports by which it takes packets of other switches."""
        ports: dict[str, list[int]] = {switch: [] for switch in self._dpids}
        links = (watched for watched in self._watched.values() if watched.declared or watched.up)
        for end in sorted({end for watched in links if self._used(watched) for end in watched.ends}):
            ports[end.switch].append(end.number)
        return ports

    def watched(self) -> Iterable[WatchedLink]:
        return self._watched.values()

    def at(self, end: Port) -> WatchedLink:
        """The link that ends here.  Raises NotFound."""
        here = self._at_end.get(end)
        if not here:
            names = some("–".join(map(str, watched.ends)) for watched in self._watched.values())
            raise NotFound(f"no link ends at {end}; the links are {names}")
        return max(here, key=lambda watched: (watched.up and self._used(watched), watched.declared))

    def _watched_at(self, switch: str) -> Iterator[WatchedLink]:
        return (watched for watched in self._watched.values() if any(end.switch == switch for end in watched.ends))

    def down(self, now: float) -> Iterator[tuple[WatchedLink, str]]:
        """The declared links that are down, each with the reason."""
        for watched in self._watched.values():
            if watched.declared and not watched.up:
                yield watched, self._why_down(watched, now)

    def _why_down(self, watched: WatchedLink, now: float) -> str:
        wrong = [f"{end} is cabled to {peer}" for end, peer in self._cabled_instead(watched, now).items()]
        without_carrier = [str(end) for end in watched.ends if not self._ports.get(end, True)]
        if wrong:
            return ", ".join(wrong)
        if not without_carrier:
            return "its ends do not hear each other"
        return f"port {without_carrier[0]} is down" if len(without_carrier) == 1 else "both ports are down"

    def _cabled_instead(self, watched: WatchedLink, now: float) -> dict[str, str]:
        return {
            str(end): str(heard.peer)
            for end in watched.ends
            if (heard := self._heard.get(end)) and heard.peer not in watched.ends and now - heard.when <= DEAD_S
        }

    def view(self, watched: WatchedLink, now: float) -> dict[str, object]:
        """One link, as it is shown by REST and on the command line."""
        return {
            "ends": [str(end) for end in watched.ends],
            "cost": watched.link.cost,
            "mtu": watched.link.mtu or None,
            "up": watched.up and self._used(watched),
            "state": self._state(watched),
            "declared": watched.declared,
            "confirmed": self._confirmed(watched, now) and not self.is_by_ports(watched),
            "by_ports": self.is_by_ports(watched),
            "failures": watched.failures,
            "cabled_instead": self._cabled_instead(watched, now),
        }

    def is_by_ports(self, watched: WatchedLink) -> bool:
        """Do its ports alone say whether it is up?"""
        a, b = watched.ends
        return watched.declared and (self.passage.explains(a, b) or self.passage.explains(b, a))

    def _state(self, watched: WatchedLink) -> str:
        if not self._used(watched):
            return "not declared"
        if watched.up and watched.last_resort:
            return "held back" if watched.trusted else "switch away"
        if watched.up:
            return "up"
        return "silent" if all(self._ports.get(end, True) for end in watched.ends) else "port down"
