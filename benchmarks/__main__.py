# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Runs all benchmarks, or those named; ends with 1 when one misses its goal or cannot run."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys

import benchmarks

from .common import BenchmarkError


def main(wanted: list[str]) -> int:
    # What a benchmark started is stopped also when the benchmark is.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    names = [info.name for info in pkgutil.iter_modules(benchmarks.__path__) if not info.ispkg and info.name not in ("__main__", "common")]
    unknown = set(wanted) - set(names)
    if unknown:
        print(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(names)}", file=sys.stderr)
        return 2
    missed = 0
    for name in wanted or names:
        print(f"# {name}", flush=True)
        try:
            for line in importlib.import_module(f"benchmarks.{name}").measure():
                print(line, flush=True)
                missed += not line.met
        except BenchmarkError as error:
            print(f"# {name} did not run: {error}", flush=True)
            missed += 1
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
