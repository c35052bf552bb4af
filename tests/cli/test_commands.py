"""The command line: text for people, JSON for programs, exit codes for scripts."""

import json
import resource
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from rush.cli.main import NOUNS
from rush.cli.output import Format, listing, show, table
from tests.servers import free_port


def test_help_loads_neither_redis_nor_pandas():
    code = (
        "import sys\nfrom rush.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print({'redis', 'pandas', 'numpy', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "server" in done.stdout
    assert done.stdout.endswith("set()\n")


def test_help_is_quick():
    def fastest(code):
        """Give the least processor time of a few runs: a busy machine makes them wait, not work."""
        times = []
        for _ in range(7):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(times)

    assert fastest("from rush.cli.main import main; main(['--help'])") - fastest("pass") < 0.15


@pytest.mark.smoke
def test_server_is_started_shown_and_stopped(rush):
    assert rush("server", "url")[0] == 1
    assert "no server runs" in rush("server", "status")[1]
    assert "started at redis://127.0.0.1:" in rush("server", "start")[1]
    assert "runs already" in rush("server", "start")[1]
    code, out, _ = rush("server", "status", "--output", "json")
    assert code == 0
    assert json.loads(out)["running"] is True
    assert "127.0.0.1" in rush("server", "status")[1]
    assert "@127.0.0.1" in json.loads(rush("server", "url", "--output", "json")[1])
    assert json.loads(rush("server", "stop", "--output", "json")[1]) == {"stopped": True}
    assert "no server was running" in rush("server", "stop")[1]


def test_wrong_use_is_two_and_errors_are_one(rush):
    assert rush("server", "bla")[0] == 2
    assert rush("bla")[0] == 2
    code, out, err = rush("server", "start", "--bind", "nowhere")
    assert (code, out) == (1, "")
    assert err.startswith("rush: no interface or address 'nowhere'")


def test_network_commands_start_no_server(rush, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = rush("network", "list")
    assert code == 1
    assert "no server" in err


def test_empty_server_has_no_networks(rush, start_server):
    url = start_server().url
    assert rush("network", "list", "--url", url) == (0, "no networks\n", "")
    code, _, err = rush("network", "show", "x", "--url", url)
    assert code == 1
    assert "no network 'x'" in err


def test_network_is_listed_shown_and_reset(rush, server, network_id):
    from rush import Rush

    net = Rush(network_id, server.config)
    net.push_tasks([{"x": 1}, {"x": 2}])
    rows = json.loads(rush("network", "list", "--url", server.url, "--output", "json")[1])
    assert network_id in [row["network"] for row in rows]
    assert network_id in rush("network", "list", "--url", server.url)[1]
    shown = json.loads(rush("network", "show", network_id, "--url", server.url, "--output", "json")[1])
    assert shown["network"] == network_id
    assert shown["workers"] == []
    assert rush("worker", "list", network_id, "--url", server.url)[1] == "no workers\n"
    assert rush("worker", "logs", network_id, "--url", server.url)[1] == "no log records\n"
    assert "no worker" in rush("worker", "stop", network_id, "--url", server.url)[1]
    code, _, err = rush("network", "show", network_id + "x", "--url", server.url)
    assert code == 1
    assert "did you mean" in err
    assert rush("network", "reset", network_id, "--url", server.url)[0] == 0
    assert net.n_tasks == 0


def test_table_and_listing_line_up(capsys):
    assert table([{"a": 1, "b": None}, {"a": "long", "b": "x"}], ["a", "b"]) == "a     b\n1\nlong  x"
    assert table([{"n": 5, "s": "x"}, {"n": 12, "s": None}], ["n", "s"]) == " n  s\n 5  x\n12"
    assert listing({"one_two": 1, "x": None, "y": "z"}) == "one two  1\ny        z"
    show({"a": Format.JSON}, "", Format.JSON)
    assert capsys.readouterr().out == '{"a": "json"}\n'


def leaves(command, words=()):
    """Give all commands with their words, nouns that have verbs aside."""
    verbs = getattr(command, "commands", None)
    if not verbs:
        return [(words, command)]
    return [leaf for verb, found in verbs.items() for leaf in leaves(found, (*words, verb))]


def test_every_command_speaks_json():
    found = [
        leaf
        for noun in NOUNS
        for leaf in leaves(typer.main.get_command(import_module(f"rush.cli.{noun}").app), (noun,))
    ]
    assert len(found) > 15
    silent = {words for words, command in found if "output" not in {option.name for option in command.params}}
    assert silent == set()


def test_a_server_that_is_away_does_not_keep_a_command_waiting(rush, monkeypatch):
    monkeypatch.setattr("rush.cli.connection.PATIENCE", 0.2)
    code, _, err = rush("network", "list", "--url", f"redis://127.0.0.1:{free_port()}")
    assert code == 1
    assert "tried for 0.2 s" in err


def test_a_wrong_password_is_an_error_without_it(rush, server):
    code, out, err = rush("network", "list", "--url", f"redis://:wr0ng@127.0.0.1:{server.port}")
    assert (code, out) == (1, "")
    assert "password" in err
    assert "wr0ng" not in err


def test_a_network_of_a_bad_name_is_not_there(rush, server):
    code, _, err = rush("worker", "list", "a b", "--url", server.url)
    assert code == 1
    assert "no network 'a b'" in err


def test_a_misspelt_command_is_wrong_use_with_the_near_one(rush):
    code, _, err = rush("wroker")
    assert code == 2
    assert "worker" in err
    code, _, err = rush("worker", "lst")
    assert code == 2
    assert "list" in err
