"""A connection to an OVSDB server (RFC 7047): opened, asked for some transactions, and closed again.

It waits, and lets other green threads run meanwhile; each transaction and the opening have a deadline.  What goes wrong
is an ``OvsdbError``, in words for the operator.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

import ovs.jsonrpc
import ovs.poller
import ovs.stream

from anycast_sdn.ovsdb.zone_policies import Operation, Rows

DEADLINE_S = 5.0
_LOOK_S = 0.02  # at a connection that is being opened
_ENDED = {ovs.jsonrpc.EOF: "it has ended the connection", errno.EPROTO: "it does not speak OVSDB"}


class OvsdbError(Exception):
    """The database cannot be reached, or has refused a transaction."""


class TlsFiles(NamedTuple):
    """With which the controller shows who it is, and knows the database (PEM)."""

    key: str
    certificate: str
    ca: str


def use_tls(files: TlsFiles) -> None:
    """For all connections with ssl: from now on."""
    ovs.stream.Stream.ssl_set_private_key_file(files.key)
    ovs.stream.Stream.ssl_set_certificate_file(files.certificate)
    ovs.stream.Stream.ssl_set_ca_cert_file(files.ca)


class Database:
    """``remote``: tcp:ADDRESS:PORT, ssl:ADDRESS:PORT or unix:PATH.  To be used in a ``with`` statement."""

    def __init__(self, remote: str) -> None:
        self._remote = remote
        self._connection: Any = None

    def __enter__(self) -> Database:
        """Raises OvsdbError."""
        stream = None
        try:
            error, stream = ovs.stream.Stream.open(self._remote)
            error = error or _connect(stream)
        except OSError as failure:  # of TLS, and of its files
            error, why = failure.errno or errno.EIO, str(failure)
        else:
            why = os.strerror(error)
        if error:
            if stream:
                stream.close()
            raise OvsdbError(f"{self._remote}: {why}")
        self._connection = ovs.jsonrpc.Connection(_InParts(stream))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._connection.get_status():
            self._connection.close()

    def transact(self, database: str, operations: Sequence[Operation]) -> list[Rows]:
        """→ the rows that each operation has found.  Raises OvsdbError; then nothing is changed."""
        request = ovs.jsonrpc.Message.create_request("transact", [database, *operations])
        answer = self._answer_to(request)
        results = [result or {} for result in answer]
        for result in results:
            if "error" in result:
                details = f": {result['details']}" if result.get("details") else ""
                raise OvsdbError(f"{self._remote} has refused a transaction: {result['error']}{details}")
        return [result.get("rows", ()) for result in results]

    def _answer_to(self, request: Any) -> list[Any]:
        deadline = time.monotonic() + DEADLINE_S
        connection = self._connection
        error = connection.send(request)
        while not error:
            error, message = connection.recv()
            if message is not None and message.id == request.id:
                if message.error is not None or not isinstance(message.result, list):
                    raise OvsdbError(f"{self._remote} has refused a request: {message.error}")
                return message.result
            if error == errno.EAGAIN:
                error = self._wait(deadline)
        raise OvsdbError(f"{self._remote}: {_ENDED.get(error) or os.strerror(error)}")

    def _wait(self, deadline: float) -> int:
        """Until there is more to read or to send → an error number, or 0."""
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return errno.ETIMEDOUT
        self._connection.run()
        poller = ovs.poller.Poller()
        self._connection.wait(poller)
        self._connection.recv_wait(poller)
        poller.timer_wait(int(left_s * 1000) + 1)
        poller.block()
        return int(self._connection.get_status())


def _connect(stream: Any) -> int:
    """→ an error number, or 0.  ``Stream.open_block`` would be busy all the time that a handshake of TLS takes."""
    deadline = time.monotonic() + DEADLINE_S
    while (error := stream.connect()) == errno.EAGAIN:
        if time.monotonic() > deadline:
            return errno.ETIMEDOUT
        time.sleep(_LOOK_S)
    return int(error)


class _InParts:
    """A stream that says after each part that there is no more for now, so that a long answer does not hold the hub."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._pauses = False

    def recv(self, most: int) -> tuple[int, bytes]:
        self._pauses = not self._pauses
        received: tuple[int, bytes] = self._stream.recv(most) if self._pauses else (errno.EAGAIN, b"")
        return received

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
