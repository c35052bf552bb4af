"""Every Redis key that rush uses. The keys of a network share one hash tag, so a network lives on one shard."""

import re

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")


def check_id(value: object, what: str) -> str:
    """Give `value` back if it can be a network or worker id, else raise."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, got {value!r}")
    if not _ID.match(value):
        raise ValueError(f"{what} must be 1 to 128 of A-Z a-z 0-9 . _ -, got {value!r}")
    return value


def network_of(key: str) -> str | None:
    """Read the network id out of a network's `meta` key; None for any other key."""
    match = re.fullmatch(r"rush:\{([A-Za-z0-9._-]{1,128})\}:meta", key)
    return match.group(1) if match else None


META_PATTERN = "rush:{*}:meta"


class Keys:
    """The keys of one network; `docs/reference/protocol.md` says what each one holds."""

    def __init__(self, network_id: str) -> None:
        self.prefix = f"rush:{{{network_id}}}:".encode()
        for name in Keys.__annotations__:
            setattr(self, name, self.prefix + name.encode())

    meta: bytes
    sessions: bytes
    workers: bytes
    ended: bytes
    beats: bytes
    vitals: bytes
    suspects: bytes
    stops: bytes
    queued: bytes
    queue: bytes
    running: bytes
    log: bytes
    index: bytes
    failed: bytes
    bell: bytes
    cancels: bytes
    user: bytes
    events: bytes
    loops: bytes
    logs: bytes
    placements: bytes

    def poke(self, name: str) -> bytes:
        """List on which a worker or a supervisor is woken."""
        return self.prefix + b"poke:" + name.encode()
