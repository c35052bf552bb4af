"""Names for workers and networks that people can tell apart in a log."""

import secrets

_MOODS = (
    *("amber", "brave", "brisk", "calm", "clever", "copper", "dapper", "eager", "fleet", "frosty", "gentle", "golden"),
    *("hardy", "jolly", "keen", "lively", "lucid", "mellow", "nimble", "noble", "patient", "plucky", "quiet", "rapid"),
    *("silver", "sober", "steady", "sunny", "swift", "tidy", "vivid", "witty"),
)
_ANIMALS = (
    *("badger", "beaver", "bison", "crane", "dingo", "eagle", "falcon", "ferret", "finch", "gecko", "gibbon", "hare"),
    *("heron", "ibex", "jackal", "kestrel", "lemur", "lynx", "marten", "mole", "newt", "otter", "owl", "panda"),
    *("puffin", "raven", "robin", "seal", "stoat", "tapir", "vole", "wren"),
)


def new_worker_id() -> str:
    """Make a worker id such as ``brisk_otter_1f03a9c2``."""
    return f"{secrets.choice(_MOODS)}_{secrets.choice(_ANIMALS)}_{secrets.token_hex(4)}"


def new_network_id() -> str:
    """Make a network id that no other process makes."""
    return f"network-{secrets.token_hex(8)}"
