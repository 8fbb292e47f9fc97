"""What the demo prints: numbered headings, commands, their output, and one line per result.

A result line begins with "ok" or "FAILED"; what cannot be shown on a network is "not shown here", with
the reason.  Plain text, so that it reads the same on a terminal, in a file and in a mail.
"""

from __future__ import annotations

import textwrap
import time

INDENT = " " * 8  # everything but headings stands behind the width of "FAILED  "


class Report:
    """Prints at once; ``holds`` is false as soon as one line did not hold."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._headings = self._held = self._failed = self._skipped = 0

    @property
    def holds(self) -> bool:
        return not self._failed and self._held > 0

    def heading(self, title: str) -> None:
        self._headings += 1
        print(f"\n{self._headings}. {title}")

    def progress(self, doing: str) -> None:
        print(f"[{time.monotonic() - self._began:4.1f} s] {doing}")

    def command(self, who: str, command: str) -> None:
        """What is being run, and where."""
        print(f"{INDENT}{who}$ {command}")

    def text(self, block: str) -> None:
        """Lines as they are: a program's output, a table."""
        print(textwrap.indent(block.rstrip("\n"), INDENT))

    def line(self, holds: bool, shown: str) -> None:
        """One result."""
        self._held += holds
        self._failed += not holds
        print(f"{'ok' if holds else 'FAILED':<{len(INDENT)}}{shown}")

    def not_shown(self, what: str, reason: str) -> None:
        self._skipped += 1
        print(f"{'-':<{len(INDENT)}}not shown here: {what}: {reason}")

    def summary(self) -> None:
        lines = self._held + self._failed
        counts = [f"{self._held} of {lines} lines hold"]
        counts += [f"{self._failed} FAILED"] if self._failed else []
        counts += [f"{self._skipped} not shown here"] if self._skipped else []
        print(f"\n{'ok' if self.holds else 'FAILED':<{len(INDENT)}}{', '.join(counts)}; "
              f"{time.monotonic() - self._began:.0f} s")  # fmt: skip
