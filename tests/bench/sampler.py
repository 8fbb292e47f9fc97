"""Where a Python program spends its time: runs a module and samples its stack a thousand times a second.

    sampler.py RESULT MODULE [ARGUMENT...]

Sampling begins with the signal SIGUSR1, and works under eventlet, where the standard profiler confuses
greenlets.  RESULT, written when the program ends, is JSON: ``samples``, and per function the samples in
which it was at work itself (``self``) and in which it was anywhere on the stack (``total``).  Time inside
C functions counts for the caller.
"""

from __future__ import annotations

import json
import runpy
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

INTERVAL_S = 0.001  # of processor time


def main() -> None:
    result, module = Path(sys.argv[1]), sys.argv[2]
    itself: Counter[CodeType] = Counter()
    total: Counter[CodeType] = Counter()

    def sample(_: int, frame: FrameType | None) -> None:
        if frame is not None:
            itself[frame.f_code] += 1
        stack = set()
        while frame is not None:
            stack.add(frame.f_code)
            frame = frame.f_back
        total.update(stack)

    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGUSR1, lambda *_: signal.setitimer(signal.ITIMER_PROF, INTERVAL_S, INTERVAL_S))
    sys.argv = sys.argv[2:]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        functions = [
            {"function": _name(code), "self": itself[code], "total": count} for code, count in total.most_common()
        ]
        result.write_text(json.dumps({"samples": sum(itself.values()), "functions": functions}))


def _name(code: CodeType) -> str:
    if code.co_filename == "<string>":  # made by namedtuple or dataclass
        return f"new value of ({', '.join(code.co_varnames[1:4])}, …)"
    path = Path(code.co_filename)
    return f"{'/'.join(path.parts[-2:])}:{code.co_firstlineno} {code.co_qualname}"


if __name__ == "__main__":
    main()
