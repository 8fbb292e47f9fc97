"""Raising: members of two releases side by side, and the schema that is raised when the last one is of the later.

The rules that it keeps:

- A controller whose release does not know the schema in etcd does not join, and says what to do.
- The leader raises it to the latest that all members know, in one transaction with all that has another form from then
  on, under the condition that nobody has joined meanwhile.
- It does so when that has lasted for ``LASTS_S``, and nobody is missing: a member that is started anew, or has been cut
  off, is one of the earlier release perhaps, which could not come back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from anycast_sdn import __version__
from anycast_sdn.cluster.agreement import Agreement
from anycast_sdn.cluster.keys import LEADER, MEMBERS, MemberKey
from anycast_sdn.cluster.overview import SchemaState
from anycast_sdn.core.election_events import SchemaRaised
from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.core.words import listed
from anycast_sdn.etcd.client import Condition, Is, NoneSince, Put
from anycast_sdn.etcd.mirror import Mirror
from anycast_sdn.etcd.schema import KNOWN, SCHEMA, schema_of, why_unknown

LASTS_S = 15.0


class Raising:
    """``known``: the schemas of this release; ``member``: the id of this controller."""

    def __init__(
        self, mirror: Mirror, agreement: Agreement, member: str, network: str, known: Sequence[int] = KNOWN
    ) -> None:
        self._mirror = mirror
        self._agreement = agreement
        self._member = member
        self._network = network
        self._known = known
        self._since: float | None = None  # all know the later one

    def must_be_known(self) -> None:
        """Raises ConfigurationError where this release cannot read what etcd has."""
        if why := why_unknown(self._mirror.values, self._known):
            there = listed([f"{each.name} has {each.release}" for each in self._members()])
            raise ConfigurationError(
                f"etcd, for the network {self._network}, {why} (this one is {__version__}; "
                f"{there or 'no member is there'}; docs/cluster.md, Upgrade)"
            )

    def state(self) -> SchemaState:
        schema = schema_of(self._mirror.values)
        later = self._known[-1] if self._known[-1] > schema else 0
        waits_for = [each.name for each in self._members() if later not in each.schemas] if later else []
        return SchemaState(schema, later, sorted(waits_for))

    def look(self, missing: Collection[str], now: float) -> SchemaRaised | None:
        """To be called now and then; ``missing``: names of members that may come back.  Raises EtcdError."""
        mirror, values = self._mirror, self._mirror.values
        leader, schema = values.get(LEADER), values.get(SCHEMA)
        to = self._wanted()
        if mirror.problem or missing or not to or not schema or not leader or leader.text != self._member:
            self._since = None
            return None
        self._since = now if self._since is None else self._since
        if now - self._since < LASTS_S:
            return None
        file = self._agreement.in_schema(to)
        if not file:
            return None
        path, before = mirror.prefix, int(schema.text)
        conditions: list[Condition] = [Is(path + LEADER, leader.modified), Is(path + SCHEMA, schema.modified), file[0]]
        conditions.append(NoneSince(path + MEMBERS, mirror.revision))
        done = mirror.etcd.transact(conditions, [Put(path + SCHEMA, str(to)), file[1]])
        return SchemaRaised(before, to) if done.succeeded else None

    def _wanted(self) -> int:
        """The schema that etcd should have, if it is a later one; 0: it stays."""
        common = set(self._known).intersection(*(each.schemas for each in self._members()))
        latest = max(common, default=0)
        return latest if latest > schema_of(self._mirror.values) >= 0 else 0

    def _members(self) -> list[MemberKey]:
        found = [each.text for key, each in self._mirror.values.items() if key.startswith(MEMBERS)]
        return sorted(map(MemberKey.of, found), key=lambda each: each.name)
