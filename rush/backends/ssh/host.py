"""What is asked of a host: to start a supervisor, to say what became of it, to stop it, to show its output."""

import secrets
import shlex
import time
from collections.abc import Mapping, Sequence

from rush.backends.processes import exit_phrase, module_paths
from rush.backends.ssh import scripts as ssh_scripts
from rush.backends.ssh.config import Target
from rush.backends.ssh.links import Answer, Link, LinkLost, link_to
from rush.errors import BackendError
from rush.model import Placement, PlacementState, PlacementStatus, WorkerCommand

_KILLED = 128
"""A shell's exit code for signal n is this and n."""
_NOTHING = "-"
_VERSIONS = """
import platform, socket, rush
from importlib.metadata import version
print("rush:", f"{socket.gethostname()}, Python {platform.python_version()}, rush {version('rush-hpc')}")
"""


def worker_script(command: WorkerCommand, python: str, setup: Sequence[str]) -> str:
    """Give the script that becomes the supervisor. It finds its secrets on descriptor 3."""
    words = shlex.join([*command.arguments, "--secrets", "-"])
    return ssh_scripts.read(
        "worker",
        {
            "title": f"Workers of the rush network {command.network_id}: {', '.join(command.worker_ids)}.",
            "setup": "\n".join(setup),
            "command": f'{python} {words} --folder "${{0%/*}}" {shlex.join(module_paths())}'.rstrip(),
        },
    )


def start(
    target: Target, command: WorkerCommand, secret: bytes, script: str, folder: str | None, patience: float
) -> Placement:
    """Start a supervisor on a host.

    Raises
    ------
    BackendError
        It could not be started; the message names the host and says why.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    name = f"{command.network_id}-{stamp}-{secrets.token_hex(4)}"
    worker = script.encode()
    values = {"parent": shlex.quote(folder or ""), "name": shlex.quote(name), "size": str(len(worker))}
    asking = ssh_scripts.with_processes("start", values), secret + b"\n" + worker
    link = link_to(target, patience)
    try:
        answer = link.run(*asking, patience)
    except LinkLost:  # after all was sent, perhaps
        answer = _run(target, *asking, patience)
    lines = ssh_scripts.answers(answer.output)
    if len(lines) < 2:
        raise BackendError(f"host {target.name!r} could not start workers: {_complaint(answer)}")
    pid, began, boot, host = lines[-2].split()
    return Placement(
        backend="ssh",
        id=secrets.token_hex(8),
        worker_ids=command.worker_ids,
        host=host,
        pid=int(pid),
        boot_id=boot,
        stdout=f"{lines[-1]}/supervisor.out",
        stderr=f"{lines[-1]}/supervisor.err",
        details={"start": began, "folder": lines[-1]} | _described(target),
    )


def poll(target: Target, placements: Sequence[Placement], patience: float) -> Mapping[str, PlacementStatus]:
    """Ask a host what has become of its supervisors."""
    answer = _run(target, ssh_scripts.with_processes("poll"), _listed(placements), patience)
    found = dict(line.partition(" ")[::2] for line in ssh_scripts.answers(answer.output))
    names = {placement.id: placement for placement in placements}
    if answer.code != 0 or not names.keys() <= found.keys():
        raise BackendError(f"host {target.name!r} does not say what became of its workers: {_complaint(answer)}")
    return {name: _status(names[name], words) for name, words in found.items() if name in names}


def stop(target: Target, placements: Sequence[Placement], *, kill: bool, patience: float) -> None:
    """Tell supervisors on a host to drain, or kill them with all that they have started."""
    script = ssh_scripts.with_processes("stop", {"how": "KILL" if kill else "TERM"})
    answer = _run(target, script, _listed(placements), patience)
    if answer.code != 0:
        raise BackendError(f"host {target.name!r} could not stop its workers: {_complaint(answer)}")


def clear(target: Target, placements: Sequence[Placement], patience: float) -> None:
    """Remove the folders of supervisors that have ended."""
    _run(target, ssh_scripts.read("clear").encode(), _listed(placements), patience)


def check(target: Target, python: str, setup: Sequence[str], patience: float) -> str:
    """Give the name of a host and the versions of Python and rush that its workers would have.

    Raises
    ------
    BackendError
        They would have none; the message says why.
    """
    lines = "\n".join((*setup, f"{python} -c {shlex.quote(_VERSIONS)} </dev/null"))
    answer = _run(target, ssh_scripts.read("check").encode(), lines.encode() + b"\n", patience)
    found = ssh_scripts.answers(answer.output)
    if answer.code != 0 or not found:
        raise BackendError(f"host {target.name!r} cannot run workers: {_complaint(answer)}")
    return found[-1]


def tail(target: Target, path: str, lines: int, patience: float) -> str:
    """Give the last lines of a file on a host."""
    script = ssh_scripts.read("tail", {"lines": str(max(0, lines))}).encode()
    answer = _run(target, script, path.encode() + b"\n", patience)
    return ssh_scripts.after(answer.output, "tail")


def end_server_process(link: Link, process: str, patience: float) -> None:
    """End the process that served a connection before this one, if it is still there, and with it its listening."""
    link.run(ssh_scripts.with_processes("end"), process.encode() + b"\n", patience)


def target_of(placement: Placement) -> Target:
    """Give the host of a placement, as it was reached when its workers were started."""
    details = placement.details
    return Target(details.get("target", placement.host or ""), details.get("config"), details.get("client", "paramiko"))


def _described(target: Target) -> dict[str, str]:
    config = {"config": target.config} if target.config else {}
    return {"target": target.name, "client": target.client} | config


def _run(target: Target, script: bytes, data: bytes, patience: float) -> Answer:
    return link_to(target, patience).run(script, data, patience)


def _listed(placements: Sequence[Placement]) -> bytes:
    rows = [
        (p.id, str(p.pid), p.details.get("start", _NOTHING), p.boot_id or _NOTHING, p.host or _NOTHING)
        for p in placements
    ]
    folders = [p.details.get("folder", _NOTHING) for p in placements]
    return "".join(f"{' '.join(row)} {folder}\n" for row, folder in zip(rows, folders, strict=True)).encode()


def _complaint(answer: Answer) -> str:
    return answer.errors.strip()[-500:] or f"exit code {answer.code}"


def _status(placement: Placement, words: str) -> PlacementStatus:
    state, _, rest = words.partition(" ")
    match state:
        case "running":
            return PlacementStatus(PlacementState.RUNNING)
        case "elsewhere":
            reason = f"host {rest} was reached instead of {placement.host}"
            return PlacementStatus(PlacementState.UNKNOWN, reason)
        case "restarted":
            return PlacementStatus(PlacementState.ENDED, f"host {placement.host} was restarted")
        case _ if rest.strip().isdigit():
            code = int(rest)
            return PlacementStatus(PlacementState.ENDED, exit_phrase(_KILLED - code if code > _KILLED else code))
        case _:
            return PlacementStatus(PlacementState.ENDED, f"process {placement.pid} on {placement.host} has ended")
