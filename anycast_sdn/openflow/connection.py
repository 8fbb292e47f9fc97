"""One switch's connection without its socket: bytes in, calls of the listener out; messages in, bytes out.

The rules that it keeps:

- Nothing here sends, waits or reads a clock.  ``unsent`` is what is to be sent, and ``wake`` is called when there is
  something.  Time passes in ``tick`` alone; a delay of our own is not counted as the switch's silence.
- ``TAKEN`` and ``IGNORED`` say which kinds of messages may come in which state; any other ends the connection.
  No message that comes before a switch is admitted has an effect outside its connection.
- Every length is checked before anything is read; an answer is accepted only to a request that was sent, and its
  size is bounded.  Anything else is a BadMessage, which ends this connection and affects no other.
- Each request has a deadline (``pending``).  A connection that has ended keeps nothing: neither bytes nor callbacks.
- All messages to the switch pass ``send`` or ``try_out``, or are questions, which change nothing.  While another
  controller is its master (``become_slave``), what would change something is dropped here.
- The switch refuses what a former master sends, but for the end of a connection (Open vSwitch 3.1).  So before that it
  is asked who its master is, and all else waits behind.

``listener.identified`` decides, at once or later, whether a switch is admitted.  Messages are written by
``codec``; what switches send is parsed by ``decoding`` and here, never by OS-Ken.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser
from os_ken.ofproto.ofproto_protocol import ProtocolDesc

from anycast_sdn.openflow import codec, decoding, passed_on, transactions
from anycast_sdn.openflow.adapting import Adapting
from anycast_sdn.openflow.decoding import BadMessage
from anycast_sdn.openflow.echoes import Echoes
from anycast_sdn.openflow.error_words import error_words
from anycast_sdn.openflow.flow_monitor import Monitors
from anycast_sdn.openflow.layout import FIVE_TABLES
from anycast_sdn.openflow.layouts import suited
from anycast_sdn.openflow.listener import Listener
from anycast_sdn.openflow.outgoing import Outgoing
from anycast_sdn.openflow.pending import (
    PartOfReply,
    Pending,
    ProbeResult,
    Reply,
    Reported,
    RoleReply,
    RoleResult,
    TakesPacket,
    TrialResult,
)
from anycast_sdn.openflow.refusal import Refusal, refusal
from anycast_sdn.openflow.rules import Barrier, EndConnection, FlowRule, Message, ReportExpired
from anycast_sdn.openflow.states import BEFORE_ADMITTED, IGNORED, TAKEN, State, not_now
from anycast_sdn.trust.certificate import Certificate

LOG = logging.getLogger(__name__)

HANDSHAKE_S = 5.0  # until a switch has sent its datapath id and is admitted; echoes do not extend it
LONGEST_TICK_S = 0.5  # the rest of a longer pause is a delay of our own
MAX_UNSENT = 1 << 26  # bytes that a switch may leave unread before it counts as dead
MAX_UNSENT_BEFORE_ADMITTED = 1 << 16
MOST_REFUSALS = 16  # kinds of errors of one connection that are reported
HELLO_XID = 0x01010101  # fixed, and text: Mininet reads the first bytes of a controller as UTF-8
VERSIONS = range(4, 7)  # in HELLO without a bitmap: those with which OpenFlow 1.3 can be agreed on

_HEADER = struct.Struct("!BBHI")
_XID_AT = 4
_ERROR = struct.Struct("!HH")
_ROLE = struct.Struct("!I4xQ")  # role, generation


class Connection(ProtocolDesc, Outgoing, Adapting):  # type: ignore[misc]
    """``peer``: the other end's address, for the log.  ``wake``: is called when there is something to send."""

    owed = "sent its datapath id"  # what has to be done within ``HANDSHAKE_S``
    certificate: Certificate | None = None  # the other end's, verified; None: it has not shown one

    def __init__(self, listener: Listener, peer: str, wake: Callable[[], None]) -> None:
        ProtocolDesc.__init__(self, codec.OPENFLOW_VERSION)
        Outgoing.__init__(self)
        self.peer = peer
        self.state = State.HELLO
        self.id = 0  # the datapath id, once it is known
        self.label = ""  # the name of an admitted switch in the network file
        self.reason = self.kind = ""  # why the connection has ended, in words, and the kind that the log counts it as
        self.is_master = True  # or another controller is
        self.session = 0  # grows with each ``become_slave``: what was begun before has no effect any more
        self.tables = 0  # how many the switch says that it has; 0: it has not said
        Adapting.__init__(self, FIVE_TABLES)
        self._listener = listener
        self._wake = wake
        self._xid, self._age = 0, 0.0
        self._received = bytearray()
        self._needed = _HEADER.size  # bytes up to the end of the next message, as far as is known
        self._ticked: float | None = None
        self._echoes = Echoes()
        self._pending = Pending(listener.unanswered)
        self.monitors = Monitors()
        self._refusals: set[tuple[int, int]] = set()  # types and codes of errors that have been reported
        self._has_role = False  # it has been asked for a role
        self._pass_on: Callable[[bytes], None] | None = None  # see ``become_manager``
        self._queue(_message(ofp.OFPT_HELLO, HELLO_XID))

    @property
    def name(self) -> str:
        return f"{self.label or format(self.id, '016x')} at {self.peer}"

    @property
    def awaits_admission(self) -> bool:
        """Is the handshake going on, or the decision to admit the switch pending?"""
        return self.state in BEFORE_ADMITTED

    @property
    def is_admitted(self) -> bool:
        return self.state is State.ADMITTED

    @property
    def is_closed(self) -> bool:
        return self.state is State.CLOSED

    @property
    def unanswered(self) -> frozenset[str]:
        """What the switch leaves unanswered when it is asked, by name."""
        return self._pending.unanswered

    # ---------------------------------------------------------------- states

    def admit(self, label: str, keeps_ttl: bool = False) -> None:
        """Accept its identity: from now on its messages are passed on.  ``keeps_ttl``: see ``Features``."""
        assert self.state is State.IDENTIFIED
        self.state = State.ADMITTED
        self.label, self.keeps_ttl = label, keeps_ttl

    def close(self, reason: str, kind: str = "") -> None:
        """End the connection.  What is ``unsent`` may still be sent."""
        if self.is_closed:
            return
        was_admitted = self.is_admitted
        self.state = State.CLOSED
        self.reason, self.kind = reason, kind or reason
        self._received.clear()
        self._wake()
        if was_admitted:
            self._listener.disconnected(self)
        self._pending.end()

    def tick(self, now: float) -> None:
        """Let time pass.  To be called several times a second."""
        passed = min(now - self._ticked, LONGEST_TICK_S) if self._ticked is not None else 0.0
        self._ticked = now
        if self.awaits_admission:
            self._age += passed
            if self._age >= HANDSHAKE_S:
                self.close(f"it has not {self.owed} within {HANDSHAKE_S:.0f} s", "handshake")
        elif self.is_admitted and not self._echoes.tick(passed, self._send_echo):
            self.close("it does not answer echo requests")
        if not self.is_closed:
            self._pending.tick(passed)

    @property
    def owes_answer(self) -> bool:
        """Has it not answered an echo request in time?"""
        return self.is_admitted and self._echoes.are_owed

    @property
    def is_silent(self) -> bool:
        """As ``owes_answer``, after the shortest time."""
        return self.is_admitted and self._echoes.are_awaited

    def doubt(self, unheard: bool) -> None:
        """Something that it had to send or report has not come.  ``unheard``: nothing of what it had to."""
        if self.is_admitted and unheard and self._echoes.seem_gone:
            self.close("it does not answer, and none of its links has been heard of")
        elif self.is_admitted:
            self._echoes.ask(self._send_echo)

    # ---------------------------------------------------------------- sending

    def send(self, messages: Iterable[Message]) -> None:
        if self._pass_on:
            self._pass_on(self._encode(self, messages))
            return
        if not self.is_master:
            messages = [each for each in messages if isinstance(each, _CHANGE_NOTHING)]
        elif self._has_role and self.held is None and not self._was_just_master():
            messages = [*messages]
            if any(isinstance(each, EndConnection) for each in messages):
                self.ask_role(ofp.OFPCR_ROLE_NOCHANGE, 0, partial(self._take_role, self.session))
                self.hold()
        self._queue(self._encode(self, messages))

    def _was_just_master(self) -> bool:
        """Has the switch said just now that this controller is its master?"""
        return False

    def _take_role(self, session: int, reply: RoleReply | bool | None) -> None:
        if session != self.session:
            return  # it has been a slave since
        if reply is False or (isinstance(reply, RoleReply) and reply.role == ofp.OFPCR_ROLE_MASTER):
            self.release()
            self._wake()
        else:
            self._listener.is_slave(self.id)

    def become_master(self) -> None:
        self.is_master = True

    def become_manager(self, pass_on: Callable[[bytes], None]) -> None:
        """Another controller is the switch's master, and sends what is sent here: ``pass_on`` gives it these messages.

        Questions are still asked here: a slave may.
        """
        self._pass_on = pass_on
        self.monitors.watch_no_more(self)

    @property
    def is_manager(self) -> bool:
        return self._pass_on is not None

    def send_for_another(self, data: bytes) -> None:
        """Send what another controller has passed on, while this one is the master.  Raises BadMessage."""
        if self.is_master:
            self._queue(passed_on.checked(data))

    def become_slave(self) -> int:
        """Another controller is, or becomes, the switch's master → how many messages are not sent for this reason.

        What was queued is dropped, questions are not waited for, and what was to be done ``later`` is not done.
        """
        self.is_master, self._pass_on = False, None
        self.session += 1
        self.layout.forget()
        self._pending.forget()
        return self.drop_writes()

    def _queue(self, data: bytes) -> None:
        if self.is_closed:
            return
        if self.held is not None:
            self.held += data
            return
        if not self.unsent:
            self._wake()
        self.unsent += data
        if len(self.unsent) > (MAX_UNSENT if self.is_admitted else MAX_UNSENT_BEFORE_ADMITTED):
            self.drop_all()
            self.close("it does not read what it is sent")

    def set_xid(self, msg: Any) -> int:
        """The next transaction id; those with the bit ``TICKET`` are ``rules.Barrier``'s.  For ``codec``."""
        xid = self._next_xid()
        msg.set_xid(xid)
        return xid

    def _next_xid(self) -> int:
        self._xid = self._xid % transactions.MOST + 1  # never 0: packets without an id of their own have it
        return self._xid

    def _send_echo(self) -> int:
        xid = self._next_xid()
        self._queue(_message(ofp.OFPT_ECHO_REQUEST, xid))
        return xid

    # ---------------------------------------------------------------- asking

    def ask(self, request: Any, reply: Reply) -> None:
        """Send a multipart request; ``reply`` is called with the whole answer."""
        parts: list[bytes] = []

        def collect(body: bytes | None, last: bool) -> None:
            parts.append(body or b"")
            if last:
                reply(None if body is None else b"".join(parts))

        self.ask_in_parts(request, collect)

    def ask_in_parts(self, request: Any, part: PartOfReply) -> None:
        """Send a multipart request; ``part`` is called with each message of the answer as it arrives."""
        data = codec.serialised(self, request)
        if self.is_closed:
            return
        self._pending.ask(request.xid, request.type, part)
        self._queue(self.as_asked(request.type, data))

    def ask_or_do_without(self, kind: int, body: bytes) -> int:
        xid = self._next_xid()
        self._pending.ignore(xid)  # it may be answered with an error
        self._queue(_message(kind, xid, body))
        return xid

    def try_out(self, message: Message, result: TrialResult) -> None:
        """Send a message; ``result`` is called with whether the switch supports it."""
        self.try_all([(message, result)])

    def try_all(self, attempts: Iterable[tuple[Message, TrialResult]]) -> None:
        """As ``try_out``, with one barrier behind them all."""
        if not self.is_master or self.is_closed:
            return
        results: dict[int, TrialResult] = {}
        written = []
        for message, result in attempts:
            attempt, xid = self._encode(self, [message]), self._next_xid()
            written.append(attempt[:_XID_AT] + xid.to_bytes(4, "big") + attempt[_HEADER.size :])
            results[xid] = result
        barrier = parser.OFPBarrierRequest(self)
        written.append(codec.serialised(self, barrier))
        self._pending.try_out(results, barrier.xid)
        self._queue(b"".join(written))

    def await_report(self, rule: FlowRule, report: Reported) -> None:
        """``report`` is called when the removal of this trial's rule is reported, or has not been in time."""
        if self.is_master and not self.is_closed:
            self._pending.await_report(self.layout.on_switch(rule), report)

    def await_packets(self, takes: TakesPacket, over: Callable[[], None], seconds: float) -> None:
        """``takes`` is asked for each packet that the switch sends up; after so many seconds ``over`` is called."""
        if self.is_master and not self.is_closed:
            self._pending.await_packets(takes, over, seconds)

    def await_no_packets(self) -> None:
        self._pending.await_no_packets()

    def ask_role(self, role: int, generation: int, answer: RoleResult) -> None:
        """Ask to be the switch's master or slave; ``answer`` is called with what it says."""
        if self.is_closed:
            return
        self._has_role = True
        xid = self._next_xid()
        self._pending.ask_role(xid, answer)
        self._queue(_message(ofp.OFPT_ROLE_REQUEST, xid, _ROLE.pack(role, generation)))

    def probe(self, answer: ProbeResult) -> None:
        """``answer`` is called: does the switch answer an echo request in time?  False also if the connection ends."""
        if self.is_closed:
            answer(False)
        else:
            self._pending.probe(self._send_echo(), answer)

    # ---------------------------------------------------------------- receiving

    def receive(self, data: bytes) -> None:
        """Bytes have arrived; ``handle`` processes them."""
        self._received += data
        self._echoes.received()

    def handle(self, most: int) -> bool:
        """Handle up to so many complete messages.  False: there are no more of them.  Raises BadMessage."""
        received = self._received
        if len(received) < self._needed:
            return False
        data = bytes(received)
        at, size = 0, len(data)
        try:
            for _ in range(most):
                if size - at < _HEADER.size or self.state is State.CLOSED:
                    self._needed = _HEADER.size
                    return False
                version, kind, length, xid = _HEADER.unpack_from(data, at)
                if length < _HEADER.size:
                    raise BadMessage(f"length {length} of message type {kind}")
                if version != ofp.OFP_VERSION and kind != ofp.OFPT_HELLO:
                    raise BadMessage(f"version {version} of message type {kind}; set the switch to OpenFlow 1.3")
                if size - at < length:
                    self._needed = length
                    return False
                message = data[at : at + length]
                at += length
                try:
                    self._take(version, kind, xid, message)
                except BadMessage:
                    raise
                except Exception:  # only this message is lost
                    LOG.exception("internal error with message type %d of switch %s; it is ignored", kind, self.name)
            self._needed = _HEADER.size
            return True
        finally:
            del received[:at]

    def _take(self, version: int, kind: int, xid: int, message: bytes) -> None:
        state = self.state
        if state not in TAKEN.get(kind, ()):
            if state not in IGNORED.get(kind, ()):
                raise BadMessage(not_now(state, kind, message[_HEADER.size :]))
            return
        body = message[_HEADER.size :]
        if kind in _EVENTS:
            self._event(kind, body)
        elif kind == ofp.OFPT_BARRIER_REPLY:
            self._barrier(xid)
        elif kind == ofp.OFPT_MULTIPART_REPLY:
            self._multipart(xid, body)
        elif kind == ofp.OFPT_ERROR:
            self._error(xid, body)
        elif kind == ofp.OFPT_ECHO_REQUEST:
            self._queue(_message(ofp.OFPT_ECHO_REPLY, xid, body))
        elif kind == ofp.OFPT_ECHO_REPLY:
            self._echoed(xid)
        elif kind == ofp.OFPT_ROLE_REPLY:
            self._role(xid, body)
        elif kind == ofp.OFPT_EXPERIMENTER:
            self.monitors.take_pause(body)
        elif kind == ofp.OFPT_HELLO:
            self._hello(version, body)
        else:
            self._features(body)

    # ---------------------------------------------------------------- the handshake

    def _hello(self, version: int, body: bytes) -> None:
        bitmap = decoding.decode_hello(body)
        agreed = version in VERSIONS if bitmap is None else version >= ofp.OFP_VERSION and bitmap >> ofp.OFP_VERSION & 1
        if agreed:
            self.state = State.FEATURES
            self._queue(_message(ofp.OFPT_FEATURES_REQUEST, self._next_xid()))
            return
        failed = _ERROR.pack(ofp.OFPET_HELLO_FAILED, ofp.OFPHFC_INCOMPATIBLE)
        self._queue(_message(ofp.OFPT_ERROR, self._next_xid(), failed + b"this controller speaks OpenFlow 1.3 only"))
        offered = f"version {version}" if bitmap is None else f"the versions {decoding.versions_in(bitmap)}"
        self.close(f"it offers {offered} in its HELLO; set the switch to OpenFlow 1.3 (version 4)", "version")

    def _features(self, body: bytes) -> None:
        features = decoding.decode_features(body)
        self.id = self._pending.dpid = features.dpid
        self.tables = features.tables
        self.use_layout(suited(features.tables))
        self.state = State.IDENTIFIED
        if features.auxiliary:
            self.close(f"switch {self.id:016x}: auxiliary connections are not served", f"auxiliary {self.id}")
        else:
            self._listener.identified(self)

    # ---------------------------------------------------------------- messages of an admitted switch

    def _event(self, kind: int, body: bytes) -> None:
        if not self.is_master:
            if kind == ofp.OFPT_FLOW_REMOVED:
                self._listener.rule_of_others_removed(self.id, body)
        elif kind == ofp.OFPT_PACKET_IN:
            body = self.restored(kind, body)
            message = decoding.decode_packet_in(body)
            if self._pending.is_awaited(message.in_port, message.frame):
                pass
            elif decoding.is_expired(body):
                self._listener.ttl_expired(self.id, message)
            else:
                self._listener.packet_in(self.id, message)
        elif kind == ofp.OFPT_FLOW_REMOVED:
            removed = decoding.decode_flow_removed(self.restored(kind, body))
            self._pending.removed(*decoding.place_of_removed(body))
            self.note_removed(removed[0])
            self._listener.rule_removed(self.id, *removed)
        else:
            self._listener.port_changed(self.id, *decoding.decode_port_status(body))

    def _barrier(self, xid: int) -> None:
        if xid & codec.TICKET:
            if not self.is_master:
                return
            self._listener.confirmed(self.id, xid ^ codec.TICKET)
        else:
            self._pending.barrier(xid)

    def _echoed(self, xid: int) -> None:
        if self._pending.is_probe(xid):
            self._pending.echo(xid)
        elif xid in self._echoes:
            self._echoes.answered(xid)

    def _role(self, xid: int, body: bytes) -> None:
        if not self._pending.is_role(xid):
            return  # it comes too late, or nobody has asked
        if len(body) < _ROLE.size:
            raise BadMessage("role reply cut short")
        self._pending.role(xid, RoleReply(*_ROLE.unpack_from(body)))

    def _multipart(self, xid: int, body: bytes) -> None:
        if self.monitors.are_told_of(body):
            cookies = self.monitors.take(xid, body)
            if cookies and self.is_master:
                self._listener.rules_modified(self.id, cookies)
        else:
            self._pending.answer(xid, self.restored(ofp.OFPT_MULTIPART_REPLY, body))
            # Replies to echo requests queue behind a long answer: while its parts arrive, the switch is alive.
            self._echoes.clear()

    def _error(self, xid: int, body: bytes) -> None:
        """The switch refused something; ``body`` quotes the beginning of it (OF 1.3.5 §7.4.4)."""
        if len(body) < _ERROR.size:
            raise BadMessage("error message cut short")
        kind, code = _ERROR.unpack_from(body)
        quoted = body[_ERROR.size :]
        if self._pending.is_role(xid):
            self._pending.role(xid, (kind, code) == _STALE)
        elif (kind, code) == _IS_SLAVE and self._has_role:
            self._listener.is_slave(self.id)
        elif self._pending.concerns(xid):
            self._pending.error(xid, decoding.means_unsupported(kind, code), error_words(kind, code))
        elif not self.is_master:
            pass  # it is about what was sent before
        elif refused := refusal(xid, kind, code, quoted):
            self._refused(kind, code, refused)

    def _refused(self, kind: int, code: int, refused: Refusal) -> None:
        if refused.changes:
            self._listener.rule_refused(self.id, refused.cookie, refused.full, refused.reason)
            if refused.group is not None:
                self._listener.group_refused(self.id, refused.group)
        elif (kind, code) not in self._refusals and len(self._refusals) < MOST_REFUSALS:
            self._refusals.add((kind, code))  # only once: each packet may cause one
            self._listener.message_refused(self.id, refused.reason)


_CHANGE_NOTHING = (Barrier, ReportExpired)
_STALE = (ofp.OFPET_ROLE_REQUEST_FAILED, ofp.OFPRRFC_STALE)
_IS_SLAVE = (ofp.OFPET_BAD_REQUEST, ofp.OFPBRC_IS_SLAVE)
_EVENTS = frozenset((ofp.OFPT_PACKET_IN, ofp.OFPT_FLOW_REMOVED, ofp.OFPT_PORT_STATUS))


def _message(kind: int, xid: int, body: bytes = b"") -> bytes:
    return _HEADER.pack(ofp.OFP_VERSION, kind, _HEADER.size + len(body), xid) + body
