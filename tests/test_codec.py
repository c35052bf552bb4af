"""Values: what goes in comes out with its type, and what is not ours is refused."""

import collections
import contextlib
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import math
import pathlib
import subprocess
import sys
import threading
import zoneinfo

import hypothesis.extra.numpy as hnp
import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rush import extensions
from rush.codec import Codec
from rush.errors import CodecError, ConfigError

KEY = b"k" * 32
codec = Codec(KEY)
pack = msgspec.msgpack.encode

Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - the untyped kind is what is tested


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


@dataclasses.dataclass(frozen=True)
class Setting:
    a: int
    b: str


class Name(str):
    __slots__ = ()


def same(a, b):  # noqa: C901, PLR0911 - one line a type
    """Whether two values are equal, and equal in type all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and not isinstance(a, np.generic):
        return math.isnan(b) if math.isnan(a) else a == b and math.copysign(1, a) == math.copysign(1, b)
    if isinstance(a, (np.str_, np.bytes_)):
        return len(a) == len(b) and a == b
    if isinstance(a, (np.ndarray, np.generic)):
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        return all(map(same, a.ravel(), b.ravel())) if a.dtype.hasobject else a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return len(a) == len(b) and all(
            same(i, k) and same(j, m) for (i, j), (k, m) in zip(a.items(), b.items(), strict=True)
        )
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, (set, frozenset)):
        return a == b and {(type(x), x) for x in a} == {(type(x), x) for x in b}
    if isinstance(a, (dt.datetime, dt.time)):
        return a == b and a.fold == b.fold and a.isoformat() == b.isoformat()
    if isinstance(a, decimal.Decimal):
        return str(a) == str(b)
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    return a == b


hashable = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.binary(max_size=8),
    st.datetimes(timezones=st.none() | st.just(dt.UTC) | st.just(dt.timezone(dt.timedelta(hours=-5, seconds=7)))),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.decimals(),
    st.complex_numbers(),
    st.fractions(),
)
values = st.recursive(
    hashable
    | st.binary(max_size=8).map(bytearray)
    | hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0, max_side=3)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4), inner, max_size=4)
        | st.dictionaries(st.integers() | st.tuples(st.text(max_size=2)), inner, max_size=3)
        | st.frozensets(st.integers() | st.text(max_size=4), max_size=4)
        | st.sets(st.integers() | st.tuples(st.booleans()), max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_a_round_trip_keeps_value_and_type(value):
    assert same(codec.decode(codec.encode(value)), value)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), values, max_size=4))
def test_fields_keep_value_and_type(value):
    if {"key", "worker_id", "state", "condition"}.isdisjoint(value):
        assert same(codec.decode(codec.encode_fields(value, "xs")), value)


@pytest.mark.parametrize(
    "value",
    [
        2**63,
        2**64 - 1,
        2**64,
        -(2**63) - 1,
        -0.0,
        math.nan,
        math.inf,
        "\ud800",
        {"\udfff": 1},
        {1: 2, None: "x"},
        {("a", 1): [1]},
        Point(1, 2.0),
        Colour.RED,
        Level.LOW,
        Setting(1, "x"),
        Name("x"),
        {Name("x"): 1},
        collections.OrderedDict(a=1),
        range(3),
        slice(1, 2),
        int,
        pathlib.PosixPath("/tmp/\udcff"),
        dt.datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001 - naive on purpose
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=zoneinfo.ZoneInfo("UTC")),
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "Mine")),
        dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2024, 1, 1, 0, 0, 0, 123456, tzinfo=dt.UTC),
        dt.time(1, 2, tzinfo=dt.UTC),
        np.float32(1.5),
        np.float64(1.5),
        np.bool_(True),  # noqa: FBT003 - the value itself
        np.str_("x"),
        np.str_(""),
        np.bytes_(b"a\0"),
        np.str_("a\0"),
        np.datetime64("2020-01-01T00:00", "ns"),
        np.datetime64("NaT"),
        np.timedelta64(3, "h"),
        np.void(b"ab"),
        np.array(5),
        np.array([]),
        np.empty((0, 3)),
        np.arange(6.0).reshape(2, 3),
        np.arange(6).astype(">i4"),
        np.array([1, "a", None], dtype=object),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["a", "bc"]),
        np.arange(10)[::2],
        np.array(["a"], dtype=np.dtypes.StringDType()),
    ],
    ids=repr,
)
def test_rarer_values_keep_value_and_type(value):
    assert same(codec.decode(codec.encode(value)), value)


def test_decoded_arrays_can_be_written_and_keep_their_order():
    array = codec.decode(codec.encode(np.asfortranarray(np.arange(6.0).reshape(2, 3))))
    assert array.flags.f_contiguous
    assert not array.flags.c_contiguous
    array[0, 0] = 9.0


def test_pandas_objects_come_back():
    frame = pd.DataFrame({"a": [1, 2]}, index=["x", "y"])
    pd.testing.assert_frame_equal(codec.decode(codec.encode(frame)), frame)
    stamp = codec.decode(codec.encode(pd.Timestamp("2024-01-01", tz="UTC")))
    assert type(stamp) is pd.Timestamp
    assert codec.decode(codec.encode([pd.NA]))[0] is pd.NA


@given(st.binary(max_size=64))
def test_any_bytes_decode_or_raise_codec_error(data):
    with contextlib.suppress(CodecError):
        codec.decode(data)
    codec.decode_rows([data, pack([1, "k", {}, None])])


@given(st.integers(-128, 127), st.binary(max_size=40))
def test_any_extension_decodes_or_raises_codec_error(code, data):
    with contextlib.suppress(CodecError):
        codec.decode(pack(msgspec.msgpack.Ext(code, data)))


@given(values, st.data())
def test_damaged_values_decode_or_raise_codec_error(value, data):
    raw = bytearray(codec.encode(value))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CodecError):
        codec.decode(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


@given(
    st.text("<>|=biufcSUmMVO0123456789[],ns", max_size=8), st.lists(st.integers(), max_size=3), st.binary(max_size=16)
)
def test_crafted_arrays_decode_or_raise_codec_error(dtype, shape, raw):
    for code in (extensions.ARRAY, extensions.SCALAR):
        with contextlib.suppress(CodecError):
            body = pack([dtype, False, [n % 2**40 for n in shape], raw])
            codec.decode(pack(msgspec.msgpack.Ext(code, body)))


@pytest.mark.parametrize("header", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
def test_headers_that_promise_too_much_are_refused(header):
    with pytest.raises(CodecError):
        codec.decode(header * 50)


def test_deep_nesting_is_refused():
    with pytest.raises(CodecError, match="nested"):
        codec.decode(b"\x91" * 200_000 + b"\xc0")
    deep: list = []
    for _ in range(200_000):
        deep = [deep]
    with pytest.raises(CodecError, match="nested"):
        codec.encode(deep)
    with pytest.raises(CodecError, match=r"'x'.*nested"):
        codec.encode_fields({"x": deep}, "xs")
    nested = pack(None)
    for _ in range(3000):
        nested = pack(msgspec.msgpack.Ext(extensions.TUPLE, nested))
    with pytest.raises(CodecError):
        codec.decode(nested)


def test_values_that_hold_themselves_are_refused():
    loop: list = []
    loop.append(loop)
    with pytest.raises(CodecError, match="holds itself"):
        codec.encode({"a": loop})


class Bomb:
    def __reduce__(self):
        return (exec, ("raise AssertionError('unpickled')",))


def test_pickles_without_the_right_signature_are_never_unpickled():
    signed = Codec(b"other" * 8).encode(Bomb())
    with pytest.raises(CodecError, match=r"signing_key.*RUSH_SIGNING_KEY"):
        codec.decode(signed)
    with pytest.raises(CodecError, match="not signed"):
        codec.load_object(Codec(b"other" * 8).dump_object(Bomb()))
    with pytest.raises(CodecError, match="not an object"):
        codec.load_object(b"\x80\x04N.")
    with pytest.raises(CodecError):
        codec.decode(pack(msgspec.msgpack.Ext(extensions.PICKLE, b"\x80\x04N.")))


def test_a_pickle_that_fails_here_is_a_codec_error():
    with pytest.raises(CodecError, match="AssertionError"):
        codec.decode(codec.encode(Bomb()))


def test_without_a_key_plain_values_work_and_pickles_name_the_setting():
    bare = Codec()
    assert bare.decode(bare.encode({"a": (1, np.float64(2))})) == {"a": (1, 2.0)}
    with pytest.raises(CodecError, match=r"signing_key.*RUSH_SIGNING_KEY"):
        bare.encode(Colour.RED)

    def none():
        raise ConfigError("no home")

    with pytest.raises(CodecError, match="no home"):
        Codec(none).encode(Colour.RED)


def test_the_key_is_asked_for_once_and_only_when_needed():
    asked = []
    lazy = Codec(lambda: asked.append(1) or KEY)
    lazy.encode({"x": 1})
    assert not asked
    lazy.encode(Colour.RED)
    lazy.encode(Colour.RED)
    assert asked == [1]


@pytest.mark.parametrize("name", ["key", "worker_id", "state", "condition"])
def test_reserved_names_are_refused(name):
    with pytest.raises(ValueError, match=f"xs must not use the name '{name}'"):
        codec.encode_fields({"x": 1, name: 2}, "xs")


def test_names_must_be_text():
    with pytest.raises(TypeError, match="ys must have names of type str, got 1"):
        codec.encode_fields({1: 2}, "ys")
    with pytest.raises(ValueError, match="UTF-8"):
        codec.encode_fields({"\ud800": 2}, "ys")
    assert codec.decode(codec.encode_fields(collections.OrderedDict(a=1), "xs")) == {"a": 1}


def test_what_cannot_be_pickled_is_named():
    with pytest.raises(CodecError, match=r"xs\['x'\].*lock"):
        codec.encode_fields({"x": threading.Lock()}, "xs")


def test_rows_that_cannot_be_read_are_dropped_and_counted():
    good = pack([1, "k", {"x": 1.0}, None])
    rows, dropped = codec.decode_rows([good, b"\xff\xc1", good, b"", pack({"a": 1}), good + good])
    assert rows == [[1, "k", {"x": 1.0}, None]] * 2
    assert dropped == 4
    assert codec.decode_rows([]) == ([], 0)


def test_conditions_say_what_went_wrong():
    try:
        raise KeyError("gone")
    except KeyError as error:
        condition = codec.decode(codec.encode_condition(error))
    assert condition["type"] == "KeyError"
    assert "gone" in condition["message"]
    assert "test_codec" in condition["traceback"]
    assert codec.decode(codec.encode_condition("no"))["message"] == "no"
    assert codec.decode(codec.encode_condition({"message": "m", "code": 3}))["code"] == 3
    assert codec.decode(codec.encode_condition(None))["message"]
    for neither in (3, {}, {"code": 3}):
        with pytest.raises(TypeError, match="condition"):
            codec.encode_condition(neither)


def test_an_exception_whose_message_cannot_be_read_is_a_condition_all_the_same():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError

    condition = codec.decode(codec.encode_condition(Mute()))
    assert condition["type"] == "Mute"
    assert "cannot be read" in condition["message"]


def test_arrays_of_kinds_of_their_own_stay_what_they_are():
    masked = codec.decode(codec.encode(np.ma.array([1, 2], mask=[0, 1])))
    assert type(masked) is np.ma.MaskedArray
    assert masked.mask.tolist() == [False, True]
    records = np.rec.array([(1, 2.0)], dtype=[("a", int), ("b", float)])
    assert type(codec.decode(codec.encode(records))) is np.recarray


def test_the_bound_argument_of_a_loop_that_cannot_be_pickled_is_named():
    loop = functools.partial(len, lock=threading.Lock())
    with pytest.raises(CodecError, match="the argument 'lock'"):
        codec.dump_object((loop, {}))


def test_loops_travel_with_what_they_close_over():
    factor = 3
    loop, arguments = codec.load_object(codec.dump_object((lambda worker, x: worker + factor * x, {"x": 2})))
    assert loop(1, **arguments) == 7


def test_the_part_of_a_loop_that_cannot_be_pickled_is_named():
    lock = threading.Lock()

    def loop(worker):
        return lock

    with pytest.raises(CodecError, match=r"worker loop .*loop: it uses 'lock'"):
        codec.dump_object((loop, {}))
    with pytest.raises(CodecError, match="the argument 'guard'"):
        codec.dump_object((len, {"guard": lock}))
    with pytest.raises(CodecError, match="a lock"):
        codec.dump_object(lock)
    if sys.argv is None:
        later = 1

    def empty(worker):
        return later, lock

    with pytest.raises(CodecError, match="it uses 'lock'"):
        codec.dump_object((empty, {}))


def test_modules_can_travel_inside_the_pickle(tmp_path, monkeypatch):
    (tmp_path / "travelling.py").write_text("def f():\n    return 41 + 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import travelling

    data = codec.dump_object(travelling.f, by_value=["travelling"])
    del sys.modules["travelling"]
    monkeypatch.undo()
    assert codec.load_object(data)() == 42
    with pytest.raises(TypeError, match="by_value"):
        codec.dump_object(1, by_value=[3])


def test_plain_values_need_neither_numpy_nor_pandas():
    code = (
        "import sys; from rush.codec import Codec; import rush.frames, rush.objects; c = Codec()\n"
        "c.decode(c.encode({'a': (1, {2}), 'b': None})); assert not {'numpy', 'pandas', 'cloudpickle'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
