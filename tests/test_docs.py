"""The code in README and docs runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rush
from rush.server import running_server, stop_server
from rush.store import list_networks
from tests import pages
from tests.conftest import patience

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/tutorial.md",
        "docs/howto/servers.md",
        "docs/howto/write-a-backend.md",
        "docs/reference/protocol.md",
    ],
)
def test_the_code_of_a_page_runs(page, tmp_path):
    run_code_of(page, tmp_path)


@pytest.mark.slow
def test_the_code_of_the_page_about_dask_runs_on_a_cluster_that_is_started_as_it_says(tmp_path):
    (block,) = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/howto/dask.md").read_text(), re.MULTILINE | re.DOTALL)
    started = []
    try:
        for line in block.splitlines():
            command = [sys.executable, "-m", *line.split()]
            started.append(subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True))
        patience((tmp_path / "cluster.json").exists, 30)
        run_code_of("docs/howto/dask.md", tmp_path)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def run_code_of(page, folder):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    script = folder / "page.py"
    script.write_text("\n\n".join(blocks))
    done = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "examples")},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.scheduler
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", ["docs/howto/slurm.md", "docs/howto/pbs.md"])
def test_a_page_that_leads_through_a_cluster_can_be_followed(page, tmp_path, cluster, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{os.environ.get('PYTHONPATH', '')}")
    try:
        for step in pages.steps(ROOT / page):
            if step.file is not None:
                (tmp_path / step.file).write_text(step.content)
                continue
            code, printed = pages.run(step.command, tmp_path, sys.executable)
            assert code == 0, f"{step.command}\n{printed}"
            first = pages.shape(step.printed.partition("\n")[0])
            assert first in [pages.shape(line) for line in printed.splitlines() or [""]], f"{step.command}\n{printed}"
    finally:
        _end_campaign()


def _end_campaign():
    """End what a page that could not be followed to its end has left."""
    config = running_server()
    if config is not None:
        for name in list_networks(config):
            rush.Rush(name, config).reset()
    stop_server()


def test_the_tests_that_show_a_promise_are_there():
    promised = re.findall(r"`(test_\w+)`", (ROOT / "docs" / "explanation" / "guarantees.md").read_text())
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert promised
    assert [name for name in promised if f"def {name}(" not in written] == []


@pytest.mark.slow
def test_the_docs_build_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-b", "html", ROOT / "docs", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


def test_every_test_that_a_guarantee_names_exists():
    named = re.findall(r"`(test_\w+)`", (ROOT / "docs/explanation/guarantees.md").read_text())
    assert len(named) > 20
    there = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert set(named) <= there
