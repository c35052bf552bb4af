"""What a measurement gives: a median over repeats, the PING beside it, and the goal."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# How long one of the thing takes, in microseconds, for units that say so.
_MICROSECONDS = {"us": 1.0, "us/task": 1.0, "ms": 1e3, "s": 1e6}
_RATES = {"tasks/s"}
_MORE = {*_RATES, "times as fast"}


@dataclass(frozen=True)
class Goal:
    """What must be reached: at most `limit`, or at least if `more`, of the value, or of the PINGs that it takes."""

    limit: float
    more: bool = False
    in_pings: bool = False

    def reached(self, value: float) -> bool:
        return value >= self.limit if self.more else value <= self.limit

    def slack(self, value: float) -> float:
        """Give how far off a value is: 1 meets the goal exactly, less is better."""
        return self.limit / value if self.more else value / self.limit

    def text(self, unit: str) -> str:
        return f"{'≥' if self.more else '≤'} {self.limit:,g} {'PINGs' if self.in_pings else unit}"


@dataclass(frozen=True)
class Figure:
    """One measured thing.

    Attributes
    ----------
    row
        The row of `benchmarks.rows` that it belongs to.
    what
        What was measured, in words.
    values
        One for each repeat, in `unit`.
    pings
        Where blocks of PINGs were measured between those of the thing: how many PINGs it takes, one for each repeat.
    ping
        Microseconds of the bare PING beside it.
    absent
        Why there is nothing to measure, where that is so; `values` is empty then.
    best
        Whether the best repeat stands for all, rather than the median: others' work on the machine only adds to it.
    """

    row: str
    what: str
    unit: str
    values: Sequence[float]
    goal: Goal | None = None
    pings: Sequence[float] = ()
    ping: float | None = None
    absent: str = ""
    best: bool = False

    @property
    def value(self) -> float:
        return self._of(self.values, more=self.unit in _MORE) if self.values else math.nan

    @property
    def ratio(self) -> float | None:
        """Give how many PINGs it takes, or None where that says nothing."""
        if self.pings:
            return self._of(self.pings, more=False)
        if self.ping is None or not self.values:
            return None
        if self.unit in _RATES:
            return 1e6 / self.value / self.ping
        return self.value * _MICROSECONDS[self.unit] / self.ping if self.unit in _MICROSECONDS else None

    @property
    def judged(self) -> float:
        """Give what the goal is about."""
        if self.goal is not None and self.goal.in_pings:
            if self.ratio is None:
                raise ValueError(f"{self.what}: a goal in PINGs needs a PING beside it")
            return self.ratio
        return self.value

    @property
    def reached(self) -> bool | None:
        return None if self.goal is None else self.goal.reached(self.judged)

    @property
    def slack(self) -> float | None:
        return None if self.goal is None else self.goal.slack(self.judged)

    def _of(self, values: Sequence[float], *, more: bool) -> float:
        if self.best:
            return max(values) if more else min(values)
        return statistics.median(values)
