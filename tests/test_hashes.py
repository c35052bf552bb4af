"""Hashes of the user's own: what is written, what is left out, and how they are read."""

import pytest


def test_each_field_has_a_value_for_each_hash_or_one_for_all(net):
    keys = net.write_hashes(keys=["a", "b"], x=[1, 2], y=[3], z=4)
    assert keys == ["a", "b"]
    assert net.read_hashes(keys, ["x", "y", "z"]) == [{"x": 1, "y": 3, "z": 4}, {"x": 2, "y": 3, "z": 4}]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda net: net.write_hashes(x=[1, 2, 3], y=[1, 2]),
            ValueError,
            "y has 2 items but keys has 3; it must have 3 or 1",
        ),
        (lambda net: net.write_hashes(keys=["a", "b"], x=[1, 2, 3]), ValueError, "x has 3 items but keys has 2"),
        (lambda net: net.write_hashes(keys="a", x=[1]), TypeError, "keys must be a list of task keys, got 'a'"),
        (lambda net: net.write_hashes(keys=["a\0"], x=[1]), ValueError, "NUL"),
        (lambda net: net.read_hashes("a", ["x"]), TypeError, "keys must be a list of task keys"),
        (lambda net: net.read_hashes(["a"], [1]), TypeError, r"fields\[0\]"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(net, call, error, text):
    with pytest.raises(error, match=text):
        call(net)
    with net.connector as client:
        assert client.exists(net._store.keys.user) == 0


def test_without_fields_or_keys_nothing_is_written(net):
    assert net.write_hashes() == []
    assert net.write_hashes(x=None) == []
    assert net.write_hashes(x=[]) == []
    assert net.read_hashes([], ["x"]) == []
    with net.connector as client:
        assert client.exists(net._store.keys.user) == 0


def test_values_that_are_none_are_absent_not_stored(net):
    first, second = net.write_hashes(x=[1, None], y=[{"a": 2}, {"a": None}])
    assert net.read_hashes([first, second], ["x", "y"]) == [{"x": 1, "a": 2}, {"a": None}]
    assert net.read_hash(second, ["x", "y"]) == {"x": None, "y": {"a": None}}
    with net.connector as client:
        assert client.hlen(net._store.keys.user) == 3


def test_a_field_is_overwritten_and_the_others_stay(net):
    net.write_hashes(keys=["a"], x=[1], y=[2])
    net.write_hashes(keys=["a"], x=[(3, 4)])
    assert net.read_hash("a", ["x", "y"]) == {"x": (3, 4), "y": 2}


def test_flat_hashes_merge_their_dicts_and_leave_out_what_is_absent(net):
    net.write_hashes(keys=["a"], xs=[{"x1": 1, "x2": 2}], note=["text"])
    assert net.read_hashes(["a", "nothing"], ["xs", "note", "absent"]) == [{"x1": 1, "x2": 2, "note": "text"}, None]
    assert net.read_hashes(["a", "nothing"], ["xs", "absent"], flatten=False) == [{"xs": {"x1": 1, "x2": 2}, "absent": None}, None]  # fmt: skip


def test_one_field_may_be_named_alone(net):
    net.write_hashes(keys=["a"], x=[1])
    assert net.read_hashes(["a"], "x") == [{"x": 1}]


def test_a_value_that_cannot_be_read_is_left_out_with_a_warning(net, caplog):
    net.write_hashes(keys=["a"], x=[1], y=[2])
    with net.connector as client:
        client.hset(net._store.keys.user, b"a\0x", b"\xc1")
    assert net.read_hash("a", ["x", "y"]) == {"x": None, "y": 2}
    assert "could not be read" in caplog.text


def test_a_queued_task_is_read_like_a_hash(net):
    (key,) = net.push_tasks([{"x": 1}], [{"note": "a"}])
    assert net.read_hashes([key], ["xs", "xs_extra", "worker_id"]) == [{"x": 1, "note": "a"}]
