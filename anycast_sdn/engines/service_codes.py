"""ServiceCodes: the codes by which the connections of one edge's tracker know service addresses (``tracked_address``).

They are in the rules of services, and in H' of each connection.  So whoever decides on these rules gives the codes.
Where that is another controller than the one that decides on flows, this one is told them, and gives none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from anycast_sdn.core.model import Address, FlowKey, Prefix
from anycast_sdn.core.roles import ClientEdgeRole, Subnet
from anycast_sdn.core.tracked_address import AnycastCodes, layout_of


class ServiceCodes:
    """``gives``: are new codes given here?  ``keeps``: may flows that are not known yet have those that are there?"""

    def __init__(self, role: ClientEdgeRole, subnets: Sequence[Subnet]) -> None:
        self.layouts = {v6: layout_of(role, subnets, v6) for v6 in (False, True)}
        self._codes = {v6: AnycastCodes(layout.code_bits) for v6, layout in self.layouts.items()}
        self.gives, self.keeps = True, False

    def __iter__(self) -> Iterator[Prefix]:
        for codes in self._codes.values():
            yield from codes

    @property
    def all(self) -> dict[Prefix, int]:
        return {service: code for codes in self._codes.values() for service, code in codes.all().items()}

    @property
    def changes(self) -> int:
        """It grows whenever there are others."""
        return sum(codes.changes for codes in self._codes.values())

    def get(self, service: Prefix) -> int | None:
        return self._codes[service.is_v6].get(service)

    def give(self, service: Prefix) -> int | None:
        """None: there is no room, or another controller gives them."""
        return self._codes[service.is_v6].give(service) if self.gives else self.get(service)

    def discard(self, service: Prefix) -> None:
        self._codes[service.is_v6].discard(service)

    def adopt(self, codes: Mapping[Prefix, int]) -> None:
        """Those that were found, of services that have none."""
        for service, code in codes.items():
            self._codes[service.is_v6].adopt(service, code)

    def obey(self, codes: Mapping[Prefix, int]) -> None:
        """These are all from now on."""
        for v6, each in self._codes.items():
            each.obey({service: code for service, code in codes.items() if service.is_v6 is v6})

    # ---------------------------------------------------------------- H'

    def ends_of(self, tracked: Address) -> tuple[Address | None, Address | None]:
        """→ (the client, the service address) that H' stands for."""
        v6 = len(tracked) == 16
        found = self.layouts[v6].decode(tracked)
        return (found[1], self._codes[v6].anycast(found[0])) if found else (None, None)

    def inside(self, key: FlowKey) -> Address | None:
        """H' of a flow; None: its service address has no code, or its client is in no subnet of this edge."""
        v6 = len(key.source) == 16
        code = self._codes[v6].code_of(key.destination)
        try:
            return None if code is None else self.layouts[v6].encode(code, key.source)
        except ValueError:
            return None

    def give_again(self, key: FlowKey) -> Prefix | None:
        """To the service of a flow that had ended, which had no group, and no flow, any more → which one that is."""
        return self._codes[len(key.source) == 16].give_again(key.destination) if self.gives else None
