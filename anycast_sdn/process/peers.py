"""Peers: the members of a cluster among themselves, without etcd between them.

Each member listens for the others, and follows each of them: a stream that lasts as long as both processes do.

The rules this file keeps:

- Members know each other by a secret in etcd (``meta/secret``), which is made once.
- The end of a process is certain when a stream of it has ended and a new connection is refused, or another process
  answers at its address.  Then its lease is revoked, so that others take over at once.  Whoever is silent is left
  to its lease: it may be frozen, or cut off from us alone.
- What is said to others is a line, TOPIC TEXT.  Who does not take its lines in time loses the stream, and begins anew.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import socket
import ssl
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import closing
from typing import NamedTuple
from urllib.parse import urlsplit

from os_ken.lib import hub

from anycast_sdn.api import endpoints, server
from anycast_sdn.api.access import Access
from anycast_sdn.api.any_member import AnyMember, BetweenMembers, Leader
from anycast_sdn.api.endpoints import Endpoint
from anycast_sdn.api.member_client import Elsewhere, MemberClient, NoAnswer, Silent
from anycast_sdn.api.server import Application, Server
from anycast_sdn.api.streams import Stream
from anycast_sdn.api.tokens import Token, Tokens, secret_of, sha256_of
from anycast_sdn.cluster.keys import LEADER
from anycast_sdn.cluster.overview import OF_OVERVIEW, overview
from anycast_sdn.cluster.steering import ClusterUnreachable
from anycast_sdn.core.events import Event
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.words import address, listed
from anycast_sdn.etcd.client import EtcdError, Is, Put, Value
from anycast_sdn.etcd.client import Tls as TlsFiles
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.process.listening import listening
from anycast_sdn.trust.tls import Tls

LOG = logging.getLogger(__name__)

PORT = 6654  # where members listen for each other, unless they are on one machine
SECRET = "meta/secret"
LEAVING = "leaving"  # a topic: the process ends because it was asked to
SILENT_S = 3.0  # without a line of a member, its stream counts as lost
ALIVE_S = 1.0  # a line is sent at least so often
AGAIN_S = 0.5  # between two attempts to reach a member
SOON_S, SOON_TIMES = 0.005, 40  # after its stream has ended: its listener may end a moment later
MOST_LINES = 10_000  # that wait for one member

_EVERYTHING = 1_000_000  # requests a second, and at once


class PeerOptions(NamedTuple):
    """What the command line says.  ``place``: host and port; port 0: any; ``advertised``: where others reach it, if
    that is another place.
    """

    place: tuple[str, int]
    tls: TlsFiles
    advertised: tuple[str, int] | None = None


class Peers:
    """``member``: the id of this one.  It listens from now on, and answers when ``serve`` is called."""

    def __init__(self, options: PeerOptions, mirror: Mirror, member: str) -> None:
        """Raises ConfigurationError."""
        self.own = member
        self._mirror = mirror
        self._tls, self._context = _tls(options.tls)
        self._advertised = options.advertised
        self._endpoint = self._opened(options.place)
        self._access = Access(Tokens())
        self._secret = ""
        self._values: dict[str, Value] = {}  # of the keys that ``overview`` needs
        self.overview = overview({})
        self.missed: Callable[[], Collection[str]] = list  # names of members that were there, and are not
        self._server: Server | None = None
        self._clients: dict[str, MemberClient] = {}  # by id, of members that are there
        self._streams: set[_Lines] = set()  # of those who listen to this member
        self._listeners: dict[str, list[Callable[[str, str], None]]] = {}  # by topic
        self._greetings: dict[str, Callable[[], Iterable[str]]] = {}  # by topic
        self.left: set[str] = set()  # ids of members that have said that they leave
        self.ended: set[str] = set()  # ids of members whose processes are known to have ended
        self.reached: set[str] = set()  # ids of the members whose streams come here now
        self._begun: Counter[str] = Counter()  # by id
        self._leads: Callable[[], bool] = lambda: False
        self._is_active, self._is_serving = True, False
        self.listen(LEAVING, lambda id, _: self.left.add(id))
        self._look(mirror.values)
        mirror.listen(self._look)

    @property
    def url(self) -> str:
        """Where other members reach this one."""
        host, port, *_ = self._advertised or self._endpoint.listener.getsockname()
        return f"{self._endpoint.scheme}://{address(host, port)}"

    def serve(self, own: Application, leads: Callable[[], bool], report: Callable[[Event], None]) -> AnyMember:
        """``own``: REST of this member by itself; ``leads``: does it lead? → REST of any member."""
        self._leads = leads
        self._make_secret()
        between = BetweenMembers(own, self, self._stream)
        self._server = server.serve(between, [self._endpoint], self._access, server.pause_in_line(), report)
        self._is_serving = True
        self._look([SECRET])
        hub.spawn(self._keep_secret)
        return AnyMember(own, self)

    def stop(self) -> None:
        self._is_active = False
        self.publish(LEAVING, "")
        for client in self._clients.values():
            client.close()
        if self._server:
            self._server.close()

    # ---------------------------------------------------------------- what members say to each other

    def publish(self, topic: str, text: str) -> None:
        """To all members that listen; ``text`` is one line."""
        line = f"{topic} {text}\n".encode()
        for stream in [*self._streams]:
            stream.add(line)

    def greet(self, topic: str, first: Callable[[], Iterable[str]]) -> None:
        """Who begins to listen is told this first."""
        self._greetings[topic] = first

    def begun(self, member: str) -> int:
        """How often this one has begun to listen to that member: what it has said between may be lost."""
        return self._begun[member]

    def listen(self, topic: str, listener: Callable[[str, str], None]) -> None:
        """It is called with the id of the member that says it, and the text."""
        self._listeners.setdefault(topic, []).append(listener)

    def _stream(self) -> Stream:
        first = [f"{topic} {text}\n".encode() for topic, greeting in self._greetings.items() for text in greeting()]
        return _Lines(self._streams, first)

    # ---------------------------------------------------------------- Members, for REST

    def leads(self) -> bool:
        return self._leads()

    def leader(self) -> Leader | None:
        leader = self._mirror.values.get(LEADER)
        client = leader and self._clients.get(leader.text)
        return Leader(leader.text, self.overview.name(leader.text), client) if leader and client else None

    def name(self) -> str:
        return self.overview.name(self.own)

    def others(self) -> list[Leader]:
        return [Leader(id, self.overview.name(id), client) for id, client in self._clients.items()]

    def serving(self) -> set[str]:
        names = {member.name for member in self.overview.members.values()}
        return names | set(self.missed()) if self.overview.shared else set()

    def missing(self) -> str:
        if self._mirror.problem:
            return f"etcd does not answer this member, so it does not know who leads: {self._mirror.problem}"
        seen = self.overview
        if seen.leader == self.own:  # and serves no switch, which would say whether it does
            why = self._mirror.etcd.full or "etcd has not taken what it has written last"
            return f"this member leads by what etcd has, but is not sure of it: {why}"
        if seen.leader:
            return f"{seen.name(seen.leader)} leads, but is not there"
        here = listed([each.name for each in seen.members.values()])
        return f"no member leads now; there {'is' if len(seen.members) == 1 else 'are'} {here or 'none'}"

    def revision(self) -> int:
        return max(self._mirror.revision, self._mirror.etcd.written)

    def times_gone_back(self) -> int:
        return self._mirror.times_gone_back

    def reach(self, revision: int) -> None:
        try:
            self._mirror.reach(revision)
        except EtcdError as error:
            raise ClusterUnreachable(str(error)) from error

    # ---------------------------------------------------------------- the others

    def _look(self, changed: Iterable[str]) -> None:
        """etcd has changed."""
        if ours := [key for key in changed if key.startswith(OF_OVERVIEW)]:
            for key in ours:
                if value := self._mirror.values.get(key):
                    self._values[key] = value
                else:
                    self._values.pop(key, None)
            self.overview = overview(self._values)
            self._look_at_members()
        if SECRET in changed and (found := self._mirror.values.get(SECRET)):
            self._secret = found.text
            self._access.replace(Tokens([_entry(found.text)]))
            for id in [*self._clients]:
                self._clients.pop(id).close()
            self._look_at_members()

    def _look_at_members(self) -> None:
        members = self.overview.members
        for id in self._clients.keys() - members.keys():
            self._clients.pop(id).close()
        for id in members.keys() - self._clients.keys() - {self.own}:
            if self._is_serving and self._secret and members[id].told.peer:
                client = MemberClient(members[id].told.peer, id, self._secret, self._context)
                self._clients[id] = client
                hub.spawn(self._follow, id, client)

    def _follow(self, id: str, client: MemberClient) -> None:
        """As long as the member is there."""
        soon, is_known = 0, False
        while self._is_active and self._clients.get(id) is client:
            try:
                with closing(client.lines(SILENT_S)) as lines:
                    for line in lines:
                        if id not in self.reached:
                            self._begun[id] += 1
                            self.reached.add(id)
                        soon, is_known = SOON_TIMES, True
                        self._take(id, line)
            except (ConnectionRefusedError, Elsewhere) as error:
                if is_known:
                    self._revoke(id, str(error))
            except NoAnswer as error:
                LOG.debug("member %s: %s", id, error)
                if isinstance(error, Silent):
                    client.close()  # whoever waits for it otherwise waits for long
            except Exception:
                LOG.exception("internal error with the stream of member %s; it goes on", id)
            self.reached.discard(id)
            hub.sleep(SOON_S if soon else AGAIN_S)
            soon = max(0, soon - 1)

    def _take(self, id: str, line: bytes) -> None:
        topic, _, text = line.decode(errors="replace").rstrip("\n").partition(" ")
        for listener in self._listeners.get(topic, ()):
            try:
                listener(id, text)
            except Exception:
                LOG.exception("internal error with what member %s says of %s", id, topic)

    def _revoke(self, id: str, reason: str) -> None:
        member = self.overview.members.get(id)
        if member and member.lease:
            LOG.debug("member %s: its process has ended: %s", id, reason)
            self.ended.add(id)
            try:
                self._mirror.etcd.revoke(member.lease)
            except EtcdError as error:
                LOG.debug("etcd: %s", error)  # tried again with the next attempt to connect

    # ---------------------------------------------------------------- the secret

    def _keep_secret(self) -> None:
        """etcd may be made anew."""
        while self._is_active:
            if SECRET not in self._mirror.values and not self._mirror.problem:
                self._make_secret()
            hub.sleep(AGAIN_S)

    def _make_secret(self) -> None:
        if SECRET in self._mirror.values:
            return
        key = self._mirror.prefix + SECRET
        try:
            self._mirror.etcd.transact([Is(key, 0)], [Put(key, secret_of(secrets.token_bytes(32)))])
        except EtcdError as error:
            LOG.debug("etcd: %s", error)

    # ---------------------------------------------------------------- where it listens

    def _opened(self, place: tuple[str, int]) -> Endpoint:
        host, _ = place
        told, option = (self._advertised[0], "--advertise-peer") if self._advertised else (host, "--peer")
        if (there := _ip(told)) and there.is_unspecified:
            raise ConfigurationError(f"{option} {told}: other members cannot connect to it; give an address of this "
                                     "host, or say where they reach it (--advertise-peer)")  # fmt: skip
        with listening("this member", "--peer", place):
            endpoint = endpoints.at_address(place, (told,), self._tls)
        if not self._tls and not (host == "localhost" or ((own := _ip(host)) and own.is_loopback)):
            LOG.warning("what members say to each other at %s is not encrypted: use --etcd-cert, --etcd-key and "
                        "--etcd-ca", host)  # fmt: skip
        return endpoint


class _Lines(Stream):
    """What this member says to one other.  Streams that its clients have asked for there do not push it out."""

    is_vital = True

    def __init__(self, all: set[_Lines], first: Iterable[bytes]) -> None:
        self._all = all
        self._waiting = deque(first)
        self._wake = threading.Event()
        self._ends = False
        all.add(self)

    def add(self, line: bytes) -> None:
        if len(self._waiting) >= MOST_LINES:
            self._all.discard(self)
            self.end()
        else:
            self._waiting.append(line)
            self._wake.set()

    def end(self) -> None:
        self._ends = True
        self._wake.set()

    def __iter__(self) -> Generator[bytes]:
        try:
            while not self._ends or self._waiting:
                self._wake.clear()
                lines = b"".join(self._waiting) or b"\n"
                self._waiting.clear()
                yield lines
                if not self._waiting and not self._ends:
                    self._wake.wait(ALIVE_S)
        finally:
            self._all.discard(self)


def usual_place(endpoints: Iterable[str]) -> tuple[str, int]:
    """Where a member listens: the address of this host from which it reaches etcd on another one."""
    for endpoint in endpoints:
        place = urlsplit(endpoint)
        try:
            found = socket.getaddrinfo(place.hostname, place.port or 2379, type=socket.SOCK_DGRAM)
            with socket.socket(found[0][0], socket.SOCK_DGRAM) as probe:
                probe.connect(found[0][4])  # sends nothing
                host = str(probe.getsockname()[0])
        except OSError:
            continue
        if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
            return host, PORT
    return "127.0.0.1", 0


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """None: it is a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _entry(secret: str) -> Token:
    return Token(
        name="member", sha256=sha256_of(secret), scopes=("admin",),
        requests_per_s=_EVERYTHING, burst=_EVERYTHING, concurrent=1000,
    )  # fmt: skip


def _tls(files: TlsFiles) -> tuple[Tls | None, ssl.SSLContext | None]:
    """→ (as a server, as a client); None without certificates of our own.  Raises ConfigurationError."""
    if not (files.certificate and files.ca):
        return None, None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # see ``member_client``
    tls = Tls(files.certificate, files.key, files.ca)
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.certificate, files.key)
    return tls, context
