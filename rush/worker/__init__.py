"""Workers: what a loop is handed, and the command that runs loops."""

from rush.worker.queue import QueuedTask
from rush.worker.start import start_worker
from rush.worker.worker import RushWorker

__all__ = ["QueuedTask", "RushWorker", "start_worker"]
