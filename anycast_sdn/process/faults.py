"""``isolated``: a fault of our own in one event loses that event alone; those before and after it are handled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

LOG = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")


def isolated(act: Callable[Arguments, object]) -> Callable[Arguments, bool]:
    """``act``, which returns True if it has succeeded, and False if it has raised an exception, which is logged."""

    @wraps(act)
    def guarded(*arguments: Arguments.args, **named: Arguments.kwargs) -> bool:
        try:
            act(*arguments, **named)
        except Exception:
            LOG.exception("internal error in %s; the controller goes on", act.__name__.strip("_").replace("_", " "))
            return False
        return True

    return guarded
