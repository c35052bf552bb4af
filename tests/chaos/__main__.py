"""``python -m tests.chaos``: breaks a campaign on purpose, and says what it kept; fails unless that is all."""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from tests.chaos import campaign


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long things are broken (default: 120)")
    parser.add_argument("--seed", type=int, default=1, help="of what is broken when (default: 1)")
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks in the queue (default: 20,000)")
    options = parser.parse_args(argv)
    outcome = campaign.run(options.tasks, options.seconds, options.seed)
    console = Console(width=100)
    console.print(_done(outcome, options))
    console.print(_kept(outcome))
    for line in outcome.odd_ends[:20]:
        console.print(line, markup=False, highlight=False)
    wrong = outcome.tally.wrong
    console.print(f"WRONG: {wrong}" if wrong else "nothing was lost, doubled or finished twice")
    return 1 if wrong else 0


def _done(outcome, options):
    table = Table("what was done", "how often", title=f"seed {options.seed}, {options.seconds:g} s of breaking")
    for name, count in outcome.done.items():
        table.add_row(name, f"{count:,}")
    table.add_row("groups of workers started", f"{outcome.groups:,}")
    return table


def _kept(outcome):
    table = Table("what became of it", "", title=f"after {outcome.seconds:.0f} s in all")
    for name, count in outcome.tally.counts.items():
        table.add_row(name, f"{count:,}", style="bold red" if name in outcome.tally.wrong else None)
    for tries, count in sorted(outcome.tally.tries.items()):
        table.add_row(f"results of try {tries}", f"{count:,}")
    for message, count in outcome.tally.conditions.most_common(10):
        table.add_row(f"failed: {message}", f"{count:,}")
    return table


if __name__ == "__main__":
    sys.exit(main())
