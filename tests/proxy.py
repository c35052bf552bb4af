"""A TCP proxy that stands between clients and a server, and cuts connections in the middle of a reply."""

import contextlib
import socket
import threading


class CuttingProxy:
    """Hands on what it hears, and cuts a connection where it is told to.

    Attributes
    ----------
    port
        Where clients connect, on loopback; `target` is the server's port.
    cut_after
        The next reply is cut after so many bytes, its connection closed; None to leave replies whole.
    cuts
        How many have been cut.
    """

    def __init__(self, target):
        self.target = target
        self.cut_after = None
        self.cuts = 0
        self._lock = threading.Lock()
        self._pairs = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End all connections, and take no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for pair in list(self._pairs):
            _hang_up(pair)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            pair = (client, server)
            for end in pair:
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pairs.add(pair)
            threading.Thread(target=self._serve, args=(pair,), daemon=True).start()

    def _serve(self, pair):
        """Hand on both ways until one of them ends."""
        client, server = pair
        replies = threading.Thread(
            target=self._pump, args=(server, client, pair), kwargs={"replies": True}, daemon=True
        )
        replies.start()
        self._pump(client, server, pair, replies=False)
        replies.join()
        self._pairs.discard(pair)
        for end in pair:
            end.close()

    def _pump(self, source, sink, pair, *, replies):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                after = self._take_cut() if replies and self.cut_after is not None else None
                if after is not None:
                    sink.sendall(data[:after])
                    break
                sink.sendall(data)
        _hang_up(pair)

    def _take_cut(self):
        with self._lock:
            after, self.cut_after = self.cut_after, None
            self.cuts += after is not None
            return after


def _hang_up(pair):
    for end in pair:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
