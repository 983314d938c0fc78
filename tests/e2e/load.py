"""Many requests at once or at a steady rate, over plain keep-alive connections."""

import asyncio
import base64
import collections
import threading
import time

Outcome = collections.namedtuple("Outcome", "at port status took")

# The status of a request without an answer.
NO_ANSWER = 0


def basic(user, password):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Pool:
    """Connections to gates that no request uses, by the port of the gate."""

    def __init__(self):
        self.idle = collections.defaultdict(list)

    async def open(self, port, count):
        for _ in range(count):
            self.idle[port].append(await asyncio.open_connection("127.0.0.1", port))

    async def get(self, port, path, headers):
        """Sends a GET and returns the status."""
        try:
            idle = self.idle[port]
            stream = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return NO_ANSWER
        reader, writer = stream
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n{lines}\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
            await reader.readexactly(int(fields["content-length"]))
        except (OSError, EOFError):
            writer.close()
            return NO_ANSWER
        if fields.get("connection") == "close":
            writer.close()
        else:
            idle.append(stream)
        return int(head.split(" ", 2)[1])

    def close(self):
        for streams in self.idle.values():
            for _, writer in streams:
                writer.close()


def at_once(requests):
    """Connects, then sends all requests, each a port, a path and headers. Returns the outcomes."""
    async def send():
        pool = Pool()
        for port, count in collections.Counter(port for port, *_ in requests).items():
            await pool.open(port, count)
        begun = time.monotonic()

        async def one(port, path, headers):
            status = await pool.get(port, path, headers)
            return Outcome(begun, port, status, time.monotonic() - begun)

        try:
            return await asyncio.gather(*(one(*request) for request in requests))
        finally:
            pool.close()

    return asyncio.run(send())


class Load:
    """Requests at a steady rate, from a thread of its own, until `stop` or for some seconds.

    `request` returns port, path and headers of the request with the given number.
    """

    def __init__(self, rate, request, seconds=3600):
        self.rate, self.request, self.seconds = rate, request, seconds
        self.outcomes = []
        self.is_over = False
        self.thread = threading.Thread(target=lambda: asyncio.run(self.run()), daemon=True)
        self.thread.start()

    async def run(self):
        pool, under_way = Pool(), set()
        begun = time.monotonic()
        for number in range(int(self.rate * self.seconds)):
            wait = begun + number / self.rate - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            if self.is_over:
                break
            task = asyncio.create_task(self.one(pool, *self.request(number)))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
        await asyncio.gather(*under_way)
        pool.close()

    async def one(self, pool, port, path, headers):
        begun = time.monotonic()
        status = await pool.get(port, path, headers)
        self.outcomes.append(Outcome(begun, port, status, time.monotonic() - begun))

    def end(self):
        """Waits until the time is over and every request has its answer."""
        self.thread.join()
        return self.outcomes

    def stop(self):
        self.is_over = True
        return self.end()

    def statuses(self):
        return collections.Counter(outcome.status for outcome in self.outcomes)
