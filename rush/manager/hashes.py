"""Hashes: fields by name, of the user's own beside the tasks, and of single tasks."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from rush.errors import CodecError
from rush.manager import arguments
from rush.manager.reading import TaskReader
from rush.model import TaskState
from rush.store.taskkeys import new_task_key
from rush.store.tasks import queued_row, running_row

log = logging.getLogger("rush")

_ROW = ("seq", "key", "xs", "xs_extra", "tries", "worker_id", "ys", "ys_extra", "condition")


class Hashes(TaskReader):
    """What is stored under a key, field by field."""

    def write_hashes(
        self, *, keys: Sequence[str] | None = None, values: Mapping[str, Any] | None = None, **fields: Any
    ) -> list[str]:
        """Write hashes of your own beside the tasks.

        Each field is a list with one value for each hash, or one for all. Fields that are None are left out.

        Parameters
        ----------
        keys
            Names of the hashes; made if None. Task keys are refused.
        values
            More fields, whose names may be any str.

        Returns
        -------
        list of str
            The keys of the hashes.
        """
        columns = {
            n: list(v) if isinstance(v, (list, tuple)) else [v]
            for n, v in {**(values or {}), **fields}.items()
            if v is not None
        }
        length = len(keys) if keys is not None else max(map(len, columns.values()), default=0)
        stretched = {
            name: arguments.companions(column, length, name, "keys") for name, column in columns.items() if length
        }
        names = arguments.task_keys(keys) if keys is not None else [new_task_key() for _ in range(length)]
        taken = [key for key, (state, _) in self._tasks.where(names).items() if state is not None]
        if taken:
            raise ValueError(f"keys has {taken[0]!r}, which is a task; write_hashes writes hashes of your own")
        packed = {
            _user_field(key, name): self._codec.encode(column[at])
            for name, column in stretched.items()
            for at, key in enumerate(names)
            if column[at] is not None
        }
        if packed:
            self._session.open()
            self._store.put_user(packed)
        return names

    def read_hashes(self, keys: Sequence[str], fields: Sequence[str], flatten: bool = True) -> list[Any]:  # noqa: FBT001, FBT002 - the manual's signature
        """Read hashes: those of `write_hashes`, and tasks in any state.

        Parameters
        ----------
        keys
            Names of hashes or tasks.
        fields
            Fields to read; of a task any of "xs", "ys", "xs_extra", "ys_extra", "worker_id", "condition".
        flatten
            Merge the fields that are dicts into one dict for each hash, and leave out what is absent.

        Returns
        -------
        list
            A dict for each key, or None where there is nothing under the key.
        """
        names = arguments.task_keys(keys)
        wanted = arguments.task_keys([fields] if isinstance(fields, str) else fields, "fields")
        stored = self._stored_fields(names, wanted)
        return [None if found is None else (_flat(found) if flatten else found) for found in stored]

    def read_hash(self, key: str, fields: Sequence[str]) -> dict[str, Any] | None:
        """Read one hash or task as a dict by field; None stands for a field, or for a hash, that is not there."""
        found: dict[str, Any] | None = self.read_hashes([key], fields, flatten=False)[0]
        return found

    def _stored_fields(self, keys: list[str], fields: list[str]) -> list[dict[str, Any] | None]:
        stored = self._tasks.where(keys, stored=True) if keys else {}
        own = [key for key in keys if stored[key][0] is None]
        values: dict[tuple[str, str], Any] = {}
        if own and fields:
            packed = self._store.read_user([_user_field(key, field) for key in own for field in fields])
            pairs = [(key, field) for key in own for field in fields]
            values = {p: self._decoded(v) for p, v in zip(pairs, packed, strict=True) if v is not None}
        found: list[dict[str, Any] | None] = []
        for key in keys:
            if stored[key][0] is not None:
                found.append(self._task_fields(stored[key], fields))
            elif any((key, field) in values for field in fields):
                found.append({field: values.get((key, field)) for field in fields})
            else:
                found.append(None)
        return found

    def _decoded(self, value: bytes) -> Any:
        try:
            return self._codec.decode(value)
        except CodecError as error:
            log.warning("a value could not be read and is left out: %s", error)
            return None

    def _task_fields(self, stored: tuple[TaskState | None, Any], fields: list[str]) -> dict[str, Any] | None:
        state, value = stored
        if state is TaskState.QUEUED:
            value = queued_row(value)
        elif state is TaskState.RUNNING:
            value = running_row(value)
        row = self._decoded(value)
        if not isinstance(row, list):
            return None
        named = dict(zip(_ROW, row, strict=False))
        return {field: named.get(field) for field in fields}


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field, value in found.items():
        if isinstance(value, dict):
            flat.update(value)
        elif value is not None:
            flat[field] = value
    return flat


def _user_field(key: str, name: str) -> bytes:
    """Name a field of a user's hash; NUL keeps key and field apart."""
    if "\0" in key or "\0" in name:
        raise ValueError(f"keys and fields must hold no NUL character, got {key!r} and {name!r}")
    return f"{key}\0{name}".encode()
