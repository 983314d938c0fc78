"""A server that accepts only well-formed requests, and records anything else as a flaw."""

import re
import socket
import threading

START = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE) (/v2/[!-~]*) HTTP/1\.1")
FIELD = re.compile(rb"([A-Za-z0-9-]+): ([!-~](?:[ -~]*[!-~])?)")
SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")
ONCE = b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-request-id"


class Flaw(Exception):
    pass


class Strict:
    """The server, on a port that the kernel picks. Each answer repeats its request line."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lock = threading.Lock()
        self.ledger = []  # (method, target), as soon as the head has been read
        self.whole = []  # the requests in the ledger whose body was complete
        self.flaws = []
        threading.Thread(target=self.accept, daemon=True).start()

    def requests(self):
        with self.lock:
            return list(self.ledger)

    def accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=[client], daemon=True).start()
        except OSError:
            pass  # the listener was closed

    def serve(self, client):
        # A head may come in several pieces. A line must end in CR and LF.
        with client, client.makefile("rb") as stream:
            try:
                while self.exchange(client, stream):
                    pass
            except Flaw as flaw:
                with self.lock:
                    self.flaws.append(str(flaw))
            except OSError:
                pass

    def exchange(self, client, stream):
        """Reads one request and answers it. Returns whether another request may come."""
        start = stream.readline()
        if not start:
            return False
        match = START.fullmatch(line(start))
        if not match:
            raise Flaw(f"malformed request line: {start!r}")
        method, target = (part.decode() for part in match.groups())
        fields = {}
        while text := line(stream.readline()):
            match = FIELD.fullmatch(text)
            if not match:
                raise Flaw(f"malformed header field: {text!r}")
            name, value = match.group(1).lower(), match.group(2)
            if name in ONCE and name in fields:
                raise Flaw(f"header field sent twice: {name!r}")
            fields[name] = value
        if b"host" not in fields:
            raise Flaw("no Host header field")
        with self.lock:
            self.ledger.append((method, target))
        if not self.body(stream, fields):
            return False
        with self.lock:
            self.whole.append((method, target))
        content = f"{method} {target}\n".encode()
        length = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        client.sendall(length + (b"" if method == "HEAD" else content))
        return True

    def body(self, stream, fields):
        """Reads the body to its end. Returns False if it breaks off."""
        length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        if length is not None and coding is not None:
            raise Flaw("both Content-Length and Transfer-Encoding")
        if coding is not None:
            if coding != b"chunked":
                raise Flaw(f"unexpected Transfer-Encoding: {coding!r}")
            return self.chunks(stream)
        if length is not None and not length.isdigit():
            raise Flaw(f"malformed Content-Length: {length!r}")
        wanted = int(length or 0)
        return len(stream.read(wanted)) == wanted

    def chunks(self, stream):
        while start := stream.readline():
            size = start.removesuffix(b"\r\n")
            if size == start or not SIZE.fullmatch(size):
                if not start.endswith(b"\n"):
                    return False  # the body broke off
                raise Flaw(f"malformed chunk size: {start!r}")
            wanted = int(size, 16)
            content = stream.read(wanted + 2)
            if len(content) < wanted + 2:
                return False
            if not content.endswith(b"\r\n"):
                raise Flaw(f"malformed end of a chunk: {content[-2:]!r}")
            if wanted == 0:
                return True
        return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def line(text):
    if not text.endswith(b"\r\n"):
        if text.endswith(b"\n"):
            raise Flaw(f"a line that ends in LF without CR: {text!r}")
        raise OSError("the connection ended")  # between requests or in a head
    return text[:-2]
