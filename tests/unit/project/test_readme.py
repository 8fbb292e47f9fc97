"""README.md and docs/ say what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from roles import cast

from anycast_sdn.cli import main
from anycast_sdn.description import reading
from anycast_sdn.openflow import pipeline

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
PAPERS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The README's network, saved as it says."""
    (content,) = re.findall(r"```yaml\n(name: .*?)```", README, re.DOTALL)
    file = tmp_path / "my-network.yaml"
    file.write_text(content)
    return file


def test_the_pipeline_in_the_papers_is_the_declared_one() -> None:
    text = (ROOT / "docs" / "pipeline.md").read_text()
    shown = text[text.index("as_markdown -->\n") : text.index("<!-- end of pipeline")]
    assert shown.removeprefix("as_markdown -->\n") == pipeline.as_markdown()


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_what_the_papers_point_at_is_there(paper: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", paper.read_text())
    assert not [link for link in links if not (paper.parent / link).exists()]


def test_the_samples_network_has_somebody_for_each_part_of_the_demo(sample: Path) -> None:
    roles = cast(reading.load(sample))
    assert [family.name for family in roles.families] == ["IPv4", "IPv6"]
    assert len(roles.servers) > 1  # or there is no hand-over


def test_the_commands_for_the_sample_do_what_is_said(
    sample: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(sample.parent)
    commands = re.findall(r"^\.venv/bin/anycast-sdn ((?:check|trace) .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert main.main(shlex.split(command, comments=True)) == 0
    said = capsys.readouterr().out
    assert "my-network.yaml: good." in said
    assert "as2 receives" in said
    assert "h1 receives" in said
