"""``python -m rush.worker``: runs the loops of one or more workers under a supervisor."""

import argparse
import logging
import sys
from collections.abc import Sequence

from rush.config import read_secrets
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
