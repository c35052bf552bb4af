"""The code of the page about SSH runs as it stands there, on hosts that are called as the page calls them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "ssh.md"
PREAMBLE = """
import functools, sys, rush
import rush.backends
rush.backends.SSH = functools.partial(rush.backends.SSH, config=sys.argv[1], folder=sys.argv[2])
"""


@pytest.mark.slow
def test_the_code_of_the_page_runs(start_sshd, ssh_config, tmp_path):
    config = ssh_config(*(start_sshd(name).block(name) for name in ("node1", "node2")))
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    script = tmp_path / "page.py"
    script.write_text("\n\n".join([PREAMBLE, *blocks]))
    argv = [sys.executable, str(script), config, str(tmp_path / "out")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "361" in done.stdout
