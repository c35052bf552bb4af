"""One task there and back by the public API, in PINGs."""

from collections.abc import Callable, Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.ping import SIZE, beside
from rush import Rush, RushWorker

XS = {"x1": 0.25, "x2": 0.75}
YS = {"y": 0.5}
Prepare = Callable[[RushWorker, int], Callable[[], None]]
"""Makes a step that is taken so often, by a worker."""

RUNNING, POPPING = "push_running_tasks + finish_tasks", "pop_task + finish_tasks"
GOALS = {"different cores": Goal(3.0, in_pings=True), "one core": Goal(4.0, in_pings=True)}


def push_running_and_finish(bench: Bench) -> Iterator[Figure]:
    yield from _measure(bench, "finish", RUNNING, _running)


def pop_and_finish(bench: Bench) -> Iterator[Figure]:
    yield from _measure(bench, "pop", POPPING, _popping)


def among(bench: Bench, net: Rush, n: int) -> Iterator[Figure]:
    """Measure both in a network that has so many finished tasks."""
    for what, prepare in ((RUNNING, _running), (POPPING, _popping)):
        for cores, goal in GOALS.items():
            with bench.pinned(together=cores == "one core"):
                measured = [_repeat(bench, net, prepare) for _ in range(bench.repeats)]
            times, pings, ratios, _ = zip(*measured, strict=True)
            where = f"one task, client and server on {cores}, among {n:,} finished"
            yield Figure("read", f"{what}, {where}", "us", times, goal, ratios, min(pings))


def _running(worker: RushWorker, _steps: int) -> Callable[[], None]:
    def step() -> None:
        (key,) = worker.push_running_tasks([XS])
        worker.finish_tasks([key], [YS])

    return step


def _popping(worker: RushWorker, steps: int) -> Callable[[], None]:
    worker.push_tasks([XS] * steps)

    def step() -> None:
        task = worker.pop_task()
        worker.finish_tasks([task.key], [YS])  # type: ignore[union-attr]  # there are as many as are taken

    return step


def _measure(bench: Bench, row: str, what: str, prepare: Prepare) -> Iterator[Figure]:
    for cores, goal in GOALS.items():
        with bench.pinned(together=cores == "one core"):
            measured = []
            for _ in range(bench.repeats):
                with bench.network() as net:
                    measured.append(_repeat(bench, net, prepare))
        times, pings, ratios, served = zip(*measured, strict=True)
        where = f"one task, client and server on {cores}"
        yield Figure(row, f"{what}, {where}", "us", times, goal, ratios, min(pings))
        if cores == "different cores":
            yield Figure(row, f"server time for {what}", "us/task", served, ping=min(pings))


def _repeat(bench: Bench, net: Rush, prepare: Prepare) -> tuple[float, float, float, float]:
    """Give microseconds of a step and of a PING, PINGs of a step, and microseconds of the server for a step."""
    blocks = 100 if bench.quick else 300
    with RushWorker(net.network_id, net.config) as worker:
        before = worker.n_finished_tasks
        alone = 40 * SIZE
        steps = alone + blocks * SIZE
        step = prepare(worker, steps)
        busy = bench.server_seconds()
        for _ in range(alone):
            step()
        served = (bench.server_seconds() - busy) / alone * 1e6
        measured = beside(bench.ping, step, blocks=blocks, undisturbed=bench.quick)
        if (n := worker.n_finished_tasks - before) != steps:
            raise RuntimeError(f"{n} tasks were finished, not {steps}")
    return *measured, served
