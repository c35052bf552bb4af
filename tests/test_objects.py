"""Large objects: signed files that only their user can read."""

import os
import stat
from pathlib import Path

import pytest

from rush.codec import Codec
from rush.errors import CodecError, ConfigError
from rush.objects import LargeObject, load_large_object, store_large_object

codec = Codec(b"k" * 32)


def test_an_object_comes_back(tmp_path):
    reference = store_large_object({"a": {1, 2}}, tmp_path, codec=codec)
    assert load_large_object(reference, codec=codec) == {"a": {1, 2}}
    as_dict = codec.decode(codec.encode({"name": reference.name, "path": reference.path}))
    assert load_large_object(as_dict, codec=codec) == {"a": {1, 2}}
    assert reference == LargeObject(**as_dict)


def test_its_file_is_the_users_own_and_written_whole(tmp_path):
    reference = store_large_object([1], tmp_path, codec=codec)
    assert stat.S_IMODE(Path(reference.path).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [reference.name]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        store_large_object(1, tmp_path / "nowhere", codec=codec)
    with pytest.raises(ConfigError, match="gone"):
        load_large_object({"name": "gone", "path": str(tmp_path / "gone")}, codec=codec)


def test_a_changed_file_is_refused(tmp_path):
    reference = store_large_object([1, 2, 3], tmp_path, codec=codec)
    with Path(reference.path).open("r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"x")
    with pytest.raises(CodecError, match="signed"):
        load_large_object(reference, codec=codec)


def test_the_users_own_key_signs_by_default(tmp_path, monkeypatch):
    monkeypatch.setenv("RUSH_SIGNING_KEY", "s" * 40)
    reference = store_large_object("x", tmp_path)
    assert load_large_object(reference) == "x"
    assert load_large_object(reference, codec=Codec(b"s" * 40)) == "x"


def test_a_file_that_is_gone_is_named(tmp_path):
    reference = store_large_object([1], tmp_path, codec=codec)
    Path(reference.path).unlink()
    with pytest.raises(ConfigError, match=r"cannot read the large object .*; is the folder shared"):
        load_large_object(reference, codec=codec)
