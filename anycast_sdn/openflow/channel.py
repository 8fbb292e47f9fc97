"""The connection to one switch: bytes in, events out; messages in, bytes out.

A ``Datapath`` of our own under OS-Ken's handler, which still does the handshake and the echoes.  What
is different from OS-Ken's: large reads with messages taken by offset; every length is checked before
any parser sees the bytes, and a bad one closes this connection and disturbs no other; ``send`` never
waits, so that a handler never yields in the middle of a change; a switch that stops reading is
disconnected after OS-Ken's ``socket_timeout``.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from os_ken.controller import controller, ofp_event
from os_ken.controller.controller import Datapath
from os_ken.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER, MAIN_DISPATCHER
from os_ken.lib import hub
from os_ken.ofproto import ofproto_parser
from os_ken.ofproto import ofproto_v1_3 as ofp
from os_ken.ofproto import ofproto_v1_3_parser as parser

from anycast_sdn.openflow import codec, decoding
from anycast_sdn.openflow.rules import Message

LOG = logging.getLogger(__name__)

READ_SIZE = 1 << 16  # bytes: some hundred packet-ins, a few milliseconds' work, then it is another switch's turn
MAX_UNSENT = 1 << 26  # bytes: a switch that takes no more than this is not there any more
_HEADER = struct.Struct("!BBHI")
_MULTIPART = struct.Struct("!HH4x")
_ERROR = struct.Struct("!HH")
_MORE = 1
_OF_NO_CONCERN = frozenset(
    (ofp.OFPT_EXPERIMENTER, ofp.OFPT_GET_CONFIG_REPLY, ofp.OFPT_ROLE_REPLY, ofp.OFPT_GET_ASYNC_REPLY)
)

Reply = Callable[[bytes | None], None]  # a multipart reply's body; None when the switch refused
PartOfReply = Callable[[bytes | None, bool], None]  # the same, message by message; True with the last one

TrialResult = Callable[[bool | None], None]  # taken, not supported, or None: the switch does not say


class Listener(Protocol):
    """Who hears what the switches say.  Called in the order of arrival; must not wait."""

    def packet_in(self, dpid: int, message: decoding.PacketInMessage) -> None: ...

    def ttl_expired(self, dpid: int, message: decoding.PacketInMessage) -> None: ...

    def rule_removed(self, dpid: int, cookie: int, idle_timeout: int, deleted: bool) -> None: ...

    def rule_refused(self, dpid: int, cookie: int, full: bool, reason: str) -> None: ...

    def confirmed(self, dpid: int, ticket: int) -> None: ...

    def port_changed(self, dpid: int, port: int, up: bool) -> None: ...


class Channel(Datapath):  # type: ignore[misc]
    """A switch's connection; ``listener`` is set once, before the first switch connects."""

    listener: Listener

    def __init__(self, socket: Any, address: Any) -> None:
        self._unsent = bytearray()
        self._something_to_send = hub.Event()
        self._close_when_sent = False
        self._requests: dict[int, PartOfReply] = {}
        self._trials: dict[int, TrialResult] = {}  # by the transaction id of what is tried out
        self._barriers: dict[int, int] = {}  # of a barrier → of what was tried out before it
        super().__init__(socket, address)

    # ---------------------------------------------------------------- sending

    def tell(self, messages: Iterable[Message]) -> None:
        self.send(codec.encode(self, messages))

    def send(self, buf: bytes, close_socket: bool = False) -> bool:
        """Queue bytes; they leave when the writer gets its turn."""
        if self.state == DEAD_DISPATCHER:
            return False
        if not self._unsent:
            self._something_to_send.set()
        self._unsent += buf
        self._close_when_sent |= close_socket
        if len(self._unsent) > MAX_UNSENT:
            LOG.warning("switch %s takes nothing any more: disconnected", self.name)
            self.close()
        return True

    def _send_loop(self) -> None:
        try:
            while self.state != DEAD_DISPATCHER:
                self._something_to_send.wait()
                self._something_to_send.clear()
                data, self._unsent = self._unsent, bytearray()
                self.socket.sendall(data)
                if self._close_when_sent and not self._unsent:
                    break
        except OSError as error:  # a timeout is one too
            LOG.info("switch %s does not read: %s", self.name, error)
        finally:
            self.close()

    def set_xid(self, msg: Any) -> int:
        """The next transaction id; those with the bit ``TICKET`` are ``rules.Barrier``'s."""
        self.xid: int = (self.xid + 1) % codec.TICKET
        msg.set_xid(self.xid)
        return self.xid

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
        buf = codec.serialised(self, request)
        self._requests[request.xid] = part
        self.send(buf)

    def try_out(self, message: Message, result: TrialResult) -> None:
        """Send a message and tell whether the switch took it."""
        attempt = codec.encode(self, [message])
        barrier = parser.OFPBarrierRequest(self)
        end = codec.serialised(self, barrier)
        attempted = _HEADER.unpack_from(attempt)[3]
        self._trials[attempted] = result
        self._barriers[barrier.xid] = attempted
        self.send(attempt + end)

    def later(self, act: Callable[[], None]) -> None:
        """Act after others have had their turn, if the switch is still there then."""
        hub.spawn_after(0, self._unless_dead, act)

    def _unless_dead(self, act: Callable[[], None]) -> None:
        if self.state == MAIN_DISPATCHER:
            act()

    # ---------------------------------------------------------------- receiving

    @property
    def name(self) -> str:
        return f"{self.id:016x}" if self.id else f"at {self.address[0]}:{self.address[1]}"

    def _recv_loop(self) -> None:
        buffer = bytearray()
        try:
            while self.state != DEAD_DISPATCHER:
                try:
                    chunk = self.socket.recv(READ_SIZE)
                except TimeoutError:
                    continue
                if not chunk:
                    break
                buffer += chunk
                del buffer[: self._take_messages(bytes(buffer))]
                hub.sleep(0)  # a busy switch must not keep the others waiting
        except decoding.BadMessage as error:
            LOG.warning("switch %s sent a bad message, disconnected: %s", self.name, error)
        except OSError as error:
            LOG.info("connection of switch %s lost: %s", self.name, error)
        finally:
            self.close()
            self.socket.close()

    def _take_messages(self, data: bytes) -> int:
        """Handle all complete messages; returns how many bytes that were."""
        start, size = 0, len(data)
        while size - start >= _HEADER.size and self.state != DEAD_DISPATCHER:
            version, kind, length, xid = _HEADER.unpack_from(data, start)
            if length < _HEADER.size:
                raise decoding.BadMessage(f"length {length} of message type {kind}")
            if version != ofp.OFP_VERSION and kind != ofp.OFPT_HELLO:
                raise decoding.BadMessage(f"version {version} of message type {kind}; set the switch to OpenFlow 1.3")
            if size - start < length:
                break
            try:
                self._take(kind, xid, data[start : start + length])
            except decoding.BadMessage:
                raise
            except Exception:  # it loses this message alone
                LOG.exception("our own error with message type %d of switch %s; it is left out", kind, self.name)
            start += length
        return start

    def _take(self, kind: int, xid: int, message: bytes) -> None:
        body = message[_HEADER.size :]
        if kind == ofp.OFPT_ERROR:
            self._error(xid, body)
        elif kind == ofp.OFPT_MULTIPART_REPLY:
            self._multipart(xid, message)
        elif kind == ofp.OFPT_BARRIER_REPLY:
            if xid & codec.TICKET:
                self.listener.confirmed(self.id, xid ^ codec.TICKET)
            elif result := self._trials.pop(self._barriers.pop(xid, 0), None):
                result(True)
        elif kind in (ofp.OFPT_PACKET_IN, ofp.OFPT_FLOW_REMOVED, ofp.OFPT_PORT_STATUS):
            if self.state == MAIN_DISPATCHER:
                self._event(kind, body)
        elif kind in (ofp.OFPT_HELLO, ofp.OFPT_ECHO_REQUEST, ofp.OFPT_ECHO_REPLY, ofp.OFPT_FEATURES_REPLY):
            self._to_os_ken(kind, xid, message)
        elif kind not in _OF_NO_CONCERN:
            raise decoding.BadMessage(f"unexpected message type {kind}")

    def _event(self, kind: int, body: bytes) -> None:
        if kind == ofp.OFPT_PACKET_IN:
            message = decoding.decode_packet_in(body)
            if decoding.is_expired(body):
                self.listener.ttl_expired(self.id, message)
            else:
                self.listener.packet_in(self.id, message)
        elif kind == ofp.OFPT_FLOW_REMOVED:
            self.listener.rule_removed(self.id, *decoding.decode_flow_removed(body))
        else:
            self.listener.port_changed(self.id, *decoding.decode_port_status(body))

    def _multipart(self, xid: int, message: bytes) -> None:
        body = message[_HEADER.size :]
        if len(body) < _MULTIPART.size:
            raise decoding.BadMessage("multipart reply cut short")
        _, flags = _MULTIPART.unpack_from(body)
        if xid not in self._requests and self.state == CONFIG_DISPATCHER:
            self._to_os_ken(ofp.OFPT_MULTIPART_REPLY, xid, message)  # the ports, which end the handshake
            return
        if xid not in self._requests:
            raise decoding.BadMessage("an answer to a question that nobody asked")
        part = self._requests[xid]
        last = not flags & _MORE
        if last:
            del self._requests[xid]
        part(body[_MULTIPART.size :], last)

    def _error(self, xid: int, body: bytes) -> None:
        """The switch refused something; ``body`` quotes the beginning of it (OF 1.3.5 §7.4.4)."""
        if len(body) < _ERROR.size:
            raise decoding.BadMessage("error message cut short")
        kind, code = _ERROR.unpack_from(body)
        quoted = body[_ERROR.size :]
        if part := self._requests.pop(xid, None):
            part(None, True)
        elif result := self._trials.pop(xid, None):
            result(False if decoding.means_unsupported(kind, code) else None)
        elif len(quoted) >= 16 and quoted[1] == ofp.OFPT_FLOW_MOD:
            full = (kind, code) == (ofp.OFPET_FLOW_MOD_FAILED, ofp.OFPFMFC_TABLE_FULL)
            reason = "table full" if full else f"error type {kind} code {code}"
            self.listener.rule_refused(self.id, int.from_bytes(quoted[8:16], "big"), full, reason)
        else:
            LOG.warning("switch %s refused a message: type %d code %d, %s", self.name, kind, code, quoted[:64].hex())

    def _to_os_ken(self, kind: int, xid: int, message: bytes) -> None:
        """Handshake and echoes: messages without inner lengths, but for HELLO's elements."""
        if kind == ofp.OFPT_HELLO:
            message = message[: _HEADER.size]  # OS-Ken loops on an element of no length; the version is enough
        elif kind == ofp.OFPT_FEATURES_REPLY and len(message) != ofp.OFP_SWITCH_FEATURES_SIZE:
            raise decoding.BadMessage("features reply of a wrong length")
        elif kind == ofp.OFPT_MULTIPART_REPLY:
            # For its complaints: OS-Ken would not notice.
            list(decoding.decode_ports(message[_HEADER.size + _MULTIPART.size :]))
        parsed = ofproto_parser.msg(self, message[0], kind, len(message), xid, message)
        event = ofp_event.ofp_msg_to_ev(parsed)
        self.ofp_brick.send_event_to_observers(event, self.state)
        for handler in self.ofp_brick.get_handlers(event, self.state):
            handler(event)


def serve(socket: Any, address: Any) -> None:
    """One switch's connection from its first byte to its last; what OS-Ken's server calls."""
    channel = Channel(socket, address)
    try:
        channel.serve()
    except Exception:
        LOG.exception("connection of switch %s ended by our own error", channel.name)
    finally:
        channel.close()


def install(listener: Listener) -> None:
    """Make OS-Ken's server use this channel for the switches that connect from now on."""
    Channel.listener = listener
    controller.datapath_connection_factory = serve
