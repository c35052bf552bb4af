"""``python -m rush.worker``: runs the loops of one or more workers under a supervisor."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from rush.config import RedisConfig
from rush.errors import RushError
from rush.keys import check_id
from rush.names import new_worker_id
from rush.supervisor.main import Supervisor


def parser() -> argparse.ArgumentParser:
    """Make the command's parser."""
    made = argparse.ArgumentParser(
        prog="python -m rush.worker",
        description="Run workers of a rush network under a supervisor. Managers start this; so do job scripts.",
        epilog="It ends with 0 when all loops ended as they were told or returned, with 1 when one failed.",
    )
    made.add_argument("--network", required=True, metavar="ID", help="the network to join")
    made.add_argument("--loop", metavar="ID", help="the stored worker loop to run (default: the one stored last)")
    made.add_argument(
        "--worker", action="append", metavar="ID", help="id of a worker; once for each (default: one, named at random)"
    )
    made.add_argument(
        "--secrets",
        required=True,
        metavar="FILE",
        help="file of mode 0600 with the server's address and keys; - for standard input",
    )
    made.add_argument("--supervised", action="store_true", help="end when standard input is closed")
    made.add_argument("--folder", metavar="PATH", help="folder for the workers' output (default: a new temporary one)")
    made.add_argument(
        "--path", action="append", default=[], metavar="FOLDER", help="where to look for modules, too; may be repeated"
    )
    return made


def read_secrets(path: str) -> RedisConfig:
    """Read the server's address and keys from a file that only its owner can read, or from standard input."""
    if path == "-":
        return RedisConfig.from_secret(_first_line())
    file = Path(path)
    try:
        if file.stat().st_mode & 0o077:
            raise RushError(f"{path} can be read by others; make it your own: chmod 600 {path}")
        return RedisConfig.from_secret(file.read_bytes().strip())
    except OSError as error:
        raise RushError(f"cannot read the secrets in {path}: {error.strerror}") from error


def _first_line() -> bytes:
    """Read one line of standard input and not a byte more: the rest is watched for its end."""
    line = bytearray()
    source = sys.stdin.buffer.raw if hasattr(sys.stdin.buffer, "raw") else sys.stdin.buffer
    while (byte := source.read(1)) and byte != b"\n":
        line += byte
    return bytes(line)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; give its exit code."""
    options = parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("rush.supervisor").setLevel(logging.INFO)
    try:
        network = check_id(options.network, "--network")
        workers = [check_id(worker, "--worker") for worker in options.worker or [new_worker_id()]]
        sys.path += [folder for folder in options.path if folder not in sys.path]
        config = read_secrets(options.secrets)
        supervisor = Supervisor(
            config, network, options.loop, workers, supervised=options.supervised, folder=options.folder
        )
        return supervisor.run()
    except (RushError, ValueError) as error:
        print(f"rush: {error}", file=sys.stderr)  # noqa: T201 - the command's own error
        return 1


if __name__ == "__main__":
    sys.exit(main())
