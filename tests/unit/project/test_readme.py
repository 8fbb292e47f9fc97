"""The papers, README.md, docs/ and their like, say what the code does, and their links lead somewhere."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from roles import choose

from anycast_sdn.cli import main
from anycast_sdn.description import reading

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text()
FOLDERS = ("anycast_sdn", "contrib", "docs", "mininet", "tests", "topologies")
FILES = [path.relative_to(ROOT) for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")] + [
    path.relative_to(ROOT) for path in ROOT.glob("*.*")
]
YOURS = {"my-network.yaml", "my.yaml"}  # what a reader makes
PAPERS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def script(path: Path) -> ModuleType:
    """A file of Python that is no module of a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = script(ROOT / "docs" / "generate.py")


def without_code(text: str) -> str:
    """A paper's prose: what looks like a link or a heading in code is none."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.sub(r"`[^`\n]+`", lambda code: re.sub(r"[\[\]]", "", code[0]), prose)


def anchors(paper: Path) -> set[str]:
    """What the headings of a paper are called in links: in small letters, with dashes for blanks, else words only."""
    headings = re.findall(r"^#+ (.+)$", without_code(paper.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """The README's network, saved as it says."""
    (content,) = re.findall(r"```yaml\n(name: .*?)```", README, re.DOTALL)
    file = tmp_path / "my-network.yaml"
    file.write_text(content)
    return file


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_generated_parts_are_current(paper: Path) -> None:
    text = paper.read_text()
    assert text == generate.current(text), "run .venv/bin/python docs/generate.py"


@pytest.mark.parametrize("path", generate.WHOLE, ids=lambda path: path.name)
def test_generated_files_of_the_page_are_current(path: Path) -> None:
    assert path.read_text() == generate.called(generate.WHOLE[path]), "run .venv/bin/python docs/generate.py"


def test_the_pipeline_the_counters_and_the_reference_are_generated() -> None:
    generated = {paper.stem for paper in PAPERS if "<!-- end of " in paper.read_text()}
    assert generated == {"cli", "configuration", "counters", "events", "hardware", "metrics", "pipeline", "rest"}


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_links_in_the_papers_lead_to_files_and_headings(paper: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_code(paper.read_text())):
        if not re.match("https?:", link):
            name, _, anchor = link.partition("#")
            target = paper.parent / name if name else paper
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_files_that_the_papers_name_are_there(paper: Path) -> None:
    """Written from the project's root, from ``anycast_sdn``, or as the last part of a path."""
    suffix = r"\.(?:py|yaml|service|cfg)\b"
    text = paper.read_text()
    named = re.findall(rf"`([\w./-]+{suffix})`", text) + re.findall(rf"(?<![\w./:-])([\w-]+/[\w./-]+{suffix})", text)
    for name in set(named):
        if name not in YOURS:
            assert any(f"/{path}".endswith(f"/{name}") for path in FILES), name


def test_the_samples_network_has_a_host_for_each_role_of_the_demo(sample: Path) -> None:
    roles = choose(reading.load(sample))
    assert [family.name for family in roles.families] == ["IPv4", "IPv6"]
    assert len(roles.servers) > 1  # or there is no hand-over


def test_the_readmes_commands_work_on_its_sample(
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


def test_the_changelog_has_the_form_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    for part in re.split(r"^## .+$", text, flags=re.MULTILINE)[1:]:
        headings = re.findall(r"^### (.+)$", part, re.MULTILINE)
        assert set(headings) <= kinds
        assert len(headings) == len(set(headings))


def test_the_layers_are_drawn_as_they_are_held() -> None:
    held = configparser.ConfigParser()
    held.read(ROOT / "setup.cfg")
    layers = held["importlinter:contract:layers"]["layers"].strip().splitlines()
    text = (ROOT / "docs" / "architecture.md").read_text()
    (drawing,) = re.findall(r"## The layers\n\n```\n(.*?)```", text, re.DOTALL)
    lines = [set(line.split()) for line in drawing.splitlines()]
    places = [next(at for at, words in enumerate(lines) if set(re.findall(r"\w+", layer)) <= words) for layer in layers]
    assert places == sorted(set(places))
