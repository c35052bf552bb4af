"""`python -m benchmarks.page`: write the tables of docs/explanation/performance.md from the JSON files beside it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Any

from benchmarks.report import number
from benchmarks.rows import ROWS

FOLDER = Path(__file__).parent.parent / "docs" / "explanation"
_WORKERS, _SECONDS = (100, 448, 1_000, 2_000, 3_000, 5_000, 10_000), (1, 10, 60)
PAGE = FOLDER / "performance.md"


def written(page: str, measured: Mapping[str, Any], scale: Mapping[str, Any]) -> str:
    """Give the page with its tables made anew."""
    parts = {
        "figures": _surroundings(measured) + "\n\n" + _promises(measured["figures"]),
        "comparison": _comparison(measured["figures"]),
        "stand-ins": _stand_ins(scale["stand_ins"]),
        "shard": _shard(scale["stand_ins"], scale["goal"]),
        "scale": _surroundings(scale) + "\n\n" + _scale(scale["runs"]),
    }
    for name, text in parts.items():
        before, found, rest = page.partition(f"<!-- {name} -->\n")
        _, ended, after = rest.partition(f"<!-- end of {name} -->")
        if not found or not ended:
            raise ValueError(f"the page has no part {name!r}")
        page = f"{before}{found}\n{text}\n\n{ended}{after}"
    return page


def _surroundings(found: Mapping[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    return (
        f"Measured on {found['date'][:10]} with rush {found['rush']} on {found['machine']} ({found['system']}), "
        f"Python {found['python']}, {found['server']}, {packages}. "
        f"The load of the machine was {found['load'][0]:g} when it began; priority was {found['scheduling']}."
    )


def _promises(figures: Sequence[Mapping[str, Any]]) -> str:
    order = list(ROWS)
    chosen = sorted((f for f in figures if f["row"] != "compare"), key=lambda figure: order.index(figure["row"]))
    return _table(
        ("what", "measured", "in PINGs", "of", "goal", "reached"),
        (
            (
                figure["what"],
                f"{number(figure['value'])} {figure['unit']}",
                "" if figure["pings"] is None else number(figure["pings"]),
                "" if figure["ping_us"] is None else f"{number(figure['ping_us'])} us",
                figure["goal"] or "",
                {True: "yes", False: "**no**", None: ""}[figure["reached"]],
            )
            for figure in chosen
        ),
    )


def _comparison(figures: Sequence[Mapping[str, Any]]) -> str:
    compared = [figure for figure in figures if figure["row"] == "compare"]
    latencies = {figure["what"]: figure for figure in compared if figure["unit"] == "us"}
    return _table(
        ("system", "tasks a second", "one task, there and back", "in PINGs"),
        (
            (
                figure["what"],
                figure["absent"] or number(figure["value"]),
                figure["absent"] or f"{number(latencies[figure['what']]['value'] / 1000)} ms",
                figure["absent"] or number(latencies[figure["what"]]["pings"]),
            )
            for figure in compared
            if figure["unit"] == "tasks/s"
        ),
    )


def _scale(runs: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        (
            *("workers", "measured for", "utilisation", "95 % of them at least", "the least"),
            *("all registered", "all in third cycle"),
            *("overhead of a cycle", "server, of one core", "everything, of all cores"),
        ),
        (
            (
                *(f"{run['workers']:,}", f"{run['seconds']:.0f} s"),
                *(f"{100 * run[name]:.1f} %" for name in ("utilisation", "lowest_twentieth", "least")),
                *(f"{run[name]:.1f} s" for name in ("registered", "all_at_work")),
                f"{1000 * run['cycle_overhead']:.1f} ms",
                *(f"{100 * run[name]:.1f} %" for name in ("server", "machine")),
            )
            for run in sorted(runs, key=lambda run: int(run["workers"]))
        ),
    )


def _stand_ins(loads: Sequence[Mapping[str, Any]]) -> str:
    return _table(
        ("stand-ins", "utilisation", "95 % of them at least", "server, of one core", "they, of another"),
        (
            (
                f"{load['workers']:,}",
                *(f"{100 * load[name]:.1f} %" for name in ("utilisation", "lowest_twentieth", "server", "asking")),
            )
            for load in loads
        ),
    )


def _shard(loads: Sequence[Mapping[str, Any]], goal: float) -> str:
    """Reckon what share of a server a network takes, by a least squares' line through the loads that it could bear."""
    borne = [load for load in loads if load["utilisation"] >= goal]
    a_record, a_task = linear_regression(
        [load["workers"] for load in borne], [1e6 * load["server"] / load["workers"] for load in borne]
    )

    def share(workers: int, seconds: int) -> str:
        used = 1e-6 * (workers / seconds * a_task + workers**2 / seconds * a_record)
        return f"{100 * used:.2g} %" if used < 1 else "too much"

    table = _table(
        ("workers", *(f"tasks of {seconds} s" for seconds in _SECONDS)),
        ((f"{workers:,}", *(share(workers, seconds) for seconds in _SECONDS)) for workers in _WORKERS),
    )
    return (
        f"A network of *n* workers whose tasks take *t* seconds makes *n*/*t* tasks a second, and each is read by *n* "
        f"workers.\nBy the stand-ins' runs, a task, from pushing it to finishing it and asking for what is new, takes "
        f"the server {a_task:.0f} µs,\nand a record read {a_record:.3f} µs: *n*/*t* · {a_task:.0f} µs + *n*²/*t* · "
        f"{a_record:.3f} µs.\n\n{table}"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruler = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ruler, *rows))


def main() -> None:
    measured, scale = (json.loads((FOLDER / name).read_text()) for name in ("performance.json", "scale.json"))
    PAGE.write_text(written(PAGE.read_text(), measured, scale))


if __name__ == "__main__":
    main()
