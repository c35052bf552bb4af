"""Large objects: signed pickles in files on a file system that the workers share."""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rush.codec import Codec
from rush.config import signing_key_for
from rush.errors import ConfigError


@dataclass(frozen=True)
class LargeObject:
    """A reference to a stored object: its name and the file that holds it."""

    name: str
    path: str


def store_large_object(obj: Any, path: "str | os.PathLike[str]", *, codec: Codec | None = None) -> LargeObject:
    """Store an object in a file of its own, which only the user can read.

    Parameters
    ----------
    obj
        Any object that can be pickled.
    path
        The folder, on a file system that all workers share.
    codec
        Signs the file; by default with the user's own key.

    Raises
    ------
    ConfigError
        There is no such folder, or it cannot be written.
    CodecError
        The object cannot be pickled.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError(f"path must be a folder that exists, got {str(folder)!r}")
    data = (codec or Codec(signing_key_for)).dump_object(obj)
    name = f"rush-object-{secrets.token_hex(8)}"
    final = folder.resolve() / name
    draft = final.with_suffix(".part")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(final)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write a large object into {str(folder)!r}: {error.strerror}") from error
    return LargeObject(name, str(final))


def load_large_object(reference: "LargeObject | dict[str, str]", *, codec: Codec | None = None) -> Any:
    """Load what `store_large_object` stored.

    Parameters
    ----------
    reference
        What it returned, or the dict of its name and path.

    Raises
    ------
    ConfigError
        The file is not there.
    CodecError
        It was not signed with this key.
    """
    path = reference.path if isinstance(reference, LargeObject) else reference.get("path", "")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the large object {path!r}: {error.strerror}; is the folder shared?") from error
    return (codec or Codec(signing_key_for)).load_object(data)
