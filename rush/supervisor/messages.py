"""What loops and zygote tell their supervisor, as datagrams on one socket: they arrive whole and in order."""

import socket
from typing import Any

import msgspec

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder()
LARGEST = 60_000


class News:
    """The socket between a supervisor and all that it has started."""

    def __init__(self) -> None:
        self.reader, self.writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.reader.settimeout(0)

    def read_all(self) -> list[dict[str, Any]]:
        """Give the messages that have arrived."""
        found = []
        while True:
            try:
                found.append(_decoder.decode(self.reader.recv(LARGEST + 4096)))
            except BlockingIOError:
                return found


def tell(writer: socket.socket, kind: str, **content: Any) -> None:
    """Send a message to the supervisor; when it is gone, so are we in a moment."""
    try:
        writer.send(_encoder.encode({"kind": kind, **content}))
    except OSError:
        return
