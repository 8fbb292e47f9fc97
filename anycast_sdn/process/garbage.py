"""Python's search for cyclic garbage, by hand: by itself it would look through all that there is, and everything stops.

What the controller keeps, and what it makes by the hundred thousand and drops again, has no cycles: counting references
frees it.  Nor has what requests and connections leave (the tests see to that).  So:

- Python never searches by itself.  How many objects it counts says little about how many it would look at: those that
  go away are subtracted, however old they are.
- A few times a second we ``look`` at what is new, which is little, and never again at what that has left.
- What large work has made is not looked at even once: ``look`` before each slice of it, ``keep`` after.
"""

from __future__ import annotations

import gc


def search_by_hand() -> None:
    """To be called once.  All that is there stays."""
    gc.disable()
    gc.freeze()


def look() -> None:
    """Free cycles among what has been made since the last time."""
    gc.collect(0)
    gc.freeze()


def keep() -> None:
    """What has been made since the last time is no garbage, or will not be in cycles.  Takes no time."""
    gc.freeze()
