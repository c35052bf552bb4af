"""The private server: found, started, watched and stopped by rush, for people who have none."""

from rush.server.private import process_server
from rush.server.reach import advice, check_reach
from rush.server.shared import ServerStatus, running_server, server_status, start_server, stop_server

__all__ = [
    "ServerStatus",
    "advice",
    "check_reach",
    "process_server",
    "running_server",
    "server_status",
    "start_server",
    "stop_server",
]
