"""`python -m benchmarks`: measure, print a line for each figure, and write them down."""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks import report
from benchmarks.bench import Bench, take_precedence
from benchmarks.figures import Figure
from benchmarks.rows import QUICK, ROWS

TRIES = 5


def main() -> int:
    options = _options()
    if options.realtime and not take_precedence():
        print("no right to real-time priority: others on this machine may disturb")
    surroundings = report.surroundings()
    bench = Bench(options.repeats or (3 if options.quick else 5), options.quick)
    figures: list[Figure] = []
    failed: list[str] = []
    rows = options.rows or (QUICK if options.quick else list(ROWS))
    try:
        for name in rows:
            measured, slipped = _row(bench, name, options.check, options.pause)
            figures += measured
            failed += slipped
    finally:
        bench.close()
    if options.json:
        report.write(options.json, figures, surroundings, rows)
    missed = [figure for figure in figures if figure.reached is False]
    print(f"{len(figures)} figures, {len(missed)} short of their goal")
    for what in failed:
        print(f"more than {options.check:g} times off its goal in {TRIES} tries: {what}")
    return 1 if failed else 0


def _row(bench: Bench, name: str, limit: float | None, pause: float) -> tuple[list[Figure], list[str]]:
    """Measure a row, again where it is further off than `limit`; give its last figures, and what stayed off."""
    off: set[str] | None = None
    for tried in range(TRIES if limit else 1):
        time.sleep(tried * pause)  # noise lasts, and passes
        figures = list(_printed(bench, name))
        again = {figure.what for figure in figures if limit and figure.slack is not None and figure.slack > limit}
        off = again if off is None else off & again
        if not off:
            break
    return figures, sorted(off or ())


def _printed(bench: Bench, name: str) -> Iterator[Figure]:
    for figure in ROWS[name](bench):
        counted = replace(figure, best=bench.quick)
        print(report.line(counted), flush=True)
        yield counted


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--repeats", type=int, help="how often each is measured (5, quick 3)")
    parser.add_argument("--quick", action="store_true", help="fewer rows, smaller sizes, best repeats")
    parser.add_argument("--check", type=float, metavar="FACTOR", help="fail where a figure is further off its goal")
    parser.add_argument("--pause", type=float, default=10.0, metavar="SECONDS", help="growing pauses between these")
    parser.add_argument("--realtime", action="store_true", help="run before all that has normal priority, if allowed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, beside those of other rows")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
