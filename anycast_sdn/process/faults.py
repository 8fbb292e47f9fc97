"""``alone``: a fault of our own in one event loses that event alone; what came before and after it is served."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

LOG = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")


def alone(act: Callable[Arguments, object]) -> Callable[Arguments, bool]:
    """``act``, as an event of its own: True when it was done, False when it failed, which is logged here."""

    @wraps(act)
    def guarded(*arguments: Arguments.args, **named: Arguments.kwargs) -> bool:
        try:
            act(*arguments, **named)
        except Exception:
            LOG.exception("our own error in %s; the controller goes on", act.__name__.strip("_").replace("_", " "))
            return False
        return True

    return guarded
