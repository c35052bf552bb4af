"""`python -m benchmarks.compare NAME`: measure one system; the server's URL comes by standard input, JSON goes out."""

import importlib
import json
import sys

from benchmarks.compare.system import speed


def main() -> None:
    name, url = sys.argv[1], sys.stdin.readline().strip()
    try:
        module = importlib.import_module(f"benchmarks.compare.{name}")
    except ModuleNotFoundError as error:
        print(json.dumps({"missing": error.name}))
        return
    with module.start(url) as system:
        rate, latency = speed(system)
    print(json.dumps({"rate": rate, "latency": latency}))


if __name__ == "__main__":
    main()
