"""The examples run, and find what they look for."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MOST_LINES = 100
SHOWN = {
    "bayesian_optimisation": "accuracy",
    "nice_backend": "key",
    "median_stopping": "epochs trained of",
    "random_search": "dtype: int64",
}

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="not in a clone")


def test_every_example_is_tested_and_short():
    files = {path.stem: path for path in EXAMPLES.glob("*.py")}
    assert set(files) == set(SHOWN)
    assert all(len(path.read_text().splitlines()) < MOST_LINES for path in files.values())


def test_demo_runs_the_example_itself():
    link = EXAMPLES / "bayesian_optimisation.py"
    assert link.resolve() == EXAMPLES.parent / "rush" / "demo" / "bayesian_optimisation.py"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_example_runs(name):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        cwd=EXAMPLES.parent,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "worker_id" in done.stdout
    assert SHOWN[name] in done.stdout


def test_random_search_looks_at_branin():
    branin = runpy.run_path(str(EXAMPLES / "random_search.py"))["branin"]
    assert branin(9.42478, 2.475) == pytest.approx(0.397887, abs=1e-5)
