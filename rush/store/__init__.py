"""The only code that talks to Redis."""

from rush.store.events import OrderChannel
from rush.store.networks import list_networks
from rush.store.replies import Beat, BeatReply, Counts, Ended, ScanReply
from rush.store.session import Registration, Session
from rush.store.store import Store
from rush.store.tasks import Outcome, Popped, Tasks

__all__ = [
    "Beat",
    "BeatReply",
    "Counts",
    "Ended",
    "OrderChannel",
    "Outcome",
    "Popped",
    "Registration",
    "ScanReply",
    "Session",
    "Store",
    "Tasks",
    "list_networks",
]
