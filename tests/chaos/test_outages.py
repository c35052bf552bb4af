"""Nobody is lost by mistake; the long outages are for `make chaos`."""

import time

import pytest

from tests.chaos.outage import survive


@pytest.mark.slow
def test_nobody_is_lost_by_a_short_outage(start_server, network_id):
    survive(start_server(settings={"appendfsync": "always"}), network_id, "down", 5)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("how", "seconds"), [("down", 20), ("down", 60), ("stopped", 20), ("stopped", 60), ("full", 60)]
)
def test_nobody_is_lost_by_a_long_outage(start_server, network_id, how, seconds):
    began = time.monotonic()
    took = survive(start_server(settings={"appendfsync": "always"}), network_id, how, seconds)
    print(f"{how} for {seconds} s: 0 of 100 lost, the true loss seen {took:.1f} s after the end")  # noqa: T201
    assert time.monotonic() - began > seconds
