"""Server edge: ARs, the document's server edge: which servers behind it take new flows.

An ARs keeps no state per flow (M9).  Its only input is which servers of a group are behind it and
reachable; the switch's select group distributes flows over them by a hash (M10).  An edge without
such a server does not capture the group's packets and announces no route to it (M8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anycast_sdn.core.model import Address, AnycastGroup, Server, ServerState
from anycast_sdn.core.roles import Side, Subnet


def able_servers(
    group: AnycastGroup, is_v6: bool, subnets: Iterable[Subnet], reachable: Callable[[Address], bool]
) -> tuple[Server, ...]:
    """The servers that take new flows of a group in one address family at the edge with these ``subnets``.

    They are active, of a weight above 0, of that family, behind this edge, and reachable; in address order.
    """
    behind = [gateway.prefix for subnet in subnets if subnet.side is Side.SERVER for gateway in subnet.gateways]
    return tuple(
        server
        for address, server in sorted(group.servers.items())
        if server.state is ServerState.ACTIVE
        and server.weight
        and (len(address) == 16) is is_v6
        and any(address in prefix for prefix in behind)
        and reachable(address)
    )
