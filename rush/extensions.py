"""MessagePack extension types: values that MessagePack itself has no type for, kept with value and type."""

import datetime as dt
import decimal
import pathlib
import struct
import sys
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from rush.errors import CodecError

PICKLE = 1
(
    BIG_INT,
    TUPLE,
    SET,
    FROZENSET,
    DATETIME,
    DATE,
    TIME,
    DELTA,
    UUID,
    DECIMAL,
    COMPLEX,
    PATH,
    BYTEARRAY,
    SCALAR,
    ARRAY,
    MAP,
    TEXT,
) = range(2, 19)

Encode = Callable[[Any], bytes]
Decode = Callable[[Any], Any]

_UTF = "utf-8"
_plain = msgspec.msgpack.Encoder()


def _array_bytes(array: Any) -> bytes | None:
    """Write an array down as dtype, order, shape and data; None where its dtype has no plain form."""
    import numpy as np

    dtype = array.dtype
    if type(array) is not np.ndarray or dtype.kind not in "biufcSUmM" or dtype.metadata or np.dtype(dtype.str) != dtype:
        return None
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    data = array.tobytes(order="F" if fortran else "C")
    return _plain.encode([dtype.str, fortran, list(array.shape), data])


def _text_bytes(value: Any) -> bytes:
    """Write a numpy text down, with the zeros at its end, which an array would drop."""
    if isinstance(value, bytes):
        return _plain.encode(["S", False, [], bytes(value)])
    return _plain.encode(["U", False, [], value.encode(_UTF, "surrogatepass")])


def _read_scalar(data: Any) -> Any:
    import numpy as np

    dtype, _, _, raw = msgspec.msgpack.decode(data)
    if dtype == "S":
        return np.bytes_(raw)
    if dtype == "U":
        return np.str_(raw.decode(_UTF, "surrogatepass"))
    return _read_array(data)[()]


def _read_array(data: Any) -> Any:
    import numpy as np

    dtype, fortran, shape, raw = msgspec.msgpack.decode(data)
    flat = np.frombuffer(bytearray(raw), dtype=np.dtype(dtype))
    return flat.reshape(shape, order="F" if fortran else "C")


def pack(value: Any, encode: Encode) -> msgspec.msgpack.Ext | None:  # noqa: C901, PLR0911, PLR0912 - one line a type
    """Give the extension that holds `value`, or None where only a pickle keeps it."""
    kind = type(value)
    if kind is int:
        return msgspec.msgpack.Ext(BIG_INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if kind is tuple:
        return msgspec.msgpack.Ext(TUPLE, encode(list(value)))
    if kind is set:
        return msgspec.msgpack.Ext(SET, encode(list(value)))
    if kind is frozenset:
        return msgspec.msgpack.Ext(FROZENSET, encode(list(value)))
    if kind is dict:
        return msgspec.msgpack.Ext(MAP, encode([item for pair in value.items() for item in pair]))
    if kind is str:
        return msgspec.msgpack.Ext(TEXT, value.encode(_UTF, "surrogatepass"))
    if kind is dt.datetime and _simple_zone(value.tzinfo):
        return msgspec.msgpack.Ext(DATETIME, f"{value.isoformat()}|{value.fold}".encode())
    if kind is dt.date:
        return msgspec.msgpack.Ext(DATE, value.isoformat().encode())
    if kind is dt.time and value.tzinfo is None:
        return msgspec.msgpack.Ext(TIME, f"{value.isoformat()}|{value.fold}".encode())
    if kind is dt.timedelta:
        return msgspec.msgpack.Ext(DELTA, struct.pack(">iii", value.days, value.seconds, value.microseconds))
    if kind is uuid.UUID:
        return msgspec.msgpack.Ext(UUID, value.bytes)
    if kind is decimal.Decimal:
        return msgspec.msgpack.Ext(DECIMAL, str(value).encode())
    if kind is complex:
        return msgspec.msgpack.Ext(COMPLEX, struct.pack(">dd", value.real, value.imag))
    if kind is pathlib.PosixPath:
        return msgspec.msgpack.Ext(PATH, str(value).encode(_UTF, "surrogatepass"))
    if kind is bytearray:
        return msgspec.msgpack.Ext(BYTEARRAY, bytes(value))
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        scalar = isinstance(value, numpy.generic)
        if scalar and kind is not value.dtype.type:
            return None
        array = numpy.asarray(value) if scalar else value
        packed = _text_bytes(value) if kind in {numpy.str_, numpy.bytes_} else _array_bytes(array)
        return None if packed is None else msgspec.msgpack.Ext(SCALAR if scalar else ARRAY, packed)
    return None


def _simple_zone(zone: dt.tzinfo | None) -> bool:
    """Whether ISO 8601 says all there is to say of a time zone."""
    if zone is None:
        return True
    return type(zone) is dt.timezone and zone.tzname(None) == dt.timezone(zone.utcoffset(None)).tzname(None)


def _read_time(data: bytes) -> dt.time:
    text, fold = data.decode().split("|")
    return dt.time.fromisoformat(text).replace(fold=int(fold))


def _read_datetime(data: bytes) -> dt.datetime:
    text, fold = data.decode().split("|")
    return dt.datetime.fromisoformat(text).replace(fold=int(fold))


def _read_delta(data: bytes) -> dt.timedelta:
    days, seconds, micros = struct.unpack(">iii", data)
    return dt.timedelta(days, seconds, micros)


def _read_map(data: bytes, decode: Decode) -> dict[Any, Any]:
    items = decode(data)
    return dict(zip(items[::2], items[1::2], strict=True))


_SIMPLE: dict[int, Callable[[bytes], Any]] = {
    BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    TEXT: lambda data: data.decode(_UTF, "surrogatepass"),
    DATETIME: _read_datetime,
    DATE: lambda data: dt.date.fromisoformat(data.decode()),
    TIME: _read_time,
    DELTA: _read_delta,
    UUID: lambda data: uuid.UUID(bytes=data),
    DECIMAL: lambda data: decimal.Decimal(data.decode()),
    COMPLEX: lambda data: complex(*struct.unpack(">dd", data)),
    PATH: lambda data: pathlib.Path(data.decode(_UTF, "surrogatepass")),
    BYTEARRAY: bytearray,
    SCALAR: _read_scalar,
    ARRAY: _read_array,
}
_NESTED: dict[int, Callable[[bytes, Decode], Any]] = {
    TUPLE: lambda data, decode: tuple(decode(data)),
    SET: lambda data, decode: set(decode(data)),
    FROZENSET: lambda data, decode: frozenset(decode(data)),
    MAP: _read_map,
}


def unpack(code: int, data: bytes, decode: Decode) -> Any:
    """Give the value that an extension holds; CodecError for a code that is not rush's."""
    simple = _SIMPLE.get(code)
    if simple is not None:
        return simple(data)
    nested = _NESTED.get(code)
    if nested is None:
        raise CodecError(f"extension type {code} is not one of rush's")
    return nested(data, decode)
