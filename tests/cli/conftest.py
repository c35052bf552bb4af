"""Run commands in the test's own process."""

import json

import pytest

from rush.cli.main import main
from rush.server import stop_server


@pytest.fixture
def rush(capsys):
    """Run a command: exit code, standard output, standard error."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    yield run
    stop_server()


@pytest.fixture
def answer(rush):
    """Run a command that goes well with ``--output json``, and read its one value."""

    def run(*arguments):
        at = arguments.index("--") if "--" in arguments else len(arguments)
        code, out, err = rush(*arguments[:at], "--output", "json", *arguments[at:])
        assert code == 0, err
        return json.loads(out)

    return run
