"""The approach of a time limit: when to drain, when to kill, and which tasks are to blame."""

import time

from rush.model import LoopSpec

SHORTEST_MARGIN = 60.0
MARGIN_SHARE = 0.05
LAST_MOMENT = 5.0
NEARLY_ALL = 0.9


class Walltime:
    """When the job of a supervisor ends.

    The margin before the limit, at which loops are told to stop, is 60 s or 5 % of the limit, whichever is longer, and
    at most half of it.

    Parameters
    ----------
    spec
        Its `time_limit` and `drain_margin`.
    job_end
        When the job system ends the job, in seconds since the epoch.
    began
        When the supervisor began.
    """

    def __init__(self, spec: LoopSpec, job_end: float | None, began: float) -> None:
        ends = [end for end in (job_end, began + spec.time_limit if spec.time_limit else None) if end is not None]
        self.ends_at = min(ends, default=None)
        self.drained = False
        self._limit = 0.0 if self.ends_at is None else max(0.0, self.ends_at - began)
        margin = spec.drain_margin
        if margin is None:
            margin = max(SHORTEST_MARGIN, MARGIN_SHARE * self._limit)
        self._margin = min(margin, self._limit / 2)
        self._offset = time.time() - time.monotonic()

    def drain_at(self) -> float | None:
        """Give when to tell the loops to stop, by the monotonic clock; None for never, or when they were told."""
        if self.ends_at is None or self.drained:
            return None
        return self.ends_at - self._margin - self._offset

    def kill_at(self, grace: float) -> float:
        """Give when to kill what has not stopped: after the grace period, or later, shortly before the limit."""
        self.drained = True
        end = (self.ends_at or 0.0) - self._offset
        return max(time.monotonic() + min(grace, self._margin), end - min(LAST_MOMENT, self._margin / 2))

    def overran(self, busy: bool, since: float) -> bool:  # noqa: FBT001 - as the slot gives it
        """Say whether a task had nine tenths of the limit and still did not end: it is to blame, not the limit."""
        if not busy or self.ends_at is None:
            return False
        return (self.ends_at - self._offset) - since >= NEARLY_ALL * self._limit
