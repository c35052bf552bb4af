"""Certificates for tests, made by openssl: an authority of one's own, and what it has signed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificate:
    """The files of a certificate and of its key."""

    cert: str
    key: str


class Authority:
    """Signs certificates, all kept in one folder; `ca` is the file by which they are trusted."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._own = self._make("authority", "-subj", "/CN=authority", "-addext", "keyUsage=keyCertSign,cRLSign")
        self.ca = self._own.cert

    def sign(self, name: str, *names: str) -> Certificate:
        """Make a certificate for ``DNS:host`` and ``IP:address`` names, or for a client, which needs none."""
        extensions = ("-addext", "basicConstraints=CA:FALSE", "-addext", "keyUsage=digitalSignature")
        named = ("-addext", f"subjectAltName={','.join(names)}") if names else ()
        authority = ("-CA", self._own.cert, "-CAkey", self._own.key)
        return self._make(name, "-subj", f"/CN={name}", *extensions, *named, *authority)

    def _make(self, name: str, *options: str) -> Certificate:
        made = Certificate(str(self._folder / f"{name}.crt"), str(self._folder / f"{name}.key"))
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        command = ["openssl", "req", "-x509", *kind, "-keyout", made.key, "-out", made.cert, *options]
        subprocess.run(command, check=True, capture_output=True)
        return made
