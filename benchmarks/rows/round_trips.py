"""One task there and back by the public API, in PINGs."""

from collections.abc import Callable, Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure, Goal
from benchmarks.ping import SIZE, beside
from rush import Rush, RushWorker

XS = {"x1": 0.25, "x2": 0.75}
YS = {"y": 0.5}
GOALS = {"different cores": Goal(3.0, in_pings=True), "one core": Goal(4.0, in_pings=True)}


def push_running_and_finish(bench: Bench) -> Iterator[Figure]:
    def prepare(worker: RushWorker, _steps: int) -> Callable[[], None]:
        def step() -> None:
            (key,) = worker.push_running_tasks([XS])
            worker.finish_tasks([key], [YS])

        return step

    yield from _measure(bench, "finish", "push_running_tasks + finish_tasks", prepare)


def pop_and_finish(bench: Bench) -> Iterator[Figure]:
    def prepare(worker: RushWorker, steps: int) -> Callable[[], None]:
        worker.push_tasks([XS] * steps)

        def step() -> None:
            task = worker.pop_task()
            worker.finish_tasks([task.key], [YS])  # type: ignore[union-attr]  # there are as many as are taken

        return step

    yield from _measure(bench, "pop", "pop_task + finish_tasks", prepare)


def _measure(
    bench: Bench, row: str, what: str, prepare: Callable[[RushWorker, int], Callable[[], None]]
) -> Iterator[Figure]:
    blocks = 100 if bench.quick else 300
    for cores, goal in GOALS.items():
        with bench.pinned(together=cores == "one core"):
            measured = []
            for _ in range(bench.repeats):
                with bench.network() as net:
                    measured.append(_repeat(bench, net, prepare, blocks))
        times, pings, ratios = zip(*measured, strict=True)
        yield Figure(
            row,
            f"{what}, one task, client and server on {cores}",
            "us",
            times,
            goal,
            ratios,
            min(pings),
        )


def _repeat(
    bench: Bench, net: Rush, prepare: Callable[[RushWorker, int], Callable[[], None]], blocks: int
) -> tuple[float, float, float]:
    with RushWorker(net.network_id, net.config) as worker:
        warm_up = 20
        step = prepare(worker, (blocks + warm_up) * SIZE)
        for _ in range(warm_up * SIZE):
            step()
        measured = beside(bench.ping, step, blocks=blocks, undisturbed=bench.quick)
        if (n := worker.n_finished_tasks) != (blocks + warm_up) * SIZE:
            raise RuntimeError(f"{n} tasks were finished, not {(blocks + warm_up) * SIZE}")
    return measured
