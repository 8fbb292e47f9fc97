"""Text that is not plain YAML is refused, with its position."""

from __future__ import annotations

from pathlib import Path

import pytest

from anycast_sdn.core.model import ConfigurationError
from anycast_sdn.description import reading
from tests.unit.network_files import refusal


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.yaml: cannot be read: No such file"):
        reading.load(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigurationError, match="is not a text file in UTF-8"):
        reading.load(tmp_path / "net.yaml")


def test_a_file_without_an_end_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"/dev/zero: is longer than \d+ characters"):
        reading.load("/dev/zero")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: [", "net.yaml:1:8: "),
        ("name: a\nname: b", "net.yaml:2:1: 'name' is written twice"),
        ("a: &x [1]\nb: *x", "net.yaml:2:4: aliases (*name) are not supported"),
        ("a: &a [*a]", "aliases (*name) are not supported"),
        ("a: !!python/object/apply:os.getcwd []", "tags (!name) are not supported"),
        ("a: !!int x", "tags (!name) are not supported"),
        ("? [a, b]\n: c", "a key must be a word"),
        ("a: " + "[" * 100_000, "nested too deeply"),
        ('a: "\\UFFFFFFFF"', "is not YAML"),
        ("a: \x00", "is not YAML"),
        ("--- a\n--- b", "net.yaml:2:1: "),
        ("a" * (1 << 20), "is longer than"),
    ],
    ids=lambda value: value[:24],
)
def test_what_is_not_plain_yaml_is_refused_on_one_line(text: str, reason: str) -> None:
    (line,) = refusal(text)
    assert line.startswith("net.yaml:")
    assert reason in line


def test_an_alias_bomb_is_refused_before_it_unfolds() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    assert refusal("\n".join(lines)) == ["net.yaml:2:10: aliases (*name) are not supported: write the value out"]
