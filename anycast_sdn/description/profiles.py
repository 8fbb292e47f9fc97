"""Profiles of families of switches, each after the documents that its ``source`` names.

They say what the documents say, and no more: nothing here was tried on hardware.
"""

from __future__ import annotations

from collections.abc import Mapping

from anycast_sdn.description.profile import EXPERIMENTER, Elements, Profile

# What no switch but Open vSwitch and its relatives has.
_EXTENSIONS = Elements(
    match=(EXPERIMENTER,), set=(EXPERIMENTER,), actions=(EXPERIMENTER,), messages=(EXPERIMENTER,),
    multipart=(EXPERIMENTER,),
)  # fmt: skip

_ALL = (
    Profile(
        name="aruba-3810m",
        source="Aruba OpenFlow 1.3 Administrator Guide for ArubaOS-Switch 16.10 (5200-6771)",
        manufacturer="HPE",
        hardware="Aruba 3810M",
        software="KB.16.10",
        refuse=(_EXTENSIONS, Elements(actions=("dec_nw_ttl", "set_queue"), ports=("table",))),
    ),
)

PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in _ALL}
