"""The log: a line for each event, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys

from anycast_sdn.core.network_events import LinkDown
from anycast_sdn.process.event_log import EventLog
from anycast_sdn.process.log_format import JsonFormat, TextFormat
from anycast_sdn.views.journal import Journal

TOKEN = "asdn_0123456789abcdefghijklmnop"


class Lines(logging.Handler):
    def __init__(self, form: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(form)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def logger(form: logging.Formatter) -> tuple[logging.Logger, list[str]]:
    log, handler = logging.Logger("anycast_sdn.process.run", logging.INFO), Lines(form)
    log.addHandler(handler)
    return log, handler.lines


def happened(log: logging.Logger, reason: str = "port c1:1 is down") -> None:
    journal = Journal(lambda: 1_790_000_000.25)
    journal.listen(EventLog(log))
    journal(LinkDown(("c1:1", "c2:2"), reason))


def test_an_event_is_a_line_with_its_type() -> None:
    log, lines = logger(TextFormat())
    happened(log)
    [line] = lines
    time, _, said = line.partition(" ")
    assert said == "ERROR link.down: link c1:1–c2:2 is down: port c1:1 is down"
    assert time.endswith("Z")


def test_an_event_stays_one_line_whatever_it_repeats() -> None:
    log, lines = logger(TextFormat())
    happened(log, "it said: \r\n2026-01-01 INFO all is well\x1b[2J")
    assert lines[0].endswith(r"it said: \x0d\x0a2026-01-01 INFO all is well\x1b[2J")


def test_in_json_a_line_is_the_whole_event() -> None:
    log, lines = logger(JsonFormat())
    happened(log, "a\nb")
    [line] = lines
    assert "\n" not in line
    assert json.loads(line) == {
        "at": "2026-09-21T14:13:20.250Z",
        "level": "error",
        "id": 1,
        "type": "link.down",
        "severity": "critical",
        "subject": {"kind": "link", "name": "c1:1-c2:2"},
        "message": "link c1:1–c2:2 is down: a\nb",
        "data": {"ends": ["c1:1", "c2:2"], "reason": "a\nb"},
    }


def test_what_is_no_event_has_its_module() -> None:
    log, lines = logger(JsonFormat())
    log.info("waiting for %s", "s1")
    entry = json.loads(lines[0])
    assert (entry["logger"], entry["level"], entry["message"]) == (log.name, "info", "waiting for s1")


def test_a_fault_of_ours_has_its_traceback() -> None:
    for form in (TextFormat(), JsonFormat()):
        log, lines = logger(form)
        try:
            sys.stdout[0]  # type: ignore[index]
        except TypeError:
            log.exception("internal error")
        assert "not subscriptable" in lines[0]
        assert "Traceback" in lines[0]


def test_no_token_gets_into_the_log() -> None:
    for form in (TextFormat(), JsonFormat()):
        log, lines = logger(form)
        log.info("asked with %s", TOKEN)
        happened(log, TOKEN)
        assert not [line for line in lines if TOKEN in line]
