"""The hosts that tests make: their own name and address, cut off and healed, gone afterwards."""

import subprocess
import sys

import psutil

from tests import namespaces

LOOK = "import socket, sys; print(socket.gethostname(), socket.gethostbyname(sys.argv[1]))"


def test_a_host_has_its_own_name_and_knows_its_neighbours(neighbourhood):
    first, second = neighbourhood(2).hosts
    done = subprocess.run(
        first.command(sys.executable, "-c", LOOK, second.name), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [first.name, second.address]


def test_a_server_here_is_reached_from_a_host_until_it_is_cut_off(neighbourhood, start_server):
    around = neighbourhood(1)
    (host,) = around.hosts
    server = start_server(settings={"bind": f"127.0.0.1 {around.address}"})
    look = f"import socket; socket.create_connection(({around.address!r}, {server.port}), timeout=1)"

    def reached():
        return (
            subprocess.run(host.command(sys.executable, "-c", look), capture_output=True, check=False).returncode == 0
        )

    assert reached()
    host.cut()
    assert not reached()
    host.heal()
    assert reached()


def test_afterwards_nothing_is_left_of_the_hosts(neighbourhood, wait_until):
    with namespaces.neighbourhood(1) as around:
        (host,) = around.hosts
        process = subprocess.Popen(host.command("sleep", "100"))
        wait_until(lambda: process.pid in host.pids(), 5)
    assert process.wait(5) is not None
    assert host.name not in namespaces._namespaces()
    assert host.link not in psutil.net_if_addrs()
