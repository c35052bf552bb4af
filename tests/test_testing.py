"""The tests for backends find what is wrong with one."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import dataclasses
import pytest
from rush.backends import Local
from rush.testing import BackendContract


class TestNothing(BackendContract):
    pass
"""
BROKEN = """

class Backend{number}(Local):
    {body}


class TestFault{number}(BackendContract):
    patience = 10

    @pytest.fixture
    def backend(self, tmp_path):
        return Backend{number}(folder=str(tmp_path))
"""

FAULTS = {
    "test_the_preview_shows_the_command_without_its_secret": "def preview(self, commands): return repr([(c.arguments, c.secret) for c in commands])",
    "test_the_last_words_on_stderr_are_kept": "def tail(self, placement, lines=50): return ''",
    "test_shares_add_up": "def shares(self, n_workers): return [n_workers, 1]",
    "test_another_process_can_make_it": "def __init__(self, folder): super().__init__(folder=folder)",
    "test_placements_are_plain_data": "def start(self, commands): return [dataclasses.replace(p, details={'n': 1}) for p in super().start(commands)]",
    "test_draining_lets_the_running_task_end": "def stop(self, placements, *, kill): super().stop(placements, kill=True)",
    "test_each_worker_has_devices_of_its_own": "gpus_per_worker = property(lambda self: 0, lambda self, value: None)",
}


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Run all of it in one process."""
    folder = tmp_path_factory.mktemp("broken")
    classes = [BROKEN.format(number=number, body=body) for number, body in enumerate(FAULTS.values())]
    (folder / "test_it.py").write_text("".join([HEAD, *classes]))
    ids = [f"test_it.py::TestFault{number}::{test}" for number, test in enumerate(FAULTS)]
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    done = subprocess.run(
        [*command, *ids, "test_it.py::TestNothing::test_shares_add_up"],
        cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("test", FAULTS)
def test_a_fault_of_a_backend_is_found(test, outcome):
    number = list(FAULTS).index(test)
    assert f"FAILED test_it.py::TestFault{number}::{test}" in outcome, outcome


@pytest.mark.slow
def test_a_class_without_a_backend_says_what_is_missing(outcome):
    assert "give your test class a fixture named backend" in outcome


def test_without_pytest_the_error_says_what_installs_it():
    code = "import sys; sys.modules['pytest'] = None; import rush.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path.cwd())
    assert "MissingDependency: rush.testing needs pytest: pip install pytest" in done.stderr


def test_rush_itself_does_not_import_pytest():
    code = "import sys, rush, rush.manager, rush.backends, rush.cli.main; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
