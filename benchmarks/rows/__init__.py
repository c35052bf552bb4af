"""The rows of the table, in its order: each measures one thing, or several that belong together."""

from collections.abc import Callable, Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.rows import drain, others, push, reading, round_trips, starting, waking

Row = Callable[[Bench], Iterator[Figure]]

ROWS: dict[str, Row] = {
    "finish": round_trips.push_running_and_finish,
    "pop": round_trips.pop_and_finish,
    "push": push.push_tasks,
    "drain": drain.drain,
    "read": reading.reading,
    "wake": waking.wake_up,
    "import": starting.importing,
    "start": starting.start_up,
    "memory": starting.supervisor_memory,
    "beats": starting.heartbeats,
    "compare": others.compare,
}

QUICK = ("finish", "pop", "push", "drain", "read", "wake", "import")
"""Those that are done in a minute and hold on a machine that has other things to do."""
