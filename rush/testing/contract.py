"""The contract of backends as tests: start, register, poll, drain, kill, lose, speak, and leave nothing behind."""

import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from rush import Rush
from rush.backends import Backend
from rush.config import child_environment, signing_key_for
from rush.errors import WorkerStartError
from rush.model import Placement, PlacementState, WorkerCommand
from rush.server.check import check_way
from rush.testing import elsewhere, loops

_QUICK = {"heartbeat_period": 0.5, "heartbeat_expire": 5.0, "grace_period": 20.0}
_SILENCE = 1.0


class BackendContract:
    """What every backend has to do, as tests: derive a class from it in a test module, and give it your backend.

    The fixtures `backend` and, where workers cannot reach a server on the loopback interface, `net` are yours to
    override. The tests run two workers at most, and each kills what it has started.

    Attributes
    ----------
    patience
        Seconds for which anything may take: a job system's queue, for example.

    Examples
    --------
    >>> class TestMine(BackendContract):
    ...     @pytest.fixture
    ...     def backend(self):
    ...         return Mine()
    """

    patience: float = 60.0

    @pytest.fixture
    def backend(self) -> Backend:
        """Give the backend under test."""
        raise NotImplementedError("give your test class a fixture named backend that returns your backend")

    @pytest.fixture
    def net(self) -> Rush:
        """Give a manager of a fresh network, whose server the workers can reach; by default the one configured."""
        return Rush()

    @pytest.fixture(autouse=True)
    def _nothing_left(self, net: Rush, backend: Backend) -> Iterator[None]:
        """End all that was started, and see to it that it ended."""
        yield
        placed = _placements(net)
        backend.stop(placed, kill=True)
        self.wait_until(lambda: _states(backend, placed) <= {PlacementState.ENDED}, "all has ended")
        backend.clear(placed)
        net.reset()

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + self.patience
        while not condition():
            assert time.monotonic() < deadline, f"waited for {self.patience:g} s until {what}"
            time.sleep(0.05)

    def start(self, net: Rush, backend: Backend, loop: Callable[..., Any], n_workers: int, **options: Any) -> list[str]:
        """Start workers and wait until they have registered."""
        workers = net.start_workers(
            loop, n_workers=n_workers, backend=backend, by_value=[loops], **{**_QUICK, **options}
        )
        net.wait_for_workers(worker_ids=workers, timeout=self.patience)
        return workers

    def test_another_process_can_make_it(self, backend: Backend) -> None:
        made = type(backend)()
        assert made.name == backend.name
        assert made.poll([]) == {}
        made.stop([], kill=False)

    def test_shares_add_up(self, backend: Backend) -> None:
        for n_workers in (backend.default_workers(), 1, 2, 5):
            shares = backend.shares(n_workers)
            assert sum(shares) == n_workers
            assert min(shares) > 0

    def test_workers_start_register_and_share_the_tasks(self, net: Rush, backend: Backend) -> None:
        workers = self.start(net, backend, loops.work, 2)
        assert set(net.running_worker_ids) == set(workers) == set(net.placements)
        placed = _placements(net)
        assert {one.backend for one in placed} == {backend.name}
        assert sorted(worker for one in placed for worker in one.worker_ids) == sorted(workers)
        self.wait_until(lambda: _states(backend, placed) == {PlacementState.RUNNING}, "they are seen running")
        keys = net.push_tasks([{"x": n} for n in range(10)])
        assert net.wait_for_tasks(keys, timeout=self.patience)
        assert sorted(net.fetch_finished_tasks()["y"]) == [n**2 for n in range(10)]

    def test_placements_are_plain_data(self, net: Rush, backend: Backend) -> None:
        self.start(net, backend, loops.work, 2)
        (first, *_) = kept = _placements(net)
        other = Rush(net.network_id, net.config)
        assert {one.id: one for one in _placements(other)} == {one.id: one for one in kept}
        assert all(isinstance(text, str) for pair in first.details.items() for text in pair)

    def test_a_loop_that_returns_ends_its_placement(self, net: Rush, backend: Backend) -> None:
        net.start_workers(loops.describe, n_workers=1, backend=backend, by_value=[loops])
        self.wait_until(lambda: _states(backend, _placements(net)) == {PlacementState.ENDED}, "it is seen ended")
        assert net.n_finished_tasks == 1
        backend.stop(_placements(net), kill=False)
        backend.stop(_placements(net), kill=True)

    def test_draining_lets_the_running_task_end(self, net: Rush, backend: Backend) -> None:
        self.start(net, backend, loops.work, 1)
        net.push_tasks([{"x": 3, "seconds": 2}, {"x": 4, "seconds": 2}])
        self.wait_until(lambda: net.n_running_tasks == 1, "the first task runs")
        backend.stop(_placements(net), kill=False)
        self.wait_until(lambda: not net.running_worker_ids, "the worker has ended")
        assert (net.n_finished_tasks, net.n_queued_tasks, net.n_failed_tasks) == (1, 1, 0)
        assert list(net.worker_info["state"]) == ["terminated"]
        self.wait_until(lambda: _states(backend, _placements(net)) == {PlacementState.ENDED}, "it is seen ended")

    def test_killing_ends_all_that_was_started(self, net: Rush, backend: Backend) -> None:
        self.start(net, backend, loops.have_child, 1)
        self.wait_until(lambda: _beat(net), "the loop's child lives")
        backend.stop(_placements(net), kill=True)
        self.wait_until(lambda: _states(backend, _placements(net)) == {PlacementState.ENDED}, "it is seen ended")
        self.wait_until(lambda: _is_silent(net), "nothing of it is left")
        self.wait_until(lambda: net.detect_lost_workers() or not net.running_worker_ids, "the worker is found lost")

    def test_a_supervisor_that_is_killed_is_noticed(self, net: Rush, backend: Backend) -> None:
        (worker,) = self.start(net, backend, loops.lose_supervisor, 1)
        net.push_tasks([{"x": 1}])
        self.wait_until(lambda: net.detect_lost_workers() or not net.running_worker_ids, "the worker is found lost")
        assert net.worker_info.set_index("worker_id")["state"][worker] == "lost"
        assert net.n_failed_tasks == 1
        assert "lost" in net.fetch_failed_tasks()["condition"].iloc[0]["message"]
        self.wait_until(lambda: _states(backend, _placements(net)) == {PlacementState.ENDED}, "it is seen ended")
        self.wait_until(lambda: _is_silent(net), "nothing of it is left")

    def test_the_last_words_on_stderr_are_kept(self, net: Rush, backend: Backend) -> None:
        code = "import sys; print('not the last', file=sys.stderr); sys.exit('these are the last words')"
        (placed,) = backend.start([WorkerCommand(net.network_id, ("w1",), ("-c", code), b"secret")])
        self.wait_until(lambda: _states(backend, [placed]) == {PlacementState.ENDED}, "it is seen ended")
        self.wait_until(lambda: "these are the last words" in backend.tail(placed), "its stderr is there")
        assert "not the last" not in backend.tail(placed, lines=1)

    def test_a_worker_that_cannot_start_says_why(self, net: Rush, backend: Backend) -> None:
        workers = net.start_workers(
            loops.work, n_workers=1, backend=backend, by_value=[loops], modules=["a_module_that_is_not_there"]
        )
        with pytest.raises(WorkerStartError, match="a_module_that_is_not_there"):
            net.wait_for_workers(worker_ids=workers, timeout=self.patience)

    def test_the_way_to_the_server_can_be_tried(self, net: Rush, backend: Backend) -> None:
        assert check_way(net.config, backend, self.patience, lambda _: None).ok

    def test_the_preview_shows_the_command_without_its_secret(self, net: Rush, backend: Backend) -> None:
        words = ("-m", "rush.worker", "--network", net.network_id, "--worker", "w1")
        text = backend.preview([WorkerCommand(net.network_id, ("w1",), words, b"the-secret-word")])
        assert net.network_id in text
        assert "rush.worker" in text
        assert "the-secret-word" not in text

    def test_secrets_show_nowhere(self, net: Rush, backend: Backend) -> None:
        net.start_workers(loops.describe, n_workers=1, backend=backend, by_value=[loops])
        self.wait_until(lambda: net.n_finished_tasks == 1, "the worker has described itself")
        key = signing_key_for(net.config)
        secret = [text for text in (net.config.password, key.hex() if isinstance(key, bytes) else key) if text]
        shown = net.fetch_finished_tasks()["seen"].iloc[0]["shown"]
        assert "rush.worker" in shown
        assert not [word for word in shown if any(text in word for text in secret)]

    def test_another_process_can_poll_and_stop(self, net: Rush, backend: Backend) -> None:
        self.start(net, backend, loops.work, 1)
        (placed,) = _placements(net)
        done = subprocess.run(
            [sys.executable, "-P", elsewhere.__file__],
            input=pickle.dumps((type(backend), placed, self.patience)),
            env=child_environment({"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}),
            stderr=subprocess.PIPE,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def test_each_worker_has_devices_of_its_own(self, net: Rush, backend: Backend) -> None:
        backend.gpus_per_worker = 2
        workers = net.start_workers(loops.describe, n_workers=2, backend=backend, by_value=[loops])
        self.wait_until(lambda: net.n_finished_tasks == len(workers), "the workers have described themselves")
        found = net.fetch_finished_tasks().set_index("worker")["seen"]
        for place in _placements(net):
            devices = [device for worker in place.worker_ids for device in found[worker]["devices"]]
            assert len(devices) == len(set(devices)) == 2 * len(place.worker_ids)


def _placements(net: Rush) -> list[Placement]:
    return list({one.id: one for one in net.placements.values()}.values())


def _states(backend: Backend, placements: Sequence[Placement]) -> set[PlacementState]:
    found = backend.poll(placements)
    return {found[one.id].state for one in placements}


def _beat(net: Rush) -> float:
    found = net.read_hash("beat", ["at"])
    return float(found["at"]) if found is not None else 0.0


def _is_silent(net: Rush) -> bool:
    """Say whether nothing is left of what beats every tenth of a second."""
    last = _beat(net)
    time.sleep(_SILENCE)
    return _beat(net) == last
