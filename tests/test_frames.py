"""Data frames over the cache of finished tasks: typed, cheap, and nobody's to change."""

# ruff: noqa: PD002, PD009, PD011, PLW0177 - what users do to frames is what is tested

import logging
import math
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rush.frames import FIELDS, FinishedCache, concat, frame_of

ALL = ("xs", "ys", "xs_extra", "worker_id", "ys_extra")


def row(at, xs, ys=None, xs_extra=None, ys_extra=None, worker="w"):
    return [at, f"key{at:03d}", xs, xs_extra, 1, worker, {} if ys is None else ys, ys_extra]


def cache_of(*rows):
    cache = FinishedCache()
    cache.extend(rows)
    return cache


def column(*cells):
    """Give the column that these cells make; ... stands for a task without it."""
    return cache_of(*(row(at, {} if cell is ... else {"x": cell}) for at, cell in enumerate(cells))).frame(("xs",))["x"]


def test_the_index_is_the_key():
    frame = cache_of(row(0, {"x": 1.0}), row(1, {"x": 2.0})).frame(("xs",))
    assert frame.index.name == "key"
    assert frame.index.tolist() == ["key000", "key001"]
    assert frame.loc["key001", "x"] == 2.0
    assert frame.index.dtype == pd.Index(["a"]).dtype


@pytest.mark.parametrize(
    ("cells", "dtype", "expected"),
    [
        ([1.0, 2.5], "float64", [1.0, 2.5]),
        ([1, 2], "int64", [1, 2]),
        ([1, None], "Int64", [1, pd.NA]),
        ([1, ...], "Int64", [1, pd.NA]),
        ([..., 1], "Int64", [pd.NA, 1]),
        ([1, 2.5], "float64", [1.0, 2.5]),
        ([1, ..., 2.5], "float64", [1.0, math.nan, 2.5]),
        ([True, False], "bool", [True, False]),
        ([True, ...], "boolean", [True, pd.NA]),
        (["a", "b"], "str", ["a", "b"]),
        (["a", ...], "object", ["a", None]),
        ([1, "a"], "object", [1, "a"]),
        ([True, 1], "object", [True, 1]),
        ([1.5, "a", ...], "object", [1.5, "a", None]),
        ([2**63, 1], "object", [2**63, 1]),
        ([1.5, 10**400], "object", [1.5, 10**400]),
        ([[1, 2], [3]], "object", [[1, 2], [3]]),
        ([[1, 2], 3], "object", [[1, 2], 3]),
        ([(1, 2), (3, 4)], "object", [(1, 2), (3, 4)]),
        ([{"a": 1}, ...], "object", [{"a": 1}, None]),
        ([None, None], "object", [None, None]),
        ([np.float32(1.5), 2.0], "float64", [1.5, 2.0]),
        ([b"a", b"b"], "object", [b"a", b"b"]),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_columns_are_typed(cells, dtype, expected, at_once):
    cache = FinishedCache()
    rows = [row(at, {} if cell is ... else {"x": cell}) for at, cell in enumerate(cells)]
    if at_once:
        cache.extend(rows)
    else:
        for one in rows:
            cache.extend([one])
            cache.frame(("xs",))
    found = cache.frame(("xs",))["x"]
    assert str(found.dtype) == dtype
    for cell, wanted in zip(found.array, expected, strict=True):
        assert (pd.isna(cell) and pd.isna(wanted)) if wanted is pd.NA or wanted is math.nan else cell == wanted
        if wanted is None or wanted is pd.NA:
            assert cell is wanted


def test_a_vector_stays_one_cell():
    cells = column(np.arange(3.0), np.arange(3.0))
    assert cells.shape == (2,)
    assert cells.iloc[0].tolist() == [0.0, 1.0, 2.0]


def test_columns_stand_in_the_order_of_the_fields():
    cache = cache_of(row(0, {"b": 1.0, "a": 2.0}, {"y": 1.0}, {"e": 1}, {"f": 2}), row(1, {"a": 1.0, "c": 2.0}))
    assert list(cache.frame(("ys", "xs"))) == ["y", "b", "a", "c"]
    assert list(cache.frame(ALL)) == ["b", "a", "c", "y", "e", "worker_id", "f"]
    assert list(cache.frame(("worker_id",))) == ["worker_id"]


def test_clashing_names_keep_the_input_and_name_the_group_of_the_others():
    cache = cache_of(row(0, {"x": 1}, {"x": 2, "y": 5}, {"x": 3, "y": 6}, {"x": 4}))
    frame = cache.frame(ALL)
    assert frame.iloc[0].drop("worker_id").to_dict() == {
        "x": 1, "ys.x": 2, "ys.y": 5, "xs_extra.x": 3, "y": 6, "ys_extra.x": 4,
    }  # fmt: skip
    assert list(cache.frame(("ys",))) == ["ys.x", "ys.y"]


def test_unknown_fields_are_refused_with_near_matches():
    with pytest.raises(ValueError, match=r"field 'xss'.*xs"):
        FinishedCache().frame(("xss",))


def test_an_empty_frame_has_only_the_known_columns():
    frame = FinishedCache().frame(ALL)
    assert frame.shape == (0, 0)
    assert frame.index.name == "key"
    assert list(cache_of(row(0, {"x": 1})).frame(("xs",), 1)) == ["x"]
    assert frame_of([], FIELDS).empty


def test_a_part_of_the_rows_can_be_asked_for():
    cache = cache_of(*(row(at, {"x": at}) for at in range(10)))
    assert cache.frame(("xs",), 3, 5)["x"].tolist() == [3, 4]
    assert cache.frame(("xs",), 8)["x"].tolist() == [8, 9]
    assert cache.keys(8) == ["key008", "key009"]
    assert cache.created().tolist() == list(range(10))
    with pytest.raises(ValueError, match="read-only"):
        cache.created()[0] = 5


def test_a_state_column_stands_first():
    cache = cache_of(row(0, {"x": 1}))
    assert list(cache.frame(("xs",), state="finished").columns) == ["state", "x"]
    frame = frame_of([[0, "a", {"x": 1}, None], [1, "b", {"x": 2}, None]], ("xs",), "queued")
    assert frame["state"].tolist() == ["queued", "queued"]


def test_conditions_are_dicts():
    condition = {"message": "no", "type": None}
    frame = frame_of([[0, "a", {"x": 1}, None, 1, "w", None, None, condition]], ("xs", "worker_id", "condition"))
    assert frame.loc["a", "condition"] == condition
    assert list(frame) == ["x", "worker_id", "condition"]


BAD = [
    [0],
    [],
    [0, "a", None, None],
    [0, "a", [1], None],
    [0, 1, {}, None],
    ["0", "a", {}, None],
    [2**64, "a", {}, None],
    [0, "a", {}, "extra"],
    [0, "a", {}, None, 1, 5],
    [0, "a", {}, None, 1, "w", "ys"],
    [0, "a", {}, None, 1, "w", {}, 3],
    [0] * 12,
]


@pytest.mark.parametrize("bad", BAD, ids=repr)
def test_rows_that_make_no_sense_are_left_out_with_one_warning(bad, caplog):
    good = row(1, {"x": 1})
    with caplog.at_level(logging.WARNING, "rush"):
        frame = frame_of([bad, good, bad], ("xs",), "a")
    assert frame["x"].tolist() == [1]
    assert frame["state"].tolist() == ["a"]
    assert len(caplog.records) == 1
    assert FinishedCache().extend([bad, good]) == 1


CELLS = {"f": 1.5, "i": 1, "b": True, "t": "a", "o": [1, {"n": [2]}], "mi": None, "mb": None, "ot": None, "a": None}
NEW = {"f": 9.0, "i": 9, "b": False, "t": "z", "o": "z", "mi": 9, "mb": False, "ot": "z", "a": "z"}


def filled(n=3, start=0):
    later = {"mi": 3, "mb": True, "ot": "b", "a": np.arange(2.0)}
    return [row(at, {**CELLS, **(later if at % 3 else {})}, {"y": 1.0}) for at in range(start, start + n)]


def snapshot(frame):
    return [repr(list(frame[name].array)) for name in frame] + [list(frame.index), list(map(str, frame.dtypes))]


def by_loc(frame, name):
    frame.loc["key001", name] = NEW[name]


def by_iat(frame, name):
    frame.iat[1, list(frame).index(name)] = NEW[name]


def by_whole_column(frame, name):
    frame.loc[:, name] = NEW[name]


def by_values(frame, name):
    frame[name].values[1] = NEW[name]


def by_array(frame, name):
    frame[name].array[1] = NEW[name]


def by_to_numpy(frame, name):
    frame[name].to_numpy()[1] = NEW[name]


def by_asarray(frame, name):
    np.asarray(frame[name])[1] = NEW[name]


def by_buffers(frame, name):
    array = frame[name].array
    for part in ("_data", "_mask", "_ndarray"):
        if hasattr(array, part):
            getattr(array, part)[1] = NEW[name]


def by_fillna(frame, name):
    if frame[name].isna().any():
        frame.fillna({name: NEW[name]}, inplace=True)


def by_replace(frame, name):
    frame.replace({name: {CELLS[name] if name != "o" else 0: NEW[name]}}, inplace=True)


def by_sorting(frame, name):
    frame.sort_index(ascending=False, inplace=True)
    frame.iloc[0, 0] = 9.0


def by_a_series(frame, name):
    series = frame[name]
    series.iloc[1] = NEW[name]


def by_a_slice(frame, name):
    part = frame.iloc[1:]
    part.loc["key001", name] = NEW[name]


def by_shallow_copy(frame, name):
    copied = frame.copy(deep=False)
    copied.loc["key001", name] = NEW[name]


def by_rows(frame, name):
    frame.drop(index="key001", inplace=True)
    frame[name] = [NEW[name]] * len(frame)


def by_the_index(frame, name):
    np.asarray(frame.index)[0] = "z"


def by_the_index_array(frame, name):
    frame.index.array[0] = "z"


def by_reset_index(frame, name):
    table = frame.reset_index()
    table.loc[0, "key"] = "z"
    table["key"].array[1] = "z"


def by_index_to_frame(frame, name):
    table, series = frame.index.to_frame(), frame.index.to_series()
    table.iloc[0, 0] = "z"
    series.iloc[0] = "z"


WAYS = [value for name, value in sorted(globals().items()) if name.startswith("by_")]


@pytest.mark.parametrize("kept", [True, False], ids=["cache kept", "cache grown"])
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_a_caller_does_to_a_frame_stays_there(way, name, kept):
    cache = cache_of(*filled())
    frame, other = cache.frame(("xs", "ys")), cache.frame(("xs",))
    before, before_other = snapshot(cache.frame(("xs", "ys"))), snapshot(other)
    if not kept:
        cache.extend(filled(200, 3))
    try:
        with warnings.catch_warnings(action="ignore"):
            way(frame, name)
    except (ValueError, TypeError) as error:
        assert "read-only" in str(error) or isinstance(error, TypeError)  # noqa: PT017 - refusing is an answer, too
    assert snapshot(other) == before_other
    assert snapshot(cache.frame(("xs", "ys"), 0, 3)) == before


def test_cells_that_can_be_changed_are_each_frames_own():
    cache = cache_of(*filled())
    frame = cache.frame(("xs",))
    before = snapshot(cache.frame(("xs",)))
    frame["o"].iloc[0].append(3)
    frame["o"].iloc[0][1]["n"].append(3)
    frame["a"].iloc[1][0] = 77.0
    assert snapshot(cache.frame(("xs",))) == before


def test_frames_never_change_when_the_cache_grows_or_a_column_changes_its_type():
    cache = FinishedCache()
    held = []
    changes = [1, 2, None, 3.5, "a", [1], None, True]
    for at in range(300):
        cell = changes[min(at // 20, len(changes) - 1)]
        cache.extend(
            [row(at, {"x": cell, "f": float(at), "t": "a" if at < 100 else None}, {"y": at} if at % 7 else {})]
        )
        frame = cache.frame(ALL)
        held.append((frame, snapshot(frame)))
    for frame, then in held:
        assert snapshot(frame) == then


def test_a_frame_outlives_its_cache():
    cache = cache_of(*filled())
    frame = cache.frame(("xs",))
    then = snapshot(frame)
    del cache
    assert snapshot(frame) == then
    frame.loc["key001", "f"] = 5.0
    assert frame.loc["key001", "f"] == 5.0


def test_usual_work_on_a_frame_works():
    frame = cache_of(*filled(10)).frame(("xs", "ys"))
    assert frame.sort_values("y").shape == frame.shape
    frame["new"] = 1
    frame["f"] = frame["f"].fillna(0) * 2
    assert frame["f"].sum() == 30.0
    assert frame[frame["t"] == "a"].shape[0] == 10
    assert frame.groupby("t")["y"].mean().tolist() == [1.0]
    assert frame["t"].str.upper().tolist() == ["A"] * 10
    assert frame.describe().loc["count", "f"] == 10
    assert frame.reset_index()["key"].tolist() == frame.index.tolist()
    assert pd.concat([frame, frame]).shape[0] == 20
    assert frame.to_csv().startswith("key,")
    assert frame.index.get_loc("key003") == 3
    assert frame.join(frame["f"].rename("g")).shape[0] == 10
    frame.iloc[0, 0] = 4.0
    assert "o" not in frame.drop(columns="o")


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from("abc"),
            st.none()
            | st.integers(-(2**70), 2**70)
            | st.floats()
            | st.booleans()
            | st.text(max_size=3)
            | st.lists(st.integers()),
        ),
        max_size=12,
    ),
    st.lists(st.integers(1, 4), min_size=12, max_size=12),
)
@settings(deadline=None)
def test_reading_in_parts_gives_the_frame_of_reading_at_once(dicts, steps):
    rows = [row(at, xs) for at, xs in enumerate(dicts)]
    parts = FinishedCache()
    at = 0
    for step in steps:
        parts.extend(rows[at : at + step])
        parts.frame(ALL)
        at += step
    pd.testing.assert_frame_equal(parts.frame(ALL), cache_of(*rows).frame(ALL), check_like=True)


def test_frames_of_several_states_join():
    one = cache_of(row(0, {"i": 1, "t": "a", "b": True}, {"y": 1.0})).frame(("xs", "ys"))
    two = frame_of([[1, "q", {"i": 2, "t": "b", "b": False}, None]], ("xs", "ys"))
    table = concat([one, two])
    assert list(map(str, table.dtypes)) == ["int64", "str", "bool", "float64"]
    assert table.index.name == "key"
    assert table.index.tolist() == ["key000", "q"]
    assert math.isnan(table.loc["q", "y"])
    three = frame_of([[2, "r", {"i": None, "b": None}, None]], ("xs",))
    table = concat([one, three])
    assert table.loc["r", "i"] is pd.NA
    assert table.loc["r", "t"] is None
    assert concat([one, FinishedCache().frame(("xs",))]) is one
    assert concat([FinishedCache().frame(("xs",))]).empty


def test_importing_frames_imports_neither_pandas_nor_numpy():
    code = "import sys, rush.frames; rush.frames.FinishedCache(); assert not {'pandas', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_one_new_row_costs_the_same_on_a_large_cache():
    def cost(n):
        cache = cache_of(*([at, f"k{at}", {"x1": 0.5, "x2": 1.5}, None, 1, "w", {"y": 1.0}, None] for at in range(n)))
        times = []
        for at in range(60):
            new = [[n + at, f"k{n + at}", {"x1": 0.5, "x2": 1.5}, None, 1, "w", {"y": 1.0}, None]]
            start = time.perf_counter()
            cache.extend(new)
            cache.frame(ALL)
            times.append(time.perf_counter() - start)
        return sorted(times)[len(times) // 2]

    small, large = cost(1_000), cost(100_000)
    assert large < max(3 * small, 0.001)
