"""A short run of the breaker."""

import pytest

from tests.chaos import campaign
from tests.chaos.breaker import WEIGHTS


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_broken_on_purpose_loses_nothing():
    outcome = campaign.run(n_tasks=2000, seconds=25, seed=7)
    assert outcome.tally.wrong == {}, outcome.odd_ends
    assert outcome.tally.counts["tasks pushed to the queue"] == 2000
    assert outcome.tally.counts["finished"] > 2000
    assert sum(count > 0 for count in outcome.done.values()) >= len(WEIGHTS) / 2
