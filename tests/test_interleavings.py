"""Random interleavings of a manager and three workers against a model: no task in two states, none in none."""

import secrets
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import rush
from rush.manager import Rush
from rush.model import Ending

WORKERS = st.sampled_from(["w0", "w1", "w2"])


@dataclass
class ModelTask:
    state: str
    order: int
    most: int
    used: int = 0
    owner: str | None = None
    born_running: bool = False


def machine(config):  # noqa: C901 - rules of one machine
    """Make the machine for one server."""

    class Interleavings(RuleBasedStateMachine):
        @initialize()
        def begin(self):
            self.net = Rush(f"machine-{secrets.token_hex(6)}", config)
            self.workers = {w: rush.RushWorker(self.net.network_id, config, w) for w in ("w0", "w1", "w2")}
            self.model = {}
            self.held = []
            self.finished = []

        def teardown(self):
            if not hasattr(self, "net"):
                return
            client = self.net.connector
            keys = list(client.scan_iter(match=f"rush:[{{]{self.net.network_id}[}}]:*"))
            if keys:
                client.delete(*keys)
            client.close()
            for one in (self.net, *self.workers.values()):
                one._session.close()
                one._store.close()

        def actor(self, name):
            return self.net if name == "net" else self.workers[name]

        def queue(self):
            return sorted((k for k, t in self.model.items() if t.state == "queued"), key=lambda k: self.model[k].order)

        def add(self, key, state, most=1, **more):
            self.model[key] = ModelTask(state, len(self.model), most, **more)

        def end(self, key, state):
            task = self.model[key]
            task.state, task.owner = state, None
            if state == "finished":
                self.finished.append(key)

        @rule(n=st.integers(1, 4), most=st.integers(1, 3), name=st.sampled_from(["net", "w0", "w1"]))
        def push(self, n, most, name):
            for key in self.actor(name).push_tasks([{"x": i} for i in range(n)], max_tries=most):
                self.add(key, "queued", most)

        @rule(worker=WORKERS)
        def push_running(self, worker):
            (key,) = self.workers[worker].push_running_tasks([{"x": 1}])
            self.add(key, "running", owner=worker, born_running=True)
            self.held.append((worker, key))

        @rule(name=st.sampled_from(["net", "w2"]))
        def push_ended(self, name):
            (done,) = self.actor(name).push_finished_tasks([{"x": 1}], [{"y": 1}])
            self.add(done, "finished")
            self.finished.append(done)
            (failed,) = self.actor(name).push_failed_tasks([{"x": 1}])
            self.add(failed, "failed")

        @rule(worker=WORKERS)
        def pop(self, worker):
            task = self.workers[worker].pop_task(timeout=0)
            expected = next(iter(self.queue()), None)
            assert (task and task.key) == expected
            if task is not None:
                model = self.model[task.key]
                model.state, model.owner = "running", worker
                assert task.tries == model.used + 1
                self.held.append((worker, task.key))

        @precondition(lambda self: self.held)
        @rule(
            data=st.data(),
            by=st.sampled_from(["owner", "net", "w0", "w1", "w2"]),
            how=st.sampled_from(["finish", "fail"]),
        )
        def settle(self, data, by, how):
            worker, key = data.draw(st.sampled_from(self.held))
            name = worker if by == "owner" else by
            task = self.model[key]
            may = task.state == "running" and (name in {"net", task.owner})
            actor = self.actor(name)
            moved = actor.finish_tasks([key], [{"y": 1}]) if how == "finish" else actor.fail_tasks([key])
            assert moved == ([key] if may else [])
            if may:
                self.end(key, "finished" if how == "finish" else "failed")

        @precondition(lambda self: self.model)
        @rule(data=st.data())
        def cancel(self, data):
            key = data.draw(st.sampled_from(sorted(self.model)))
            may = self.model[key].state in {"queued", "running"}
            assert self.net.cancel_tasks([key]) == ([key] if may else [])
            if may:
                self.end(key, "failed")

        @rule()
        def empty(self):
            queued = self.queue()
            assert self.net.empty_queue() == queued
            for key in queued:
                self.end(key, "failed")

        @rule(worker=WORKERS, uses_try=st.booleans())
        def lose_loop(self, worker, uses_try):
            session = self.workers[worker]._session
            assert session.store.bury(worker, session.incarnation, Ending("gone", uses_try=uses_try, respawn=True))
            session._incarnation = None
            session.resume()
            self.held = [(w, k) for w, k in self.held if w != worker]
            for key, task in self.model.items():
                if task.owner == worker:
                    task.used += uses_try
                    over = task.born_running or task.used >= task.most
                    self.end(key, "failed" if over else "queued")

        @invariant()
        def states_agree(self):
            if not hasattr(self, "net"):
                return
            found = self.net.tasks_with_state()
            for state, keys in found.items():
                assert sorted(keys) == sorted(k for k, t in self.model.items() if t.state == state)
            assert found["queued"] == self.queue()
            assert found["finished"] == self.finished
            assert self.net.n_tasks == len(self.model)

    return Interleavings


@pytest.mark.slow
def test_random_interleavings_agree_with_the_model(config):
    run_state_machine_as_test(
        machine(config),
        settings=settings(
            max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
