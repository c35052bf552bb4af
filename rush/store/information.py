"""What a server says of itself."""

from rush.config import RedisConfig
from rush.store.channel import Readers


def server_info(config: RedisConfig) -> dict[str, str]:
    """Ask a server for its INFO: version, process, memory, clients and so on, as it names them.

    Raises
    ------
    ConnectionFailed
        It is out of reach, or refuses the password.
    """
    readers = Readers(config, b"")
    try:
        return parsed(readers.ask("INFO"))
    finally:
        readers.close()


def parsed(info: bytes) -> dict[str, str]:
    """Read the answer to INFO."""
    return dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line and not line.startswith("#"))
