"""The demo tunes a real model, and says truly what it did."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from rush.cli import demo
from rush.cli.main import main
from rush.demo.picture import draw
from rush.demo.stopwatch import Stopwatch
from rush.demo.summary import summarise
from rush.errors import MissingDependency
from rush.server import private

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def _private_server():
    """End the private server that a demo in this process started."""
    yield
    private._end()


@pytest.fixture
def finished():
    """Give the results of two workers: one at work all the time, one for half of it."""
    return pd.DataFrame(
        {
            "worker_id": ["quick_hare_1", "slow_snail_2", "quick_hare_1"],
            "components": [10, 20, 30],
            "log_c": [0.0, 1.0, 2.0],
            "log_gamma": [-3.0, -2.0, -1.0],
            "accuracy": [0.5, 0.975, 0.9],
            "start": [100.0, 100.0, 102.0],
            "end": [102.0, 102.0, 104.0],
        }
    )


def test_summary_counts_what_was_done(finished):
    summary = summarise(finished, ["quick_hare_1", "slow_snail_2", "idle_cat_3"], [0.001, 0.002, 0.5])
    assert summary.tasks_per_worker == {"quick_hare_1": 2, "slow_snail_2": 1, "idle_cat_3": 0}
    assert summary.seconds == pytest.approx(4)
    assert summary.utilisation == pytest.approx(6 / 12)
    assert summary.cost_per_task == pytest.approx(0.002)
    assert summary.best[0] == {
        "accuracy": 0.975,
        "components": 20,
        "C": 10.0,
        "gamma": 0.01,
        "worker": "slow_snail_2",
    }


def test_picture_is_a_png(finished, tmp_path):
    pytest.importorskip("matplotlib")
    draw(finished, tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(PNG)


def test_stopwatch_passes_everything_on():
    class Worker:
        worker_id = "w"

        def finish_tasks(self, keys, yss):
            return [*keys, *yss]

        def twice(self, value):
            return 2 * value

    watch = Stopwatch(Worker())
    assert watch.worker_id == "w"
    assert watch.twice(21) == 42
    assert watch.finish_tasks(["a"], [{}]) == ["a", {}]
    assert len(watch.laps) == 1
    assert watch.laps[0] >= 0


@pytest.mark.slow
@pytest.mark.usefixtures("_private_server")
def test_short_demo_ends_with_what_it_found(tmp_path, capsys):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    csv, plot = tmp_path / "run.csv", tmp_path / "run.png"
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "demo",
                "--evaluations",
                "12",
                "--workers",
                "2",
                "--csv",
                str(csv),
                "--plot",
                str(plot),
                "--output",
                "json",
            ]
        )
    out, err = capsys.readouterr()
    assert not ended.value.code, err
    report = json.loads(out)
    results = pd.read_csv(csv)
    assert len(results) == report["evaluations"] >= 12
    assert sum(report["tasks_per_worker"].values()) == report["evaluations"]
    assert len(report["tasks_per_worker"]) == 2
    assert 0 < report["utilisation"] <= 1
    assert 0 < report["cost_per_task"] < 0.1
    assert report["best"][0]["accuracy"] == pytest.approx(results["accuracy"].max(), abs=1e-4)
    assert plot.read_bytes().startswith(PNG)
    assert "tuning" in err


@pytest.mark.slow
@pytest.mark.usefixtures("_private_server")
def test_short_demo_shows_tables(capsys):
    pytest.importorskip("sklearn")
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--evaluations", "6", "--workers", "1", "--backend", "local"])
    out, err = capsys.readouterr()
    assert not ended.value.code, err
    for shown in ("Best configurations", "utilisation", "of processor time per task", "evaluations  6"):
        assert shown in out


@pytest.mark.scheduler
@pytest.mark.slow
@pytest.mark.usefixtures("_private_server", "cluster")
@pytest.mark.parametrize("backend", ["slurm", "pbs"])
def test_the_same_demo_runs_as_jobs(backend, tmp_path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}:{os.environ.get('PYTHONPATH', '')}")
    csv = tmp_path / "run.csv"
    words = ["--evaluations", "8", "--workers", "2", "--backend", backend, "--csv", str(csv), "--output", "json"]
    with pytest.raises(SystemExit) as ended:
        main(["demo", *words])
    out, err = capsys.readouterr()
    assert not ended.value.code, err
    report = json.loads(out)
    assert len(report["tasks_per_worker"]) == 2
    assert len(pd.read_csv(csv)) == report["evaluations"] >= 8


@pytest.mark.scheduler
@pytest.mark.slow
@pytest.mark.usefixtures("_private_server", "cluster")
def test_jobs_that_never_run_hold_up_nothing(tmp_path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.chdir(tmp_path)
    # Two jobs that take all of the one node there is: the second waits for the first.
    profile = '[profiles.small]\nbackend = "slurm"\ncpus = 8\nextra = {nodelist = "node3"}\n'
    (tmp_path / "rush.toml").write_text(profile)
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--evaluations", "6", "--workers", "2", "--backend", "small", "--output", "json"])
    out, err = capsys.readouterr()
    assert not ended.value.code, err
    assert max(json.loads(out)["tasks_per_worker"].values()) == 6


def test_missing_library_names_the_command(monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match=r"pip install 'rush-hpc\[demo\]'"):
        demo.demo()


def test_missing_folder_is_wrong_use(tmp_path, capsys):
    pytest.importorskip("sklearn")
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--csv", str(tmp_path / "none" / "run.csv")])
    assert ended.value.code == 2
    assert "there is no folder" in capsys.readouterr().err
