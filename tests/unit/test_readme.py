"""README.md and docs/ say what the code does."""

from __future__ import annotations

from pathlib import Path

from anycast_sdn.openflow import pipeline

PIPELINE = Path(__file__).parents[2] / "docs" / "pipeline.md"


def test_the_pipeline_in_the_papers_is_the_declared_one() -> None:
    text = PIPELINE.read_text()
    shown = text[text.index("as_markdown -->\n") : text.index("<!-- end of pipeline")]
    assert shown.removeprefix("as_markdown -->\n") == pipeline.as_markdown()
