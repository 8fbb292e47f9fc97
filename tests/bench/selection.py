"""Selection on Open vSwitch: requests that servers accept, with it and by distance alone, side by side (M26).

By itself: ``sudo .venv/bin/python tests/bench/selection.py [--only SCENE] [--write]``; about nine minutes.
``--write`` puts the table and the plot into docs/.  Both groups run at the same time on the same hosts; see
tests/real/sessions.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "mininet"), str(ROOT / "tests" / "real")]

from sessions import HOSTS, Request, Scene, network_file, play, served  # noqa: E402
from support import Turn, running  # noqa: E402

BIN_S = 5.0
WARM_S = 5.0  # the first seconds do not count
PAPER, PLOT = ROOT / "docs" / "selection.md", ROOT / "docs" / "selection.svg"
BEGIN, END = "<!-- measured: by tests/bench/selection.py -->\n", "<!-- measured: the end -->\n"
TCP = {"type": "tcp", "port": 7001, "interval_s": 1, "timeout_s": 1, "fall": 2, "rise": 2}

SCENES = {
    "step of demand": Scene("step", {0: 40, 20: 140}, 80),
    "slow server": Scene("slow", {0: 55}, 100, limits={"as2": 33}, says=lambda host, share: share),
    "slow server that says 0": Scene("liar", {0: 55}, 80, limits={"as2": 33},
                                     says=lambda host, share: 0.0 if host == "as2" else share),
    "sound server that says 1": Scene("sound", {0: 55}, 80, says=lambda host, share: 1.0 if host == "as2" else share),
    "all overloaded": Scene("all", {0: 350}, 80, hosts=HOSTS),
    "the edge's only server dies": Scene("dies", {0: 40}, 60, checks=(TCP,), dies_at_s=20),
}  # fmt: skip


def table(results: Mapping[str, Mapping[str, Sequence[Request]]]) -> str:
    lines = ["| | requests | accepted, with selection | by distance alone | in the last 20 s, with | alone |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, got in results.items():
        end = SCENES[name].length_s
        shares = [f"{100 * served(got[group], from_s):.1f} %" for from_s in (WARM_S, end - 20)
                  for group in ("web", "near")]  # fmt: skip
        requests = len([request for request in got["web"] if request.at_s >= WARM_S])
        lines.append(f"| {name} | {requests:,} | " + " | ".join(shares) + " |")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- the plot

WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 120, 46, 34, 62
COLOURS = {"web": ("#1f6fb4", "with selection"), "near": ("#b4551f", "by distance alone")}


def svg(results: Mapping[str, Mapping[str, Sequence[Request]]]) -> str:
    """A panel for each scene: the share of accepted requests over time."""
    rows = (len(results) + 1) // 2
    width, height = 2 * (WIDTH + LEFT + 24), TOP + rows * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for at, (colour, label) in enumerate(COLOURS.values()):
        x = LEFT + at * 150
        parts.append(f'<path d="M{x} 14h22" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x + 28}" y="18">{label}</text>')
    for at, (name, got) in enumerate(results.items()):
        x, y = LEFT + at % 2 * (WIDTH + LEFT + 24), TOP + at // 2 * (HEIGHT + GAP) + 18
        parts += _panel(name, got, x, y)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(name: str, got: Mapping[str, Sequence[Request]], x: float, y: float) -> list[str]:
    end = SCENES[name].length_s
    parts = [f'<text x="{x}" y="{y - 7}" font-weight="bold">{name}</text>',
             f'<text x="{x + WIDTH}" y="{y + HEIGHT + 28}" text-anchor="end">s</text>']  # fmt: skip
    for share in (0, 0.5, 1):
        line = y + HEIGHT * (1 - share)
        parts.append(f'<path d="M{x} {line}h{WIDTH}" stroke="#ddd"/>')
        parts.append(f'<text x="{x - 5}" y="{line + 4}" text-anchor="end">{share * 100:.0f} %</text>')
    for second in range(0, int(end) + 1, 20):
        parts.append(f'<text x="{x + WIDTH * second / end}" y="{y + HEIGHT + 15}" text-anchor="middle">{second}</text>')
    for group, (colour, _) in COLOURS.items():
        points = [f"{x + WIDTH * (begin + BIN_S / 2) / end:.1f},"
                  f"{y + HEIGHT * (1 - served(got[group], begin, begin + BIN_S)):.1f}"
                  for begin in (BIN_S * number for number in range(int(end / BIN_S)))]  # fmt: skip
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SCENES, action="append", help="this scene alone; may be repeated")
    parser.add_argument("--write", action="store_true", help="write the table and the plot into docs/")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        Turn.alone = True
        with running(network_file(directory), directory) as network:
            for name in options.only or SCENES:
                results[name] = play(network, SCENES[name], directory)
                print(table({name: results[name]}).splitlines()[-1], flush=True)
    print(table(results))
    if options.write:
        before, _, rest = PAPER.read_text().partition(BEGIN)
        PAPER.write_text(before + BEGIN + "\n" + table(results) + "\n" + END + rest.partition(END)[2])
        PLOT.write_text(svg(results))


if __name__ == "__main__":
    main()
