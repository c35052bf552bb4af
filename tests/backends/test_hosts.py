"""Whether a job system's nodes are this very machine."""

import socket
from pathlib import Path

import pytest

from rush.backends import Local, hosts
from rush.backends.hosts import are_all_here, read_openpbs_nodes, read_torque_nodes
from rush.backends.jobs import programs as job_programs
from rush.backends.pbs.backend import PBS
from rush.backends.slurm.backend import Slurm

RECORDED = Path(__file__).parent / "recorded"


@pytest.mark.parametrize("names", [["127.0.0.1"], ["localhost"], ["127.0.0.1", "::1"], [socket.gethostname()]])
def test_this_machine_by_any_name(names):
    assert are_all_here(names)


@pytest.mark.parametrize("names", [[], ["203.0.113.7"], ["127.0.0.1", "203.0.113.7"], ["no-such-host.invalid"]])
def test_another_machine_or_none(names):
    assert not are_all_here(names)


def test_hosts_of_openpbs_are_read():
    assert read_openpbs_nodes((RECORDED / "pbsnodes.json").read_text()) == {"rushpbs"}
    assert read_openpbs_nodes("pbsnodes: Server has no node list") == set()
    assert read_openpbs_nodes("[]") == set()


def test_hosts_of_torque_are_read():
    assert read_torque_nodes("node1\n     state = free\n     np = 4\n\nnode2\n     state = down\n") == {
        "node1",
        "node2",
    }


def test_workers_of_this_machine_reach_its_loopback():
    assert Local().reaches_loopback()


@pytest.mark.parametrize("kind", [Slurm, PBS])
def test_nodes_elsewhere_reach_it_only_where_the_user_says_so(kind, monkeypatch):
    monkeypatch.setattr(hosts, "slurm_nodes", lambda _: {"203.0.113.7"})
    monkeypatch.setattr(hosts, "pbs_nodes", lambda _: {"203.0.113.7"})
    dialect = {"dialect": "openpbs"} if kind is PBS else {}
    assert not kind(**dialect).reaches_loopback()
    assert kind(**dialect, loopback=True).reaches_loopback()
    assert not kind(**dialect, loopback=False).reaches_loopback()


@pytest.mark.scheduler
@pytest.mark.slow
def test_a_real_slurm_of_one_machine_reaches_its_loopback(cluster):
    assert Slurm().reaches_loopback()
    assert Slurm(partition="debug").reaches_loopback()
    assert not Slurm(partition="nowhere").reaches_loopback()
    assert PBS().reaches_loopback()


def test_pbs_is_asked_in_its_dialect(monkeypatch):
    asked = []

    def run(argv):
        asked.append(argv)
        return type("Done", (), {"stdout": ""})

    monkeypatch.setattr(job_programs, "run", run)
    for dialect in ("openpbs", "torque", "wrapper"):
        assert not PBS(dialect=dialect).reaches_loopback()
    assert asked == [
        ["pbsnodes", "-a", "-F", "json"],
        ["pbsnodes", "-a"],
        ["sinfo", "--noheader", "--Node", "--format=%o"],
    ]
