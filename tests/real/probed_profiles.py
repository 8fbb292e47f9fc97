"""``anycast-sdn probe`` at an Open vSwitch that plays each profile, one after the other.

A program of its own, for ``own_switch.run_inside``: python probed_profiles.py.  It prints the reports, by the names of
the profiles, as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path

from own_switch import OwnSwitch
from probed_switch import held, played, probed, set_up

from anycast_sdn.description.profiles import PROFILES


def main() -> None:
    OwnSwitch()
    set_up()
    before, reports = held(), {}
    for name in PROFILES:
        with played(Path(name)) as port:
            report = probed("--json", port=port)
        reports[name] = report | {"left_as_it_was": held() == before}
    print(json.dumps(reports))


if __name__ == "__main__":
    main()
