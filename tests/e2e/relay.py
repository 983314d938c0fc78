"""A TCP relay: a balancer in front of several gates, or a slow way between a gate and its registry."""

import contextlib
import itertools
import socket
import threading
import time

# How the first piece of a request begins.
WITH_CONTENT = b"PATCH ", b"PUT "
METHODS = *WITH_CONTENT, b"DELETE ", b"GET ", b"HEAD ", b"POST "


class Relay:
    """On a port that the kernel picked. Its targets, ports of localhost, take turns, one connection each; one that
    refuses is passed over. It can be slow for a while, as storage is that takes long to write."""

    def __init__(self, *targets):
        self.targets = list(targets)
        self.turns = itertools.count()
        self.pause, self.slow_until = 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def be_slow(self, seconds, pause):
        """For so many seconds, the answer to what carries content waits `pause` seconds."""
        self.pause, self.slow_until = pause, time.monotonic() + seconds

    def accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=[client], daemon=True).start()

    def serve(self, client):
        content = threading.Event()

        def note(piece):
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

    def connect(self):
        """To the next target that is there."""
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
