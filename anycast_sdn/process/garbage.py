"""Control of Python's cyclic garbage collector, which would otherwise stop the hub while it examines all objects.

Bindings, rules and other objects that exist by the hundred thousand form no cycles: reference counting frees them.
Requests and connections leave no cycles either (tests check that).  So:

- The automatic collector is off.  Its counters do not tell how many objects it would examine: objects that are freed
  are subtracted, however old they are.
- A few times a second ``collect_new`` examines the objects made since the last time, which are few.  It never examines
  them again.
- Objects made by large work are not examined at all: ``collect_new`` comes before each slice of it, ``exempt_new``
  after it.
"""

from __future__ import annotations

import gc


def disable_automatic() -> None:
    """To be called once, at start.  The objects that exist then are never examined."""
    gc.disable()
    gc.freeze()


def collect_new() -> None:
    """Free cycles among the objects made since the last call of this or of ``exempt_new``."""
    gc.collect(0)
    gc.freeze()


def exempt_new() -> None:
    """The objects made since the last call are never examined: they form no cycles.  Takes no time."""
    gc.freeze()
