"""An sshd for tests: its own keys, known hosts and configuration, on loopback or on a host of a neighbourhood."""

import contextlib
import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.servers import free_port

PROGRAM = "/usr/sbin/sshd"


def missing() -> str:
    """Say what is missing here; '' for nothing."""
    lacking = [name for name in (PROGRAM, "ssh", "ssh-keygen") if shutil.which(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def make_key(path: Path, passphrase: str = "") -> Path:
    """Make a pair of keys."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)
    return path


class Sshd:
    """One sshd, which `key` opens.

    Attributes
    ----------
    host_key
        Its public key, as it stands in known_hosts.
    home
        The home of those who log in.
    """

    def __init__(
        self,
        folder: Path,
        address: str = "127.0.0.1",
        port: int = 0,
        prefix: Sequence[str] = (),
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.address, self.port = folder, address, port or free_port()
        self._prefix, self._settings = prefix, dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(mode=0o755, parents=True)
        self.home = folder / "home"
        self.home.mkdir()
        self.key = make_key(folder / "id_ed25519")
        self.new_host_key()
        shutil.copy(folder / "id_ed25519.pub", folder / "authorized_keys")

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host_ed25519.pub").read_text().split()[:2])

    @property
    def known_name(self) -> str:
        return self.address if self.port == 22 else f"[{self.address}]:{self.port}"

    @property
    def known_hosts(self) -> Path:
        path = self.folder / "known_hosts"
        path.write_text(f"{self.known_name} {self.host_key}\n")
        return path

    def new_host_key(self) -> None:
        """Change its key, as a host that was installed anew does."""
        for path in self.folder.glob("host_ed25519*"):
            path.unlink()
        make_key(self.folder / "host_ed25519")

    def block(self, name: str, **options: object) -> str:
        """Give the lines of an SSH configuration by which it is known under a name."""
        values = {
            "HostName": self.address,
            "Port": self.port,
            "User": getpass.getuser(),
            "IdentityFile": self.key,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "/dev/null",
            **options,
        }
        return "\n".join([f"Host {name}", *(f"    {option} {value}" for option, value in values.items()), ""])

    def start(self) -> None:
        """Start it, and wait until it listens."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        (self.folder / "sshd_config").write_text(self._configuration())
        argv = [*self._prefix, PROGRAM, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(self.folder / "log")]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while "Server listening" not in self.log:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"sshd did not start: {self.log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, its connections, and whatever was started over them."""
        process, self._process = self._process, None
        if process is None:
            return
        served = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        process.wait(10)
        family = [*served, *self.visitors()]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        deadline = time.monotonic() + 5
        while any(_is_at_work(member) for member in family) and time.monotonic() < deadline:
            time.sleep(0.01)

    @property
    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def connections(self) -> list[psutil.Process]:
        """Give the processes that serve connections."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children(recursive=True)
        return [child for child in children if child.name() == "sshd"]

    def visitors(self) -> list[psutil.Process]:
        """Give the processes that were started over its connections, and all that these have started."""
        found = []
        for process in psutil.process_iter(["pid"]):
            try:
                words = process.environ().get("SSH_CONNECTION", "").split()
                if words[2:] == [self.address, str(self.port)] and _is_at_work(process):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def cut(self) -> None:
        """Break all connections, as a network does: neither side is told by the other."""
        for process in self.connections():
            process.kill()

    def _configuration(self) -> str:
        settings = {
            "ListenAddress": self.address,
            "Port": self.port,
            "HostKey": self.folder / "host_ed25519",
            "PidFile": "none",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "UseDNS": "no",
            "MaxStartups": "50:30:100",
            "SetEnv": f"HOME={self.home}",
            "LogLevel": "VERBOSE",
            **self._settings,
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())


def _is_at_work(process: psutil.Process) -> bool:
    """Say whether it lives; who inherits orphans may take its time to bury them."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
