"""Bytes and values: MessagePack for what is plain, extension types for what is common, signed pickles for the rest."""

import contextlib
import datetime as dt
import functools
import gc
import hashlib
import hmac
import importlib
import pickle
import traceback
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import msgspec

from rush import extensions
from rush.errors import CodecError, RushError

RESERVED = frozenset({"key", "worker_id", "state", "condition"})
SIGNATURE = 32
_FLAT = frozenset({float, int, str, bool, type(None)})
_NEED_KEY = (
    "set RedisConfig(signing_key=...) or RUSH_SIGNING_KEY to the key of the process that wrote it "
    "(for a private server it is part of its address file)"
)
_MARK = b"rush-object\0"
_LIST_HEADER = b"\xdd"

SigningKey = bytes | Callable[[], bytes] | None


class Untrusted(CodecError):
    """A pickle that this process has no reason to trust, or cannot open: another one may."""


class Codec:
    """Encodes and decodes values. A round trip keeps value and type.

    Plain values (None, bool, int of 64 bits, float, str, bytes, lists, dicts with str keys, aware datetimes) are
    MessagePack. Numpy scalars and arrays, tuples, sets and their like are extension types. Whatever is left is a
    pickle, signed with HMAC-SHA256, and refused before unpickling where the signature is missing or wrong.

    Parameters
    ----------
    signing_key
        The key, or a function that gives it at the first need; without one, pickles are refused.
    """

    def __init__(self, signing_key: SigningKey = None) -> None:
        self._key = signing_key
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(ext_hook=self._read_extension)
        self._rows = msgspec.msgpack.Decoder(list[list[Any]], ext_hook=self._read_extension)

    def encode(self, value: Any) -> bytes:
        """Encode any value.

        Raises
        ------
        CodecError
            It cannot be pickled, or there is no key to sign it with.
        """
        try:
            return self._encoder.encode(self._plain(value))
        except RecursionError:
            raise CodecError("a value is nested too deeply, or holds itself") from None

    def encode_fields(self, fields: Mapping[str, Any], what: str) -> bytes:
        """Encode the inputs, outputs or extras of a task.

        Raises
        ------
        ValueError
            A name is reserved for a column of rush's own.
        TypeError
            A name is not a str.
        CodecError
            A value cannot be encoded.
        """
        if not RESERVED.isdisjoint(fields):
            name = next(iter(RESERVED & fields.keys()))
            raise ValueError(f"{what} must not use the name {name!r}; rush uses {', '.join(sorted(RESERVED))} itself")
        if type(fields) is dict:
            try:
                for name, value in fields.items():
                    if type(name) is not str or type(value) not in _FLAT:
                        break
                else:
                    return self._encoder.encode(fields)
            except (OverflowError, UnicodeEncodeError):
                pass
        return self._encode_each(fields, what)

    def encode_condition(self, condition: Any) -> bytes:
        """Encode why a task failed: an exception, a dict with a ``message``, a str, or None."""
        plain: dict[str, Any] = {"message": "Task failed", "type": None, "traceback": None}
        if isinstance(condition, BaseException):
            plain["message"] = _message(condition)
            plain["type"] = type(condition).__name__
            plain["traceback"] = "".join(traceback.format_exception(condition))
        elif isinstance(condition, Mapping) and "message" in condition:
            plain.update(condition)
        elif isinstance(condition, str):
            plain["message"] = condition
        elif condition is not None:
            raise TypeError(f"a condition must be an exception, a dict with a message or a str, got {condition!r}")
        return self.encode(plain)

    def decode(self, data: bytes) -> Any:
        """Decode what `encode` made.

        Raises
        ------
        CodecError
            It is something else, or a pickle that this process has no reason to trust.
        """
        try:
            return self._decoder.decode(data)
        except CodecError:
            raise
        except RecursionError:
            raise CodecError("a value is nested too deeply") from None
        except Exception as error:
            raise CodecError(f"cannot decode a value: {error}") from error

    def decode_rows(self, records: Sequence[bytes]) -> tuple[list[list[Any]], int]:
        """Decode records, which are arrays, and say how many were dropped because they could not be read."""
        joined = b"".join((_LIST_HEADER, len(records).to_bytes(4, "big"), *records))
        collecting = gc.isenabled()
        gc.disable()
        try:
            rows = self._rows.decode(joined)
        except Exception:  # noqa: BLE001 - one bad record: they are read one by one
            return self._decode_singly(records)
        finally:
            if collecting:
                gc.enable()
        if len(rows) != len(records):
            return self._decode_singly(records)
        return rows, 0

    def dump_object(self, value: Any, by_value: Sequence[ModuleType | str] = ()) -> bytes:
        """Pickle and sign an object, such as a worker loop with its arguments.

        Parameters
        ----------
        by_value
            Modules whose functions and classes travel inside the pickle.

        Raises
        ------
        CodecError
            It cannot be pickled; the message names the part that cannot.
        """
        import cloudpickle

        with _by_value(by_value):
            try:
                pickled: bytes = cloudpickle.dumps(value)
            except Exception as error:
                raise CodecError(f"cannot pickle {_culprit(value)}: {error}") from error
        return _MARK + self._sign(pickled) + pickled

    def load_object(self, data: bytes) -> Any:
        """Unpickle what `dump_object` made, if its signature is right.

        Raises
        ------
        CodecError
            It is not signed, wrongly signed, or cannot be unpickled here.
        """
        if not data.startswith(_MARK):
            raise CodecError("this is not an object that rush has signed")
        return self._open_pickle(data[len(_MARK) :])

    def _decode_singly(self, records: Sequence[bytes]) -> tuple[list[list[Any]], int]:
        rows, dropped = [], 0
        for record in records:
            try:
                row = self.decode(record)
            except CodecError:
                row = None
            if isinstance(row, list):
                rows.append(row)
            else:
                dropped += 1
        return rows, dropped

    def _encode_each(self, fields: Mapping[str, Any], what: str) -> bytes:
        plain = {}
        for name, value in fields.items():
            if not isinstance(name, str):
                raise TypeError(f"{what} must have names of type str, got {name!r}")
            if not _encodable(name):
                raise ValueError(f"{what} must have names that can be written in UTF-8, got {name!r}")
            try:
                plain[str(name)] = self._plain(value)
            except CodecError as error:
                raise CodecError(f"{what}[{name!r}]: {error}") from error
            except RecursionError:
                raise CodecError(f"{what}[{name!r}] is nested too deeply, or holds itself") from None
        try:
            return self._encoder.encode(plain)
        except RecursionError:
            raise CodecError(f"a value of {what} is nested too deeply") from None

    def _plain(self, value: Any) -> Any:  # noqa: PLR0911 - one line a type
        """Give a value that MessagePack writes as it is, with extensions in place of what it does not know."""
        kind = type(value)
        if kind is float or kind is bool or value is None or kind is bytes:
            return value
        if kind is int:
            return value if -(2**63) <= value < 2**64 else self._extension(value)
        if kind is str:
            return value if _encodable(value) else self._extension(value)
        if kind is list:
            return [self._plain(item) for item in value]
        if kind is dict:
            if all(type(name) is str and _encodable(name) for name in value):
                return {name: self._plain(item) for name, item in value.items()}
            return self._extension(value)
        if kind is dt.datetime and value.tzinfo is dt.UTC and not value.fold:
            return value
        return self._extension(value)

    def _extension(self, value: Any) -> msgspec.msgpack.Ext:
        packed = extensions.pack(value, self.encode)
        return self._pickled(value) if packed is None else packed

    def _pickled(self, value: Any) -> msgspec.msgpack.Ext:
        import cloudpickle

        try:
            pickled: bytes = cloudpickle.dumps(value)
        except RecursionError:
            raise
        except Exception as error:
            raise CodecError(f"cannot pickle a {type(value).__qualname__}: {error}") from error
        return msgspec.msgpack.Ext(extensions.PICKLE, self._sign(pickled) + pickled)

    def _read_extension(self, code: int, data: memoryview) -> Any:
        raw = bytes(data)
        if code == extensions.PICKLE:
            return self._open_pickle(raw)
        return extensions.unpack(code, raw, self.decode)

    def _open_pickle(self, data: bytes) -> Any:
        signature, pickled = data[:SIGNATURE], data[SIGNATURE:]
        if not hmac.compare_digest(signature, self._sign(pickled)):
            raise Untrusted(f"a pickled object is not signed with this process's key; {_NEED_KEY}")
        try:
            return pickle.loads(pickled)  # noqa: S301 - the signature is right
        except Exception as error:
            raise Untrusted(f"cannot unpickle an object here: {type(error).__name__}: {error}") from error

    def _sign(self, pickled: bytes) -> bytes:
        key = self._signing_key()
        return hmac.new(key, pickled, hashlib.sha256).digest()

    def _signing_key(self) -> bytes:
        if callable(self._key):
            try:
                self._key = self._key()
            except RushError as error:
                raise Untrusted(f"pickled objects need a signing key: {error}") from error
        if self._key is None:
            raise Untrusted(f"pickled objects need a signing key; {_NEED_KEY}")
        return self._key


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken message must not hide that the task failed
        return f"{type(error).__name__}, whose message cannot be read"


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@contextlib.contextmanager
def _by_value(modules: Sequence[ModuleType | str]) -> Iterator[None]:
    """Have cloudpickle put these modules inside what it pickles."""
    import cloudpickle

    registered = []
    try:
        for entry in modules:
            module = importlib.import_module(entry) if isinstance(entry, str) else entry
            if not isinstance(module, ModuleType):
                raise TypeError(f"by_value must list modules or their names, got {entry!r}")
            if module.__name__ not in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.register_pickle_by_value(module)
                registered.append(module)
        yield
    finally:
        for module in registered:
            cloudpickle.unregister_pickle_by_value(module)


def _culprit(value: Any) -> str:
    """Name the part of a loop and its arguments that cannot be pickled."""
    if not (isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], dict)):
        return f"a {type(value).__qualname__}"
    loop, arguments = value
    while isinstance(loop, functools.partial):
        arguments = {**dict(enumerate(loop.args, 1)), **loop.keywords, **arguments}
        loop = loop.func
    for name, argument in arguments.items():
        if not _can_pickle(argument):
            return f"the argument {name!r} ({type(argument).__qualname__})"
    function = getattr(loop, "__func__", loop)
    named = getattr(function, "__qualname__", repr(function))
    cells = getattr(function, "__closure__", None) or ()
    code = getattr(function, "__code__", None)
    captured = dict(zip(code.co_freevars, cells, strict=True)) if code is not None else {}
    parts = {name: cell.cell_contents for name, cell in captured.items() if cell != types.CellType()}
    parts |= {n: v for n, v in getattr(function, "__globals__", {}).items() if code is not None and n in code.co_names}
    for name, part in parts.items():
        if not _can_pickle(part):
            return f"worker loop {named}: it uses {name!r} ({type(part).__qualname__})"
    return f"worker loop {named}"


def _can_pickle(value: Any) -> bool:
    import cloudpickle

    try:
        cloudpickle.dumps(value)
    except Exception:  # noqa: BLE001 - whatever it raises, it cannot be pickled
        return False
    return True
