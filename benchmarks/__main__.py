"""`python -m benchmarks`: measure, print a line for each figure, and write them down."""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks import report
from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.rows import ROWS


def main() -> int:
    options = _options()
    surroundings = report.surroundings()
    bench = Bench(options.repeats, options.quick)
    try:
        figures = list(_measure(bench, options.rows))
    finally:
        bench.close()
    if options.json:
        options.json.write_text(report.document(figures, surroundings))
    missed = [figure for figure in figures if figure.reached is False]
    print(f"{len(figures)} figures, {len(missed)} short of their goal")
    return 0


def _measure(bench: Bench, rows: Iterable[str]) -> Iterator[Figure]:
    for name in rows:
        for figure in ROWS[name](bench):
            print(report.line(figure), flush=True)
            yield figure


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--repeats", type=int, default=5, help="how often each is measured (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
