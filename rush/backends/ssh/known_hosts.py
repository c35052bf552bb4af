"""The keys by which hosts are known, in OpenSSH's files: names, patterns, hashed names, revoked keys."""

import base64
import binascii
import fnmatch
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path


class Verdict(Enum):
    """What the files say of a key that a host shows."""

    KNOWN = auto()
    UNKNOWN = auto()
    CHANGED = auto()
    REVOKED = auto()


@dataclass(frozen=True)
class Entry:
    """One line: the names it is for, a key, and where it stands."""

    names: str
    kind: str
    key: bytes
    revoked: bool
    place: str

    def is_for(self, name: str) -> bool:
        """Say whether the line is for a host: by name, by pattern, or by the hash of its name."""
        if self.names.startswith("|1|"):
            return _hash_matches(self.names, name)
        patterns = self.names.lower().split(",")
        if any(fnmatch.fnmatchcase(name, _plain(pattern[1:])) for pattern in patterns if pattern.startswith("!")):
            return False
        return any(fnmatch.fnmatchcase(name, _plain(pattern)) for pattern in patterns if not pattern.startswith("!"))


def read(paths: Sequence[str]) -> list[Entry]:
    """Read the files; those that are not there say nothing."""
    return [entry for path in paths for entry in _entries(path)]


def judge(entries: Sequence[Entry], names: Sequence[str], kind: str, key: bytes) -> tuple[Verdict, str]:
    """Say what the entries make of a key, and where the line stands that decides it."""
    ours = [entry for entry in entries if any(entry.is_for(name) for name in names)]
    for entry in ours:
        if entry.revoked and entry.key == key:
            return Verdict.REVOKED, entry.place
    for entry in ours:
        if entry.key == key:
            return Verdict.KNOWN, entry.place
    for entry in ours:
        if not entry.revoked and entry.is_for(names[0]):
            same_kind = "" if entry.kind == kind else f" ({entry.kind})"
            return Verdict.CHANGED, f"{entry.place}{same_kind}"
    return Verdict.UNKNOWN, ""


def kinds(entries: Sequence[Entry], names: Sequence[str]) -> list[str]:
    """Give the kinds of key that are known of a host, for it to be asked for one of these."""
    return [entry.kind for entry in entries if not entry.revoked and any(entry.is_for(name) for name in names)]


def add(path: str, name: str, kind: str, key: bytes, *, hashed: bool) -> None:
    """Write down the key of a host."""
    file = Path(path)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shown = _hashed(name) if hashed else name
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as stream:
        stream.write(f"{shown} {kind} {base64.b64encode(key).decode()}\n".encode())


def fingerprint(key: bytes) -> str:
    """Give the words by which ssh and ssh-keygen show a key."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def _entries(path: str) -> Iterator[Entry]:
    try:
        text = Path(path).read_text(errors="replace")
    except OSError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        marker = fields.pop(0) if fields[0].startswith("@") else ""
        # Keys of authorities certify hosts by certificates, which paramiko's client does not ask for.
        if len(fields) < 3 or marker not in {"", "@revoked"}:
            continue
        try:
            key = base64.b64decode(fields[2], validate=True)
        except (binascii.Error, ValueError):
            continue
        yield Entry(fields[0], fields[1], key, marker == "@revoked", f"{path}:{number}")


def _plain(pattern: str) -> str:
    """Take brackets for what they are, as OpenSSH does, not for a set of letters."""
    return pattern.replace("[", "[[]")


def _hash_matches(hashed: str, name: str) -> bool:
    try:
        _, _, salt, digest = hashed.split("|")
        found = hmac.digest(base64.b64decode(salt), name.encode(), "sha1")
        return hmac.compare_digest(found, base64.b64decode(digest))
    except (ValueError, binascii.Error):
        return False


def _hashed(name: str) -> str:
    salt = secrets.token_bytes(20)
    digest = hmac.digest(salt, name.encode(), "sha1")
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
