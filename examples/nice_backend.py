"""A backend of one's own: workers of low priority on this machine, as the command `nice` starts them."""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import rush
from rush.backends import Backend, processes
from rush.config import child_environment
from rush.model import Placement, PlacementStatus, WorkerCommand


class Nice(Backend):
    name = "nice"

    def start(self, commands: Sequence[WorkerCommand]) -> Sequence[Placement]:
        return [self.start_one(command) for command in commands]

    def start_one(self, command: WorkerCommand) -> Placement:
        stderr = Path(tempfile.mkdtemp(prefix="nice-"), "stderr")
        argv = ["nice", *command.argv(sys.executable), *processes.module_paths()]
        with tempfile.TemporaryFile() as secret, stderr.open("wb") as file:
            secret.write(command.secret + b"\n")
            secret.seek(0)
            process = subprocess.Popen(argv, stdin=secret, stderr=file, env=child_environment(), start_new_session=True)
        processes.adopt(process)
        return processes.placement(self.name, command, process.pid, stderr=str(stderr))

    def poll(self, placements: Sequence[Placement]) -> Mapping[str, PlacementStatus]:
        return {placement.id: processes.status_of(placement) for placement in placements}

    def stop(self, placements: Sequence[Placement], *, kill: bool) -> None:
        for placement in placements:
            processes.stop(placement, kill=kill)

    def preview(self, commands: Sequence[WorkerCommand]) -> str:
        return "\n".join(shlex.join(["nice", *command.argv("python")]) for command in commands)

    def tail(self, placement: Placement, lines: int = 50) -> str:
        return processes.tail_of(placement.stderr, lines)


def square(worker: rush.RushWorker) -> None:
    for task in worker.tasks():
        task.finish({"y": task.xs["x"] ** 2})


if __name__ == "__main__":
    rush.register_backend("nice", Nice)
    with rush.rsh("nice") as net:
        keys = net.push_tasks([{"x": n} for n in range(20)])
        net.start_workers(square, n_workers=2, backend="nice")
        net.wait_for_tasks(keys)
        print(net.fetch_finished_tasks()[["worker_id", "x", "y"]])
        net.reset()
