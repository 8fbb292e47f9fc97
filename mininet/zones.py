"""The connection tracker of this machine's Open vSwitch: zones of it, which all bridges share.

For demo and tests alone: a dump of a tracker stops forwarding while it lasts.
"""

from __future__ import annotations

from collections.abc import Iterable

from nodes import datapath_of_this_machine
from programs import TestbedError, output_of

DATAPATH = "netdev" if datapath_of_this_machine() == "user" else "system"  # as Open vSwitch's database calls it


def connections(zones: Iterable[int], address: str) -> list[str]:
    """The connections in these zones that name an address, as Open vSwitch prints them."""
    dumps = [output_of("ovs-appctl", "dpctl/dump-conntrack", f"zone={zone}") for zone in zones]
    return [line for dump in dumps for line in dump.splitlines() if f"={address}," in line]


def clear(zones: Iterable[int]) -> None:
    """These zones have no connections any more, and the datapath's own timeouts."""
    for zone in zones:
        try:
            output_of("ovs-appctl", "dpctl/flush-conntrack", f"zone={zone}")
        except TestbedError as error:
            if "no datapaths" not in str(error):  # they go with the last bridge
                raise
    try:
        policies = output_of("ovs-vsctl", "list-zone-tp", DATAPATH)
    except TestbedError:  # nobody has ever set any
        return
    for zone in zones:
        if f"Zone:{zone}," in policies:
            output_of("ovs-vsctl", "--if-exists", "del-zone-tp", DATAPATH, f"zone={zone}")
