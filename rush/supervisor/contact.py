"""A supervisor's contact with the server: it may be away for long, and the supervisor must not wait for it."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from rush.config import RedisConfig
from rush.errors import ConnectionFailed, RushError
from rush.model import Ending
from rush.store import Beat, BeatReply, OrderChannel, Store

log = logging.getLogger("rush.supervisor")
T = TypeVar("T")

PATIENCE = 2.0
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 0.5
"""Seconds between tries: less than lie between the two sights of a worker that is looked for."""
GIVEN_UP, RETRIES_GIVEN_UP = 120.0, 4


def patience(config: RedisConfig) -> float:
    """Give the seconds for which a worker waits for a server that is away or full, before it ends."""
    return max(GIVEN_UP, RETRIES_GIVEN_UP * config.retry_timeout)


@dataclass
class Report:
    """How a worker ended, until the store knows it; `then` is called when it does."""

    worker_id: str
    incarnation: int | None
    ending: Ending
    then: Callable[[], None] | None = None


class Contact:
    """Calls on the store that fail at once when the server is away, and are made up for when it is back.

    Parameters
    ----------
    config
        The server.
    network_id, supervisor_id
        Whose heartbeats, and who sends them.
    """

    def __init__(self, config: RedisConfig, network_id: str, supervisor_id: str) -> None:
        brief = replace(
            config,
            retry_timeout=0.0,
            socket_timeout=min(PATIENCE, config.socket_timeout),
            connect_timeout=min(PATIENCE, config.connect_timeout),
        )
        self.store = Store(brief, network_id)
        self.orders = OrderChannel(self.store, supervisor_id)
        self.reports: list[Report] = []
        self.retry_at: float | None = None
        self.scan_at: float | None = None
        self.listening = False
        self._pause = SHORTEST_PAUSE
        self._away_since: float | None = None

    @property
    def away(self) -> bool:
        """Whether the last call found the server away."""
        return self.retry_at is not None

    def may_try(self, now: float) -> bool:
        """Whether the server is there, or has been away for long enough to look again."""
        return self.retry_at is None or now >= self.retry_at

    def away_for(self, now: float) -> float:
        """Give the seconds since the server was first found away; 0 while it is there."""
        return 0.0 if self._away_since is None else now - self._away_since

    def attempt(self, call: Callable[[], T]) -> T | None:
        """Make a call; None, and another try later, if the server is away."""
        began = time.monotonic()
        if not self.may_try(began):
            return None
        try:
            result = call()
        except ConnectionFailed as error:
            if not self.away:
                log.warning("the server is away: %s", error)
            self._away_since = self._away_since or began
            self.retry_at = time.monotonic() + self._pause * random.uniform(0.7, 1.0)  # noqa: S311 - not for secrets
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self._stop_listening()
            return None
        if self.away:
            log.warning("the server is back")
        self.retry_at, self._away_since, self._pause = None, None, SHORTEST_PAUSE
        return result

    def beat(self, beats: list[Beat]) -> BeatReply | None:
        """Renew heartbeats; None if the server is away."""
        reply = self.attempt(lambda: self.store.beat(beats))
        if reply is None or reply.gone:
            return reply
        if not self.listening:
            self._listen()
        if reply.next_check is not None:
            due = time.monotonic() + reply.next_check + 0.01
            self.scan_at = due if self.scan_at is None else min(self.scan_at, due)
        return reply

    def scan(self) -> list[str]:
        """Look for lost workers of the network; give those that were found."""
        reply = self.attempt(self.store.scan)
        self.scan_at = None
        if reply is None:
            return []
        looks = [look for look in (reply.next_look, reply.next_check) if look is not None]
        if looks:
            self.scan_at = time.monotonic() + min(looks) + 0.01
        return reply.lost

    def report(self, report: Report) -> None:
        """Tell the store how a worker ended, now or as soon as it can be reached."""
        self.reports.append(report)
        self.send_reports()

    def send_reports(self) -> None:
        """Send what has not been sent."""
        while self.reports:
            report = self.reports[0]
            try:
                if self.attempt(lambda report=report: self._bury(report)) is None:  # type: ignore[misc]
                    return
            except RushError as error:
                log.error("the end of worker %s could not be stored: %s", report.worker_id, error)  # noqa: TRY400 - no bug
            self.reports.pop(0)
            if report.then is not None:
                report.then()

    def close(self) -> None:
        """Close the connections."""
        self.orders.close()
        self.store.close()

    def _bury(self, report: Report) -> bool:
        if report.incarnation is not None and self.store.bury(report.worker_id, report.incarnation, report.ending):
            return True
        # The loop may have died between opening its next incarnation and saying so.
        incarnation = self.store.incarnations([report.worker_id]).get(report.worker_id)
        if incarnation is None and report.incarnation is not None:
            return False
        return self.store.bury(report.worker_id, incarnation, report.ending)

    def _listen(self) -> None:
        try:
            self.orders.arm()
            self.listening = True
        except ConnectionFailed:
            self._stop_listening()

    def _stop_listening(self) -> None:
        self.listening = False
        self.orders.close()

    def heard(self) -> None:
        """Read what the order channel has, and listen on."""
        try:
            self.orders.drain()
            self.orders.arm()
        except ConnectionFailed:
            self._stop_listening()
            if self.retry_at is None:
                self.retry_at = time.monotonic()
