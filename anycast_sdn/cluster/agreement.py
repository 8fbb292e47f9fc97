"""Agreement: all controllers of a network have the same network file.

``meta/network`` has the digests of its parts (``description.digest``).  The first controller puts it there; one with
another file does not join, and says what differs.  Which form they have is a matter of the schema (``etcd.schema``).
To change the file of a running cluster, an operator has the new one
accepted (``anycast-sdn store network``), and starts the controllers anew with it, one after the other: those that still
run go on with the old one, and say so.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description.digest import difference, digests
from anycast_sdn.description.model import Network
from anycast_sdn.etcd.client import Done, EtcdError, Is, Put, Unsure
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.etcd.schema import KNOWN, SCHEMA, schema_of

LOG = logging.getLogger(__name__)

NETWORK = "meta/network"
ATTEMPTS = 4


class Agreement:
    """``differs``: where this controller's file differs from one that was accepted since it has joined."""

    def __init__(self, mirror: Mirror, network: Network, known: Sequence[int] = KNOWN) -> None:
        self._mirror = mirror
        self._network = network
        self._known = known
        self._digests = {schema: digests(network, with_secrets=schema == 1) for schema in known}
        self._schema = known[-1]  # that etcd has, or had last
        self.differs = ""

    def join(self) -> None:
        """The first one puts its file there, the others compare.  Raises ConfigurationError, EtcdError."""
        if NETWORK not in self._mirror.values:
            self._put(0)
            self._mirror.load()
        if differs := self.difference():
            file = f"the network file of {self._network.name}"
            raise ConfigurationError(
                f"{file} is another one than that of the controllers in etcd: {differs}; use theirs, or have this one "
                "accepted: anycast-sdn store network FILE --etcd … (docs/cluster.md)"
            )
        self._mirror.listen(self._look)

    def accept(self) -> str:
        """From now on, this file is that of all controllers → what has changed, "" if nothing.  Raises EtcdError."""
        for _ in range(ATTEMPTS):
            present = self._mirror.values.get(NETWORK)
            differs = self.difference() if present else "there was none"
            if not differs or self._put(present.modified if present else 0).succeeded:
                return differs
            self._mirror.load()
        raise EtcdError("others change the accepted network file at the same time; try again")

    def in_schema(self, schema: int) -> tuple[Is, Put] | None:
        """What puts this file there in another form; None while another one is accepted."""
        if self.difference():
            return None
        path, there = self._mirror.prefix + NETWORK, self._mirror.values.get(NETWORK)
        return Is(path, there.modified if there else 0), Put(path, json.dumps(self._digests[schema]))

    def _own(self) -> Mapping[str, str]:
        """The digests of this file, in the form that etcd has."""
        values = self._mirror.values
        found = schema_of(values, 1 if NETWORK in values else self._schema)  # the first releases put it there later
        self._schema = found if found in self._digests else self._schema
        return self._digests[self._schema]

    def _put(self, modified: int) -> Done:
        """Raises EtcdError."""
        prefix, schema = self._mirror.prefix, self._mirror.values.get(SCHEMA)
        put = [Put(prefix + NETWORK, json.dumps(self._own()))]
        if not schema:
            put.append(Put(prefix + SCHEMA, str(self._schema)))
        conditions = [Is(prefix + NETWORK, modified), Is(prefix + SCHEMA, schema.modified if schema else 0)]
        for attempt in range(ATTEMPTS):  # the same, under the same condition: nothing is done twice
            try:
                return self._mirror.etcd.transact(conditions, put)
            except Unsure:
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError

    def difference(self) -> str:
        """Where this file differs from that of the others; "" if it does not, or there are none."""
        there = self._mirror.values.get(NETWORK)
        return difference(self._own(), _read(there.text)) if there else ""

    def _look(self, changed: Collection[str]) -> None:
        if NETWORK not in changed and SCHEMA not in changed:
            return
        if NETWORK not in self._mirror.values:
            with suppress(EtcdError):  # etcd was rebuilt; the next one that joins puts it there otherwise
                self._put(0)
        differs = self.difference()
        if differs and not self.differs:
            LOG.warning("another network file has been accepted: start this controller anew with it (%s)", differs)
        self.differs = differs


def _read(text: str) -> Mapping[str, str]:
    """None of its parts are known where it is not ours, so all differ."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
