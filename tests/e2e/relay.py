"""A TCP relay: a balancer in front of several gates, or a slow path from a gate to its registry."""

import contextlib
import itertools
import socket
import threading
import time

# The beginning of the first piece of a request.
WITH_CONTENT = b"PATCH ", b"PUT "
METHODS = *WITH_CONTENT, b"DELETE ", b"GET ", b"HEAD ", b"POST "


class Relay:
    """A relay on a port that the kernel picks.

    The targets are ports of localhost. They take turns, one connection each. The relay skips a
    target that refuses the connection. It can delay answers for a time, as a slow storage does.
    """

    def __init__(self, *targets):
        self.targets = list(targets)
        self.turns = itertools.count()
        self.pause, self.slow_until = 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def be_slow(self, seconds, pause):
        """For `seconds`, delays the answer to each PATCH and PUT by `pause` seconds."""
        self.pause, self.slow_until = pause, time.monotonic() + seconds

    def accept(self):
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=[client], daemon=True).start()

    def serve(self, client):
        content = threading.Event()

        def note(piece):
            self.heard(piece)
            if piece.startswith(METHODS):
                (content.set if piece.startswith(WITH_CONTENT) else content.clear)()

        def wait(_):
            if content.is_set() and time.monotonic() < self.slow_until:
                time.sleep(self.pause)

        with client, contextlib.suppress(OSError), self.connect() as server:
            answers = threading.Thread(target=carry, args=[server, client, wait], daemon=True)
            answers.start()
            carry(client, server, note)
            answers.join()

    def heard(self, piece):
        """Is called with each piece that a client sends."""

    def connect(self):
        """Connects to the next target that accepts the connection."""
        for _ in self.targets:
            target = self.targets[next(self.turns) % len(self.targets)]
            with contextlib.suppress(ConnectionRefusedError):
                return socket.create_connection(("127.0.0.1", target))
        raise ConnectionRefusedError

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def carry(source, sink, before):
    try:
        while piece := source.recv(65536):
            before(piece)
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # The other direction must end as well.
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
