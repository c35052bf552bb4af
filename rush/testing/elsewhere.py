"""What another process does that was handed a placement, as the command line is: it polls and stops it. A script."""

import pickle
import sys
import time


def main() -> None:
    """Read a backend's class, a placement and a patience; see it running, kill it, see it ended."""
    kind, placement, patience = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the test
    backend = kind()
    deadline = time.monotonic() + patience
    for wanted in ("running", "ended"):
        while (status := backend.poll([placement])[placement.id]).state != wanted:
            if time.monotonic() > deadline:
                sys.exit(f"another process saw it {status.state} ({status.reason}), not {wanted}")
            time.sleep(0.05)
        backend.stop([placement], kill=True)


if __name__ == "__main__":
    main()
