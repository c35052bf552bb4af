"""A real Slurm on this machine: three nodes, with accounting and Torque's commands or without, or a node on each host."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psutil

from tests.namespaces import Neighbourhood
from tests.servers import free_port

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "qsub", "runuser")
NEEDED_FOR_ACCOUNTING = ("slurmdbd", "mariadbd", "sacct")
NODES = 3
_HOST = socket.gethostname().split(".")[0]
CPUS = 8
DEVICES = 4


def missing() -> str:
    """Say what is missing here; '' for nothing."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    lacking = [program for program in (*NEEDED, *NEEDED_FOR_ACCOUNTING) if shutil.which(program, path=path) is None]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    return "" if os.geteuid() == 0 else "starting Slurm's daemons takes root"


@dataclass(frozen=True)
class Cluster:
    """One Slurm, with all its files in `root`; with `around`, one node is on each of those hosts."""

    root: Path
    accounting: bool = True
    around: Neighbourhood | None = None

    @property
    def config(self) -> Path:
        """The file that SLURM_CONF is to name."""
        return self.root / "etc" / "slurm.conf"

    @cached_property
    def _nodes(self) -> list[str]:
        return [h.name for h in self.around.hosts] if self.around else [f"node{n}" for n in range(1, NODES + 1)]

    @contextlib.contextmanager
    def running(self) -> Iterator[Path]:
        """Start it for the length of a with statement."""
        self.root.mkdir(mode=0o755)
        try:
            self._start()
            yield self.config
        finally:
            self._stop()
            shutil.rmtree(self.root)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[Path]:
        """Keep it up for as long as this process uses it: the first starts it, the last stops it."""
        self.root.mkdir(mode=0o755, exist_ok=True)
        with self._locked():
            if not self._users():
                self._stop()
                try:
                    self._start()
                except BaseException:
                    self._stop()
                    raise
            (self.root / "users" / str(os.getpid())).touch()
        try:
            yield self.config
        finally:
            with self._locked():
                (self.root / "users" / str(os.getpid())).unlink(missing_ok=True)
                if not self._users():
                    self._stop()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.root / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _users(self) -> list[int]:
        folder = self.root / "users"
        folder.mkdir(exist_ok=True)
        for entry in folder.iterdir():
            if not psutil.pid_exists(int(entry.name)):
                entry.unlink()
        return [int(entry.name) for entry in folder.iterdir()]

    def _start(self) -> None:
        for name in ("etc", "state", "log", "run", "munge", "mysql", *(f"spool.{node}" for node in self._nodes)):
            (self.root / name).mkdir(mode=0o755)
        accounting = free_port() if self.accounting else 0
        self._write_config(accounting)
        self._start_munge()
        if self.accounting:
            self._start_accounting(accounting, free_port())
        self._run("slurmctld", "-f", str(self.config))
        for node in self._nodes:
            self.start_node(node)
        self._wait(lambda: self.node_states().count("idle") == len(self._nodes), "the nodes are idle")

    def start_node(self, node: str) -> None:
        """Start the daemon of a node, on its host where it has one."""
        host = next((host for host in self.around.hosts if host.name == node), None) if self.around else None
        words = ["slurmd", "-f", str(self.config), "-N", node]
        self._run(*(host.command(*words) if host else words))

    def node_states(self) -> list[str]:
        """Give what Slurm says of each node."""
        return self._ask("sinfo", "-h", "-N", "-p", "debug", "-o", "%T").split()

    def _node_line(self, node: str) -> str:
        own = {host.name: host.address for host in self.around.hosts} if self.around else {}
        host = f"NodeAddr={own[node]}" if node in own else f"NodeHostname={_HOST} NodeAddr=127.0.0.1"
        return f"NodeName={node} {host} Port={free_port()} CPUs={CPUS} RealMemory=4000 Gres=gpu:{DEVICES}\n"

    def _write_config(self, accounting: int) -> None:
        nodes = "".join(map(self._node_line, self._nodes))
        address = self.around.address if self.around else "127.0.0.1"
        self.config.write_text(f"""ClusterName=rush
SlurmctldHost={_HOST}({address})
SlurmctldPort={free_port()}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={self.root}/munge/socket,cred_expire=5
StateSaveLocation={self.root}/state
SlurmdSpoolDir={self.root}/spool.%n
SlurmctldPidFile={self.root}/run/slurmctld.pid
SlurmdPidFile={self.root}/run/slurmd.%n.pid
SlurmctldLogFile={self.root}/log/slurmctld.log
SlurmdLogFile={self.root}/log/slurmd.%n.log
PlugStackConfig={self.root}/etc/plugstack.conf
ReturnToService=2
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
MaxArraySize=4
MaxJobCount=2000
KillWait=5
MessageTimeout=5
SlurmdTimeout={5 if self.around else 60}
TCPTimeout=2
MinJobAge=300
JobAcctGatherType=jobacct_gather/linux
{_accounting(self.root, accounting)}{nodes}PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP LLN=YES PreemptMode=OFF
PartitionName=closed Nodes={self._nodes[0]} State=DOWN
PartitionName=low Nodes={self._nodes[-1]} PriorityTier=1 GraceTime=10
PartitionName=high Nodes={self._nodes[-1]} PriorityTier=2
""")
        (self.root / "etc" / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (self.root / "etc" / "plugstack.conf").write_text("optional spank_pbs.so\n")
        for number in range(DEVICES):
            (self.root / "etc" / f"device{number}").touch()
        (self.root / "etc" / "gres.conf").write_text(f"Name=gpu File={self.root}/etc/device[0-{DEVICES - 1}]\n")

    def _start_munge(self) -> None:
        folder = self.root / "munge"
        (folder / "key").write_bytes(os.urandom(1024))
        (folder / "key").chmod(0o400)
        for path in (folder, folder / "key"):
            shutil.chown(path, "munge", "munge")
        files = {
            "socket": "socket",
            "key-file": "key",
            "pid-file": "munged.pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        words = [f"--{option}={folder / name}" for option, name in files.items()]
        self._run("runuser", "-u", "munge", "--", shutil.which("munged", path="/usr/sbin:/sbin") or "munged", *words)

    def _start_accounting(self, port: int, database: int) -> None:
        data, sock = self.root / "mysql", self.root / "mysql" / "socket"
        shutil.chown(data, "mysql", "mysql")
        words = ["--no-defaults", "--user=mysql", f"--datadir={data}"]
        self._run("mariadb-install-db", *words, "--auth-root-authentication-method=socket", "--skip-test-db")
        options = [
            f"--socket={sock}",
            f"--pid-file={data}/mariadbd.pid",
            "--bind-address=127.0.0.1",
            f"--port={database}",
            f"--log-error={data}/log",
        ]
        small = ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
        self._run("setsid", "--fork", "mariadbd", *words, *options, *small)
        self._wait(
            lambda: self._works("mariadb-admin", "--no-defaults", f"--socket={sock}", "ping"), "the database answers"
        )
        grants = "CREATE USER slurm@'%' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct_db.* TO slurm@'%';"
        self._run("mariadb", "--no-defaults", f"--socket={sock}", "-e", f"CREATE DATABASE slurm_acct_db; {grants}")
        path = self.root / "etc" / "slurmdbd.conf"
        path.write_text(f"""AuthType=auth/munge
AuthInfo=socket={self.root}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={self.root}/log/slurmdbd.log
PidFile={self.root}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
""")
        path.chmod(0o600)
        self._run("slurmdbd")
        self._wait(lambda: self._works("sacctmgr", "-n", "show", "cluster"), "the accounting answers")
        for order in ("add cluster rush", "add qos few MaxSubmitJobsPerUser=2", "modify user root set qos=normal,few"):
            subprocess.run(["sacctmgr", "-i", *order.split()], env=self._environment(), check=False, **_QUIET)

    def _stop(self) -> None:
        """End the daemons by their pid files, jobs first, and forget all."""
        if self.config.exists():
            subprocess.run(
                ["scancel", "--signal=KILL", "--me"], env=self._environment(), timeout=20, check=False, **_QUIET
            )
        files = [
            *sorted((self.root / "run").glob("slurmd.*.pid")),
            self.root / "run" / "slurmctld.pid",
            self.root / "run" / "slurmdbd.pid",
        ]
        self._end([*files, self.root / "munge" / "munged.pid"])
        self._end([self.root / "mysql" / "mariadbd.pid"])
        for entry in self.root.iterdir():
            if entry.is_dir() and entry.name != "users":
                shutil.rmtree(entry)

    def _end(self, files: list[Path]) -> None:
        """End the daemons that wrote these files, all at once."""
        found = []
        for file in files:
            with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
                process = psutil.Process(int(file.read_text()))
                if process.name().startswith(file.name.split(".")[0]):
                    process.send_signal(signal.SIGTERM)
                    found.append(process)
        for process in psutil.wait_procs(found, timeout=10)[1]:
            process.kill()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "PBS", "RUSH_"))}
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        return kept | {"SLURM_CONF": str(self.config), "PATH": path}

    def _run(self, *argv: str) -> None:
        """Run a program that ends or becomes a daemon; its output must not be a pipe that the daemon keeps open."""
        with (self.root / "log" / "start.log").open("ab") as log:
            subprocess.run(
                argv, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, timeout=60
            )

    def _works(self, *argv: str) -> bool:
        return subprocess.run(argv, env=self._environment(), timeout=20, check=False, **_QUIET).returncode == 0

    def _ask(self, *argv: str) -> str:
        done = subprocess.run(argv, env=self._environment(), capture_output=True, text=True, timeout=20, check=False)
        return done.stdout

    def _wait(self, predicate, what: str, timeout: float = 20.0) -> None:
        deadline = time.monotonic() + timeout
        while not predicate():
            if time.monotonic() > deadline:
                raise RuntimeError(f"Slurm did not start: waited for {timeout} s until {what}; see {self.root}/log")
            time.sleep(0.05)


def _accounting(root: Path, port: int) -> str:
    if not port:
        return "AccountingStorageType=accounting_storage/none\n"
    return f"""AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStorageEnforce=limits
AccountingStoragePort={port}
AccountingStoragePass={root}/munge/socket
"""


_QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

_ROOT = Path("/tmp") / f"rush-test-slurm-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]}"
"""One place for all test processes that run this very file."""
SHARED = Cluster(_ROOT)
PLAIN = Cluster(_ROOT.with_name(f"{_ROOT.name}-plain"), accounting=False)
"""The same without accounting."""
