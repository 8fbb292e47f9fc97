"""Rest: where a controller's REST interface is, as the command line and messages write it."""

from __future__ import annotations

from typing import NamedTuple

from anycast_sdn.core.words import address


class Rest(NamedTuple):
    host: str  # or, with "unix", the path of its socket
    port: int
    scheme: str = "http"  # "https", "unix"; "" where that depends on other options

    def __str__(self) -> str:
        return f"unix:{self.host}" if self.scheme == "unix" else f"{self.scheme}://{address(self.host, self.port)}"
