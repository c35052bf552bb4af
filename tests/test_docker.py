"""The files in docker/ fit together, and what the containers run brings up a cluster on which rush works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import servers
from tests.backends import slurm_cluster

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
GENERATED = {"password"}
"""What the README of docker/ tells to make."""

pytestmark = pytest.mark.skipif(not DOCKER.exists(), reason="not in a clone")


@pytest.fixture(scope="module")
def compose():
    return pytest.importorskip("yaml").safe_load((DOCKER / "compose.yml").read_text())


def test_the_services_are_there(compose):
    assert set(compose["services"]) == {"valkey", "host1", "host2", "login"}
    assert all("healthcheck" in service for service in compose["services"].values())


def test_what_a_service_names_is_declared(compose):
    for service in compose["services"].values():
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        assert set(service.get("depends_on", ())) <= set(compose["services"])
        sources = [volume.partition(":")[0] for volume in service.get("volumes", ())]
        assert all(source in compose["volumes"] or (DOCKER / source).is_file() for source in sources)
        build = service.get("build")
        assert build is None or (DOCKER / build["context"] / build["dockerfile"]).is_file()
    files = {Path(secret["file"]).name for secret in compose["secrets"].values()}
    assert files == GENERATED
    assert f"docker/{min(files)}" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_image_is_built_from_files_that_exist_and_keeps_secrets_out():
    text = (DOCKER / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE) for name in line.split()]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text().split("\n")
    assert not set(copied) & set(ignored)
    assert {f"docker/{name}" for name in GENERATED} <= set(ignored)
    extras = re.findall(r"/src\[(.*?)\]", text)[0].split(",")
    assert all(f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text() for extra in extras)


@pytest.mark.parametrize("script", sorted(path.name for path in DOCKER.glob("*.sh")))
def test_the_scripts_are_shell(script):
    subprocess.run(["sh", "-n", DOCKER / script], check=True)


NAMESPACES = ["unshare", "--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
REHEARSAL = """
mount -t tmpfs none /home
for folder in /run /etc/slurm /etc/munge /var/spool /var/log /var/lib/munge; do mount -t tmpfs none $folder; done
mkdir -p /run/secrets /var/log/slurm /home/rush "$WORK/data" "$WORK/ssh" "$WORK/bin"
cp /etc/ssh/sshd_config /etc/ssh/ssh_config /etc/ssh/moduli "$WORK/ssh" && mount --bind "$WORK/ssh" /etc/ssh
(echo 'rush:*:0:0::/home/rush:/bin/bash' && grep -v '^rush:' /etc/passwd) > "$WORK/passwd"
(echo 'rush:x:0:' && grep -v '^rush:' /etc/group) > "$WORK/group"
printf '127.0.0.1 localhost\\n10.99.0.1 login\\n10.99.0.2 valkey\\n10.99.0.3 host1\\n10.99.0.4 host2\\n' > "$WORK/hosts"
for file in passwd group hosts; do mount --bind "$WORK/$file" /etc/$file; done
ip link set lo up && for n in 1 2 3 4; do ip address add 10.99.0.$n/32 dev lo; done
hostname login
cp "$DOCKER/slurm.conf" "$DOCKER/cgroup.conf" /etc/slurm
echo 0123456789abcdef > /run/secrets/password
ln -s "$VALKEY" "$WORK/bin/valkey-server"
export PATH="$WORK/bin:$PATH:/usr/sbin:/sbin"
unset XDG_CONFIG_HOME XDG_DATA_HOME XDG_STATE_HOME XDG_CACHE_HOME XDG_RUNTIME_DIR
sed "s|^dir /data|dir $WORK/data|" "$DOCKER/start-valkey.sh" | sh > "$WORK/valkey.log" 2>&1 &
sh "$DOCKER/start-host.sh" > "$WORK/host.log" 2>&1 &
until ssh-keyscan host1 2>/dev/null | grep -q ssh-ed25519; do sleep 0.1; done
sh "$DOCKER/start-login.sh" > "$WORK/login.log" 2>&1 &
until sinfo --noheader --format=%T 2>/dev/null | grep -q idle && test -f /home/rush/.config/rush/rush.toml; do sleep 0.1; done
export HOME=/home/rush USER=rush LOGNAME=rush
cd $HOME
for name in hosts cpu; do "${PYTHON%/*}/rush" server check --backend $name; done
exec "$PYTHON" "$WORK/campaign.py"
"""
"""The containers' start scripts in namespaces of their own, with one machine for all hosts and root for the user."""

CAMPAIGN = """
import os
import rush

def square(worker):
    for task in worker.tasks(timeout=None):
        task.finish({"y": task.xs["x"] ** 2, "place": os.environ.get("SLURM_JOB_ID") and "job" or "host"})

with rush.rsh("rehearsal") as net:
    for name in ("hosts", "cpu"):
        workers = net.start_workers(square, n_workers=2, backend=name)
        net.wait_for_workers(worker_ids=workers, timeout=60)
        keys = net.push_tasks([{"x": n} for n in range(20)])
        assert net.wait_for_tasks(keys, timeout=30)
        net.stop_workers("terminate", workers)
        print(name, sorted(net.fetch_new_tasks()["place"].unique()), net.config.address)
    net.reset()
"""


@pytest.mark.slow
@pytest.mark.scheduler
def test_what_the_containers_run_makes_a_cluster_on_which_rush_works(tmp_path):
    lacking = slurm_cluster.missing() or (shutil.which("unshare") is None and "not installed: unshare")
    if lacking or servers.binary("valkey") is None:
        if os.environ.get("CI") == "true":
            pytest.fail(str(lacking or "no Valkey"))
        pytest.skip(str(lacking or "no Valkey"))
    (tmp_path / "campaign.py").write_text(CAMPAIGN)
    tmp_path.chmod(0o755)
    given = {"WORK": tmp_path, "DOCKER": DOCKER, "PYTHON": sys.executable}
    done = subprocess.run(
        [*NAMESPACES, "timeout", "100", "sh", "-eu", "-c", REHEARSAL],
        env={
            **os.environ,
            **{name: str(value) for name, value in given.items()},
            "VALKEY": str(servers.binary("valkey")),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    logs = "".join(f"{path.name}: {path.read_text(errors='replace')[-2000:]}\n" for path in tmp_path.glob("*.log"))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{logs}"
    address = "redis://valkey:6379/0"
    assert done.stdout.splitlines()[-2:] == [f"hosts ['host'] {address}", f"cpu ['job'] {address}"]
    assert len(re.findall(r"answer +ok", done.stdout)) == 4  # from here and from there, for both
