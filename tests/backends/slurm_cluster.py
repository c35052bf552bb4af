"""A real Slurm on this machine: three nodes, accounting, Torque's commands; shared by all test processes that want it."""

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
from pathlib import Path

import psutil

from tests.servers import free_port

NEEDED = (
    "munged",
    "slurmctld",
    "slurmd",
    "slurmdbd",
    "mariadbd",
    "sbatch",
    "squeue",
    "sacct",
    "scancel",
    "qsub",
    "runuser",
)
NODES = 3
CPUS = 8
ROOT = Path("/tmp") / f"rush-test-slurm-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]}"
"""One place for all test processes that run this very file."""
CONFIG = ROOT / "etc" / "slurm.conf"


def missing() -> str:
    """Say what is missing here; '' for nothing."""
    lacking = [
        program for program in NEEDED if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    ]
    if lacking:
        return f"not installed: {', '.join(lacking)}"
    return "" if os.geteuid() == 0 else "starting Slurm's daemons takes root"


@contextlib.contextmanager
def in_use() -> Iterator[Path]:
    """Keep the cluster up for as long as this process uses it: the first starts it, the last stops it."""
    ROOT.mkdir(mode=0o755, exist_ok=True)
    with _locked():
        if not _users():
            _stop()
            try:
                _start()
            except BaseException:
                _stop()
                raise
        (ROOT / "users" / str(os.getpid())).touch()
    try:
        yield CONFIG
    finally:
        with _locked():
            (ROOT / "users" / str(os.getpid())).unlink(missing_ok=True)
            if not _users():
                _stop()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    with (ROOT / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _users() -> list[int]:
    folder = ROOT / "users"
    folder.mkdir(exist_ok=True)
    for entry in folder.iterdir():
        if not psutil.pid_exists(int(entry.name)):
            entry.unlink()
    return [int(entry.name) for entry in folder.iterdir()]


def _start() -> None:
    for name in ("etc", "state", "log", "run", "munge", "mysql"):
        (ROOT / name).mkdir(mode=0o755)
    accounting = free_port()
    _write_config(accounting)
    _start_munge()
    _start_accounting(accounting, free_port())
    _run("slurmctld", "-f", str(CONFIG))
    for number in range(1, NODES + 1):
        _run("slurmd", "-f", str(CONFIG), "-N", f"node{number}")
    _wait(
        lambda: _ask("sinfo", "-h", "-N", "-p", "debug", "-o", "%T").split().count("idle") == NODES,
        "the nodes are idle",
    )


def _write_config(accounting: int) -> None:
    host = socket.gethostname().split(".")[0]
    nodes = "".join(
        f"NodeName=node{n} NodeHostname={host} NodeAddr=127.0.0.1 Port={free_port()} CPUs={CPUS} RealMemory=4000\n"
        for n in range(1, NODES + 1)
    )
    for number in range(1, NODES + 1):
        (ROOT / f"spool.node{number}").mkdir()
    CONFIG.write_text(f"""ClusterName=rush
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={ROOT}/munge/socket,cred_expire=5
StateSaveLocation={ROOT}/state
SlurmdSpoolDir={ROOT}/spool.%n
SlurmctldPidFile={ROOT}/run/slurmctld.pid
SlurmdPidFile={ROOT}/run/slurmd.%n.pid
SlurmctldLogFile={ROOT}/log/slurmctld.log
SlurmdLogFile={ROOT}/log/slurmd.%n.log
PlugStackConfig={ROOT}/etc/plugstack.conf
ReturnToService=2
MpiDefault=none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,bf_interval=1
MaxArraySize=4
MaxJobCount=2000
KillWait=5
MessageTimeout=5
MinJobAge=300
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStorageEnforce=limits
AccountingStoragePort={accounting}
AccountingStoragePass={ROOT}/munge/socket
{nodes}PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP LLN=YES
PartitionName=closed Nodes=node1 State=DOWN
""")
    (ROOT / "etc" / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    (ROOT / "etc" / "plugstack.conf").write_text("optional spank_pbs.so\n")


def _start_munge() -> None:
    folder = ROOT / "munge"
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    for path in (folder, folder / "key"):
        shutil.chown(path, "munge", "munge")
    files = {"socket": "socket", "key-file": "key", "pid-file": "munged.pid", "log-file": "log", "seed-file": "seed"}
    words = [f"--{option}={folder / name}" for option, name in files.items()]
    _run("runuser", "-u", "munge", "--", shutil.which("munged", path="/usr/sbin:/sbin") or "munged", *words)


def _start_accounting(port: int, database: int) -> None:
    data, sock = ROOT / "mysql", ROOT / "mysql" / "socket"
    shutil.chown(data, "mysql", "mysql")
    words = ["--no-defaults", "--user=mysql", f"--datadir={data}"]
    _run("mariadb-install-db", *words, "--auth-root-authentication-method=socket", "--skip-test-db")
    options = [
        f"--socket={sock}",
        f"--pid-file={data}/mariadbd.pid",
        "--bind-address=127.0.0.1",
        f"--port={database}",
        f"--log-error={data}/log",
    ]
    small = ["--innodb-buffer-pool-size=64M", "--innodb-lock-wait-timeout=900"]
    _run("setsid", "--fork", "mariadbd", *words, *options, *small)
    _wait(lambda: _works("mariadb-admin", "--no-defaults", f"--socket={sock}", "ping"), "the database answers")
    grants = "CREATE USER slurm@'%' IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct_db.* TO slurm@'%';"
    _run("mariadb", "--no-defaults", f"--socket={sock}", "-e", f"CREATE DATABASE slurm_acct_db; {grants}")
    path = ROOT / "etc" / "slurmdbd.conf"
    path.write_text(f"""AuthType=auth/munge
AuthInfo=socket={ROOT}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
LogFile={ROOT}/log/slurmdbd.log
PidFile={ROOT}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
""")
    path.chmod(0o600)
    _run("slurmdbd")
    _wait(lambda: _works("sacctmgr", "-n", "show", "cluster"), "the accounting answers")
    for order in ("add cluster rush", "add qos few MaxSubmitJobsPerUser=2", "modify user root set qos=normal,few"):
        subprocess.run(["sacctmgr", "-i", *order.split()], env=_environment(), check=False, **_QUIET)


def _stop() -> None:
    """End the daemons by their pid files, jobs first, and forget all."""
    if CONFIG.exists():
        subprocess.run(["scancel", "--signal=KILL", "--me"], env=_environment(), timeout=20, check=False, **_QUIET)
    files = [
        *sorted((ROOT / "run").glob("slurmd.*.pid")),
        ROOT / "run" / "slurmctld.pid",
        ROOT / "run" / "slurmdbd.pid",
    ]
    _end([*files, ROOT / "munge" / "munged.pid"])
    _end([ROOT / "mysql" / "mariadbd.pid"])
    for entry in ROOT.iterdir():
        if entry.is_dir() and entry.name != "users":
            shutil.rmtree(entry)


def _end(files: list[Path]) -> None:
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


_QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "PBS", "RUSH_"))}
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return kept | {"SLURM_CONF": str(CONFIG), "PATH": path}


def _run(*argv: str) -> None:
    """Run a program that ends or becomes a daemon; its output must not be a pipe that the daemon keeps open."""
    with (ROOT / "log" / "start.log").open("ab") as log:
        subprocess.run(
            argv, env=_environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True, timeout=60
        )


def _works(*argv: str) -> bool:
    return subprocess.run(argv, env=_environment(), timeout=20, check=False, **_QUIET).returncode == 0


def _ask(*argv: str) -> str:
    done = subprocess.run(argv, env=_environment(), capture_output=True, text=True, timeout=20, check=False)
    return done.stdout


def _wait(predicate, what: str, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            raise RuntimeError(f"Slurm did not start: waited for {timeout} s until {what}; see {ROOT}/log")
        time.sleep(0.05)
