"""The benchmark judges what it measures rightly, and the page shows what was measured."""

import json
from pathlib import Path

import pytest

EXPLANATION = Path(__file__).parent.parent / "docs" / "explanation"


@pytest.fixture
def figures():
    return pytest.importorskip("benchmarks.figures")


def test_a_goal_of_time_is_reached_from_below_and_one_of_speed_from_above(figures):
    assert figures.Figure("row", "call", "ms", [1.0, 9.0, 2.0], figures.Goal(2.0)).reached
    assert not figures.Figure("row", "call", "ms", [1.0, 9.0, 2.1], figures.Goal(2.0)).reached
    assert figures.Figure("row", "drain", "tasks/s", [10.0, 30.0, 20.0], figures.Goal(20.0, more=True)).reached
    assert not figures.Figure("row", "drain", "tasks/s", [10.0, 30.0, 19.0], figures.Goal(20.0, more=True)).reached


def test_a_goal_in_pings_is_about_the_ratio_of_the_blocks(figures):
    figure = figures.Figure("row", "call", "us", [500.0], figures.Goal(3.0, in_pings=True), [2.5], 100.0)
    assert (figure.ratio, figure.reached) == (2.5, True)


def test_a_speed_in_pings_is_that_of_one_task(figures):
    assert figures.Figure("row", "drain", "tasks/s", [10_000.0], ping=25.0).ratio == 4.0


def test_the_best_repeat_counts_where_others_disturb(figures):
    goal = figures.Goal(10_000, more=True)
    assert figures.Figure("row", "drain", "tasks/s", [2_000.0, 12_000.0, 3_000.0], goal, best=True).reached
    assert figures.Figure("row", "call", "ms", [8.0, 1.0, 9.0], figures.Goal(2.0), best=True).reached


def test_a_row_that_slips_once_is_measured_again_and_one_that_stays_slow_fails(figures, monkeypatch):
    main = pytest.importorskip("benchmarks.__main__")
    tries = []

    def row(_bench):
        tries.append(1)
        yield figures.Figure("row", "once", "ms", [9.0 if len(tries) == 1 else 1.0], figures.Goal(2.0))
        yield figures.Figure("row", "always", "ms", [3.1], figures.Goal(2.0))
        yield figures.Figure("row", "little", "ms", [2.9], figures.Goal(2.0))

    monkeypatch.setitem(main.ROWS, "row", row)
    bench = main.Bench(1)
    assert main._row(bench, "row", 1.5, 0)[1] == ["always"]
    assert len(tries) == main.TRIES
    tries.clear()
    assert main._row(bench, "row", 1.6, 0)[1] == []
    assert len(tries) == 2


def test_the_page_shows_the_figures_that_stand_beside_it():
    page = pytest.importorskip("benchmarks.page")
    measured, scale = (json.loads((EXPLANATION / name).read_text()) for name in ("performance.json", "scale.json"))
    text = (EXPLANATION / "performance.md").read_text()
    assert page.written(text, measured, scale) == text


@pytest.mark.slow
def test_stand_ins_ask_as_loops_do_and_leave_their_network_with_what_they_found():
    standins = pytest.importorskip("benchmarks.standins")
    bench = pytest.importorskip("benchmarks.bench").Bench(1)
    found = []

    class Counting(standins.StandIn):
        def end(self, store):
            found.append((len(self.cycles), self._position))
            super().end(store)
            assert store.ended_workers()[self.session.id].reason == "measured"

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(standins, "StandIn", Counting)
            load = standins.measure(bench, 20, 3.0)
    finally:
        bench.close()
    assert 0 < load.lowest_twentieth <= load.utilisation < 1
    assert len(found) == 20
    assert min(cycles for cycles, _ in found) >= 1
    assert max(read for _, read in found) > sum(cycles for cycles, _ in found)
