"""A TCP proxy that stands between clients and a server, and cuts connections in the middle of a reply."""

import contextlib
import socket
import threading
import time

_LONG_ENOUGH = 0.05
"""Seconds in which the server reads a late request before its connection is closed."""


class CuttingProxy:
    """Hands on what it hears, and cuts a connection where it is told to.

    Attributes
    ----------
    port
        Where clients connect, on loopback; `target` is the server's port.
    cut_after
        The next reply is cut after so many bytes, its connection closed; None to leave replies whole.
    cut_request_after
        The same for the next request.
    delay
        The next request arrives so many seconds late, or once an event is set, when whoever sent it has been hung up on;
        None for no delay.
    cuts, late
        How many have been cut or delayed, and how many delayed ones have arrived.
    silent
        Set it to hold everything back on connections that stay open, as when a cable is pulled; clear it to let all go on.
    """

    def __init__(self, target):
        self.target = target
        self.cut_after = self.cut_request_after = self.delay = None
        self.cuts = self.late = 0
        self.silent = Silence()
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
        self.silent.clear()
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
                self.silent.wait()
                if (after := self._take("cut_after" if replies else "cut_request_after")) is not None:
                    sink.sendall(data[:after])
                    break
                if not replies and (delay := self._take("delay")) is not None:
                    _hang_up(pair[:1])
                    delay.wait(60) if isinstance(delay, threading.Event) else time.sleep(delay)
                    sink.sendall(data)
                    self.late += 1
                    time.sleep(_LONG_ENOUGH)
                    break
                sink.sendall(data)
        _hang_up(pair)

    def _take(self, order):
        """Give an order that stands, to one connection only."""
        if getattr(self, order) is None:
            return None
        with self._lock:
            value = getattr(self, order)
            setattr(self, order, None)
            self.cuts += value is not None
            return value


class Silence:
    """A flag whose absence can be waited for."""

    def __init__(self):
        self._absent = threading.Event()
        self.clear()
        self.wait = self._absent.wait

    def set(self):
        self._absent.clear()

    def clear(self):
        self._absent.set()


def _hang_up(ends):
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
