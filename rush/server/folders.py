"""Where a server keeps its files: on a local disk, in a folder of its own that one server at a time may use."""

import contextlib
import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from rush.errors import ConfigError, RushError

Mounts = Sequence[tuple[str, str]]

_NETWORK = {
    "9p", "acfs", "afs", "afpfs", "autofs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs", "gfs2", "glusterfs",
    "gpfs", "lustre", "ncpfs", "nfs", "nfs3", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs",
    "vboxsf", "virtiofs", "wekafs", "webdav",
}  # fmt: skip
_NETWORK_FUSE = ("beegfs", "ceph", "gluster", "gvfs", "juicefs", "lustre", "mfs", "rclone", "s3fs", "sshfs", "unionfs")


def default_folder() -> Path:
    """Give the folder of the server that ``rush server start`` starts.

    Raises
    ------
    ConfigError
        It is on a network file system.
    """
    import platformdirs

    folder = platformdirs.user_data_path("rush") / "server"
    if (kind := network_kind(folder, mounts())) is not None:
        raise ConfigError(
            f"{folder} is on a network file system ({kind}), where a server's file is slow and may break; "
            f"give a folder on a local disk: rush server start --dir {_local_folder()}"
        )
    return folder


def temporary_folder() -> Path:
    """Make a folder of mode 0700 for a server that ends with its process, on a local disk wherever there is one."""
    known = mounts()
    places = [tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"]  # noqa: S108 - the folder itself is private
    local = [place for place in places if os.access(place, os.W_OK) and network_kind(Path(place), known) is None]
    return Path(tempfile.mkdtemp(prefix="rush-server-", dir=local[0] if local else None))


def prepare(folder: Path) -> None:
    """Make a server's folder, open to its owner only.

    Raises
    ------
    ConfigError
        It cannot be made, or belongs to somebody else.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = folder.stat().st_uid
        if owner == os.getuid():
            folder.chmod(0o700)
    except OSError as error:
        raise ConfigError(f"the server's folder {folder} cannot be made: {error.strerror}") from error
    if owner != os.getuid():
        raise ConfigError(f"the server's folder {folder} belongs to another user; give one of your own")


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[int]:
    """Lock a folder; a server that inherits the descriptor keeps the lock for as long as it lives.

    Raises
    ------
    RushError
        A server runs there already.
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RushError(f"a server runs in {folder} already; stop it, or give another folder: --dir") from None
        except OSError as error:
            raise ConfigError(f"{folder} is on a file system without locks ({error.strerror}); use --dir") from error
        yield descriptor
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600 in one step: a reader sees the old one or the new one, never a part."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def mounts() -> list[tuple[str, str]]:
    """List mount points with the kinds of their file systems."""
    import psutil

    return [(part.mountpoint, part.fstype) for part in psutil.disk_partitions(all=True)]


def network_kind(folder: Path, known: Mounts) -> str | None:
    """Say which network file system a folder is on, or will be; None for a local disk."""
    resolved = folder.resolve()
    above = [(Path(point), kind) for point, kind in known if resolved.is_relative_to(point)]
    if not above:
        return None
    # Of two mounts on one point the later one hides the earlier.
    _, kind = max(enumerate(above), key=lambda item: (len(item[1][0].parts), item[0]))[1]
    remote = kind in _NETWORK or (kind.startswith("fuse.") and any(name in kind for name in _NETWORK_FUSE))
    return kind if remote else None


def _local_folder() -> str:
    return f"/var/tmp/rush-{os.getuid()}"  # noqa: S108 - a proposal; the folder is checked before it is used
