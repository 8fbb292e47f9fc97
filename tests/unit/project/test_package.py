"""The package: what a wheel holds, that it works alone, and that a source distribution makes the same one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOPOLOGIES = sorted(path.name for path in (ROOT / "topologies").glob("*.yaml"))
PAPERS = [str(path.relative_to(ROOT)) for folder in (ROOT, ROOT / "docs") for path in folder.glob("*.md")]
SERVICES = [f"contrib/systemd/{name}.service" for name in ("anycast-sdn", "anycast-sdn-agent@")]
CLUSTER = [str(path.relative_to(ROOT)) for path in (ROOT / "contrib/cluster").iterdir()]
SOURCES = ["anycast_sdn", "contrib", "docs", "topologies", *(path.name for path in ROOT.glob("*.md")),
           "MANIFEST.in", "pyproject.toml", "setup.cfg", "setup.py"]  # fmt: skip
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


def do(*words: str, at: Path, **environment: str) -> str:
    done = subprocess.run(words, cwd=at, capture_output=True, text=True, timeout=120, env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def built(source: Path, out: Path) -> Path:
    """The wheel of a source tree."""
    do(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out), str(source), at=out)
    (wheel,) = out.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, as far as it is packaged: building leaves things behind."""
    copy = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(source, tmp_path_factory.mktemp("wheel"))


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_wheel_holds_the_package_its_types_and_the_topologies_once(wheel: Path) -> None:
    names = contents(wheel).keys()
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "anycast_sdn").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert "anycast_sdn/py.typed" in names
    assert sorted(name for name in names if name.endswith(".yaml")) == [
        f"anycast_sdn/topologies/{name}" for name in TOPOLOGIES
    ]


def test_a_wheel_holds_all_files_of_the_page(wheel: Path) -> None:
    page = {str(path.relative_to(ROOT)) for path in (ROOT / "anycast_sdn" / "web").rglob("*") if path.is_file()}
    assert {name for name in contents(wheel) if name.startswith("anycast_sdn/web/")} == page


def test_a_wheel_holds_the_papers_and_the_services(wheel: Path) -> None:
    places = [name.partition(".data/data/share/doc/anycast-sdn/")[2] for name in contents(wheel)]
    assert sorted(filter(None, places)) == sorted([*PAPERS, *SERVICES, *CLUSTER])


def test_an_index_shows_a_readme_whose_links_work_there(wheel: Path) -> None:
    (metadata,) = [text.decode() for name, text in contents(wheel).items() if name.endswith("/METADATA")]
    assert "Description-Content-Type: text/markdown" in metadata
    shown = metadata.partition("\n\n")[2]
    assert shown.startswith("# anycast-sdn")
    assert not re.findall(r"\]\((?!https:)[^)]*\)", shown)
    assert "![" not in shown
    named = set(re.findall(r"\(`([\w-]*(?:/[\w./-]+|\.md))`\)", shown))
    assert "docs/rest.md" in named
    assert not [name for name in named if not (ROOT / name).exists()]


def test_a_wheel_works_alone(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    do(*PIP, "install", "--no-deps", "--no-index", "--target", str(site), str(wheel), at=tmp_path)
    command = [sys.executable, "-m", "anycast_sdn"]
    whose = "import anycast_sdn; print(anycast_sdn.__file__)"
    where = do(sys.executable, "-c", whose, at=tmp_path, PYTHONPATH=str(site))
    assert Path(where.strip()).is_relative_to(site)
    example = do(*command, "example", "figure1", at=tmp_path, PYTHONPATH=str(site))
    assert example == (ROOT / "topologies" / "figure1.yaml").read_text()
    (tmp_path / "my.yaml").write_text(example)
    assert "my.yaml: good." in do(*command, "check", "my.yaml", at=tmp_path, PYTHONPATH=str(site))
    assert '"$schema"' in do(*command, "schema", at=tmp_path, PYTHONPATH=str(site))


def test_a_source_distribution_makes_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    do(sys.executable, "-W", "ignore", "-c", build, at=source)
    (archive,) = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path)
    unpacked = next(path for path in tmp_path.iterdir() if path.is_dir())
    again = tmp_path / "wheel"
    again.mkdir()
    assert contents(built(unpacked, again)) == contents(wheel)


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a Git repository")
def test_a_build_leaves_nothing_that_git_would_see() -> None:
    made = ["build", "dist", "anycast_sdn.egg-info"]
    assert do("git", "check-ignore", *(f"{name}/" for name in made), at=ROOT).split() == [f"{name}/" for name in made]
