"""What a supervisor hands to its zygote and loops."""

from dataclasses import dataclass

from rush.config import RedisConfig
from rush.model import LoopSpec


@dataclass(frozen=True)
class Assignment:
    """All that the loops of one supervisor have in common.

    Attributes
    ----------
    secret
        `RedisConfig.to_secret`, for loops in interpreters of their own.
    folder
        Where the loops' output goes, unless the spec names folders.
    """

    config: RedisConfig
    network_id: str
    spec: LoopSpec
    worker_ids: tuple[str, ...]
    token: str
    supervisor_id: str
    folder: str
    ends_at: float | None

    def output_paths(self, worker_id: str) -> tuple[str, str]:
        """Give the files for a loop's stdout and stderr."""
        out = self.spec.output_log
        err = self.spec.message_log
        return (
            f"{out}/output_{worker_id}.log" if out else f"{self.folder}/{worker_id}.out",
            f"{err}/message_{worker_id}.log" if err else f"{self.folder}/{worker_id}.err",
        )
