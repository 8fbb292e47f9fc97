"""The benchmark: ten tables, printed and as JSON.  Started by ``tests/bench/run``.

Every comparison is taken in one run, in turns, in several rounds; tables show medians and, in brackets,
the least and the most.  Each table has a directory of its own; what it has measured is written as soon as it is done,
and after one that fails the others go on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "mininet"))  # programs.py and testbed.py

import changes  # noqa: E402
import fabric  # noqa: E402
import holds  # noqa: E402
import overload  # noqa: E402
import setups  # noqa: E402
import sharing  # noqa: E402
import size  # noqa: E402
import takeover  # noqa: E402
import throughput  # noqa: E402
import watching  # noqa: E402
from contenders import ENGINES  # noqa: E402
from programs import output_of  # noqa: E402
from tables import Options, progress  # noqa: E402

TABLES: dict[str, Callable[[Options], dict[str, Any]]] = {
    "setup": setups.run,
    "packets": overload.run,
    "size": size.run,
    "throughput": throughput.run,
    "fabric": fabric.run,
    "changes": changes.run,
    "holds": holds.run,
    "watching": watching.run,
    "takeover": takeover.run,
    "sharing": sharing.run,
}


def main() -> int:
    arguments = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    machine = _machine()
    print(", ".join(f"{name}: {value}" for name, value in machine.items()))
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    with tempfile.TemporaryDirectory(prefix="anycast-sdn-bench-") as directory:
        if arguments.profile:
            setups.profile(Options(rounds, arguments.quick, Path(directory)))
            return 0
        failed = measure(
            {name: TABLES[name] for name in arguments.only or TABLES},
            Options(rounds, arguments.quick, Path(directory), arguments.design, tuple(arguments.engine or ENGINES)),
            arguments.json, {"machine": machine},
        )  # fmt: skip
    if failed:
        progress(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def measure(
    tables: dict[str, Callable[[Options], dict[str, Any]]], options: Options, json_file: Path | None, about: Any
) -> list[str]:
    """All these tables, each in a directory of its own → the names of those that failed.

    What is known so far is in ``json_file`` after each of them; ``about`` comes first there.
    """
    results, failed = dict(about), []
    start = time.monotonic()
    for name, table in tables.items():
        directory = options.directory / name
        directory.mkdir()
        try:
            results[name] = table(replace(options, directory=directory))
        except Exception as error:
            traceback.print_exc()
            failed.append(name)
            results[name] = {"failed": f"{type(error).__name__}: {error}"}
            progress(f"the table {name} failed; the others go on")
        results["seconds"] = round(time.monotonic() - start)
        if json_file:
            json_file.write_text(json.dumps(results, indent=1))
    progress(f"done in {results['seconds']} s" + (f"; results are in {json_file}" if json_file else ""))
    return failed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/bench/run", description="Measures anycast-sdn against a textbook OS-Ken application."
    )
    parser.add_argument("--only", choices=TABLES, action="append", help="this table alone; may be repeated")
    parser.add_argument(
        "--engine", choices=ENGINES, action="append",
        help="this engine alone, in the tables packets, size and throughput; may be repeated (default: all of them)",
    )
    parser.add_argument("--rounds", type=_positive, help="repetitions of each measurement (default 3, quick: 1)")
    parser.add_argument("--quick", action="store_true", help="short measurements: a look, not a result")
    parser.add_argument("--design", action="store_true", help="the table holds for 200 switches: ten minutes and more")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all measurements to this file")
    parser.add_argument("--profile", action="store_true", help="show where the product spends its time instead")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _machine() -> dict[str, Any]:
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.machine(),
    )  # fmt: skip
    return {
        "processors": os.cpu_count(),
        "model": model,
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "Open vSwitch": output_of("ovs-vswitchd", "--version").split()[3],
        "OS-Ken": version("os-ken"),
    }


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
