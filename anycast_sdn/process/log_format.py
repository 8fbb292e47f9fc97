"""The log: a line for each event and for each report of the controller, as text or as JSON.

Levels: ERROR is a fault of ours (with its traceback) or an event by which service, or a part of it, is affected now;
WARNING is to be looked at; INFO is what else has happened; DEBUG is for those who look for a fault.

Times are in UTC, as everywhere.  No token gets into the log, whatever it is part of.
"""

from __future__ import annotations

import json
import logging
import re
from typing import Any

from anycast_sdn.core.redaction import redacted
from anycast_sdn.core.times import rfc3339

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class TextFormat(logging.Formatter):
    """TIME LEVEL TYPE: SENTENCE; for what is no event, the module's name stands in the place of its type."""

    def format(self, record: logging.LogRecord) -> str:
        name = getattr(record, "event", {}).get("type", record.name)
        message = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", record.getMessage())  # it is one line
        lines = [f"{rfc3339(record.created)} {record.levelname} {name}: {message}"]
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return redacted("\n".join(lines))


class JsonFormat(logging.Formatter):
    """A JSON object in one line: ``at``, ``level``, ``message``; with the other members of the event, or ``logger``."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = getattr(record, "event", {"logger": record.name})
        line = {"at": rfc3339(record.created), "level": record.levelname.lower(), **event}
        line["message"] = record.getMessage()
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return redacted(json.dumps(line, ensure_ascii=False))


FORMATS: dict[str, type[logging.Formatter]] = {"text": TextFormat, "json": JsonFormat}
