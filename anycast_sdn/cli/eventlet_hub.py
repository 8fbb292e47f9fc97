"""The hub of a process that speaks OpenFlow: to be chosen before OS-Ken, or what blocks, is imported."""

from __future__ import annotations

import os
import warnings


def choose() -> None:
    """Eventlet replaces Python's blocking modules from here on."""
    os.environ["OSKEN_HUB_TYPE"] = "eventlet"
    # Only this one: eventlet announces at import that it is in maintenance.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import eventlet

    eventlet.monkey_patch()
