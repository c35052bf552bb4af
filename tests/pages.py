"""Pages of the documentation that are followed step by step: their files are written, their commands run."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"(?:`([\w./-]+)`[^\n]*:\n\n)?^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A file to be written, or a command with what the page says that it prints."""

    file: str | None = None
    content: str = ""
    command: str = ""
    printed: str = ""


def steps(page: Path) -> list[Step]:
    """Read a page: blocks under a line that ends with a file's name in backquotes, and lines that begin with a prompt."""
    found = []
    for name, language, content in _BLOCK.findall(page.read_text()):
        if language == "console":
            for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
                command, _, printed = re.sub(r"\\\n\s*", "", part).partition("\n")
                found.append(Step(command=command, printed=printed))
        elif name:
            found.append(Step(file=name, content=content))
    return found


def run(command: str, folder: Path, python: str) -> tuple[int, str]:
    """Run a command as in a shell in which rush is installed; give its exit code and all that it printed."""
    environment = {**os.environ, "PATH": f"{Path(python).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, done.stdout


def shape(line: str) -> str:
    """Leave of a line what is the same in every run."""
    line = re.sub(r"\b[a-z]+_[a-z]+_[0-9a-f]{8}\b", "WORKER", line)
    line = re.sub(r"\b[0-9a-f]{12,}\b", "ID", line)
    line = re.sub(r"(/[\w.+-]+)+/?", "PATH", line)
    line = re.sub(r"\d+([.:]\d+)*", "0", line)
    return " ".join(line.split())
