"""Logs of workers: what the handler writes, and how a manager reads and prints it."""

import logging
import re

import msgspec
import pytest

import rush
from rush.logs import install, remove
from rush.manager import Rush

COLUMNS = ["worker_id", "level", "timestamp", "logger", "caller", "msg"]


@pytest.fixture
def handler(net):
    """Make handlers of workers that write at once, unless told otherwise."""
    made = []

    def make(worker_id="w1", **options):
        made.append(rush.RedisHandler(net.config, net.network_id, worker_id, **options))
        return made[-1]

    net.push_tasks([{"x": 1}])
    yield make
    for one in made:
        one.close()


def record(text, level="INFO", created=1_700_000_000.0, **more):
    number = logging.getLevelNamesMapping()[level]
    return logging.makeLogRecord(
        {"msg": text, "levelname": level, "levelno": number, "created": created, "name": "study", **more}
    )


def test_no_records_are_a_table_with_the_columns(net, handler):
    assert net.read_log().columns.tolist() == COLUMNS
    assert net.read_log(time_difference=True).columns.tolist() == [*COLUMNS, "time_difference"]
    handler().handle(record("one"))
    assert net.read_log(["nobody"]).shape == (0, 6)


def test_records_of_all_workers_stand_in_the_order_of_time(net, handler):
    first, second = handler("a"), handler("b")
    first.handle(record("2", created=1002.0))
    second.handle(record("1", created=1001.5))
    first.handle(record("3", created=1004.0))
    table = net.read_log(time_difference=True)
    assert table["msg"].tolist() == ["1", "2", "3"]
    assert table["worker_id"].tolist() == ["b", "a", "a"]
    assert table["time_difference"].tolist() == [0.0, 0.0, 2.0]
    assert net.read_log(["b"])["msg"].tolist() == ["1"]


@pytest.mark.parametrize("worker_ids", ["w1", 3])
def test_worker_ids_must_be_a_list(net, worker_ids):
    with pytest.raises(TypeError, match="worker_ids must be a list of ids"):
        net.read_log(worker_ids)


def test_printing_logs_each_record_once_with_worker_and_time_at_its_level(net, handler, caplog):
    caplog.set_level(logging.DEBUG)
    writer = handler()
    writer.handle(record("one", "WARNING"))
    assert net.print_log() is net
    writer.handle(record("two", "DEBUG"))
    net.print_log()
    net.print_log()
    told = [(r.name, r.levelname, r.getMessage()) for r in caplog.records if r.name == "study"]
    assert [(name, level) for name, level, _ in told] == [("study", "WARNING"), ("study", "DEBUG")]
    for text, (_, _, message) in zip(("one", "two"), told, strict=True):
        assert re.fullmatch(rf"\[w1\] \[2023-11-1\d \d\d:\d\d:20\.000[+-]\d\d:\d\d\] {text}", message)


@pytest.mark.parametrize("by", ["oneself", "another"])
def test_after_a_reset_all_records_are_new(net, handler, caplog, by):
    caplog.set_level(logging.INFO)
    first = handler()
    for text in ("one", "two", "three"):
        first.handle(record(text))
    net.print_log()
    (net if by == "oneself" else Rush(net.network_id, net.config)).reset()
    net.push_tasks([{"x": 1}])
    handler("w2").handle(record("four"))
    net.print_log()
    assert [r.getMessage()[-5:].strip() for r in caplog.records if r.name == "study"][3:] == ["four"]


def test_records_that_cannot_be_read_are_left_out_with_one_warning(net, handler, caplog):
    handler().handle(record("one"))
    with net.connector as client:
        client.rpush(net._store.keys.logs, b"\xc1", msgspec.msgpack.encode(["w1", "INFO"]))
    assert net.read_log()["msg"].tolist() == ["one"]
    assert [r.getMessage() for r in caplog.records] == ["2 log record(s) could not be read and are left out"]


def test_fields_of_the_programs_own_are_left_out_here_and_stay_for_other_handlers(net, handler):
    plain = rush.filter_custom_fields(record("one", mine=object()))
    assert not hasattr(plain, "mine")
    assert plain.getMessage() == "one"
    kept = record("two", mine=object())
    handler(formatter=logging.Formatter("%(message)s by %(name)s")).handle(kept)
    assert kept.mine is not None
    assert net.read_log()["msg"].tolist() == ["two by study"]


def test_level_and_filters_say_what_is_handled(net, handler):
    logger = logging.getLogger("filtered")
    logger.setLevel("DEBUG")
    writer = handler(level="INFO", filters=[lambda r: "no" not in r.msg])
    logger.addHandler(writer)
    for level, text in (("debug", "low"), ("info", "no"), ("info", "yes")):
        getattr(logger, level)(text)
    logger.removeHandler(writer)
    assert net.read_log()["msg"].tolist() == ["yes"]
    assert re.fullmatch(r"test_logs\.test_level\w+:\d+", net.read_log()["caller"][0])


def test_collected_records_are_written_with_a_grave_one(net, handler):
    writer = handler(buffer_size=10, flush_level="WARNING")
    writer.handle(record("one"))
    assert len(net.read_log()) == 0
    writer.handle(record("two", "WARNING"))
    assert net.read_log()["msg"].tolist() == ["one", "two"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"buffer_size": -1}, "buffer_size must be an int of 0 or more, got -1"),
        ({"flush_level": "LOUD"}, "flush_level must be an int or one of .*INFO.*, got 'LOUD'"),
        ({"worker_id": "a b"}, "worker_id must be 1 to 128 of"),
    ],
)
def test_wrong_settings_of_a_handler_are_refused(handler, options, text):
    with pytest.raises(ValueError, match=text):
        handler(**options)


def test_a_record_that_cannot_be_formatted_does_not_stop_the_program(net, handler, capsys):
    handler().handle(record("%d", args=("text",)))
    assert "Logging error" in capsys.readouterr().err
    assert len(net.read_log()) == 0


@pytest.mark.parametrize("root", ["", "root"])
def test_the_root_logger_has_two_names(net, handler, root):
    kept = logging.getLogger().level
    writer = install(net.config, net.network_id, "w1", {root: "WARNING"}, 5)
    try:
        logging.getLogger("any").warning("heard")
        logging.getLogger("any").info("not heard")
    finally:
        remove(writer, {root: "WARNING"})
        logging.getLogger().setLevel(kept)
    logging.getLogger("any").warning("too late")
    assert net.read_log()["msg"].tolist() == ["heard"]
