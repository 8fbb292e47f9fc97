"""RemovedServers: servers that are no longer enrolled, and client edges that still have flows to them (M20).

Such a server is served like an enrolled one: it is watched, and at these client edges it has its rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set

from anycast_sdn.core.bindings import BindingTable
from anycast_sdn.core.model import Address


class RemovedServers:
    """``enrolled``: the servers that are enrolled now."""

    def __init__(self, enrolled: Callable[[], Set[Address]]) -> None:
        self._enrolled = enrolled
        self._edges: dict[Address, set[str]] = {}  # server → the client edges with flows that are pinned to it

    def __contains__(self, server: Address) -> bool:
        return server in self._edges

    def __iter__(self) -> Iterator[Address]:
        return iter(self._edges)

    def recheck_edge(self, edge: str, flows: BindingTable) -> set[Address]:
        """→ the removed servers to which this client edge has its first flow now, or no longer any."""
        before = {server for server, edges in self._edges.items() if edge in edges}
        changed = before ^ flows.pinned_servers().difference(self._enrolled())
        for server in changed:
            self._set(server, self._edges.get(server, set()) ^ {edge})
        return changed

    def recheck_server(self, server: Address, flows: Mapping[str, BindingTable]) -> None:
        """The server was enrolled, or removed.  ``flows``: of all client edges, by name."""
        removed = server not in self._enrolled()
        self._set(server, {edge for edge, table in flows.items() if removed and table.pinned_to(server)})

    def _set(self, server: Address, edges: set[str]) -> None:
        if edges:
            self._edges[server] = edges
        else:
            self._edges.pop(server, None)
