"""A server that takes exactly one well-formed request after another, and remembers anything else as a flaw."""

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
    """On a port that the kernel picked. What it answers repeats the request, so that nobody can take it for another's."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lock = threading.Lock()
        self.ledger = []  # (method, target), as soon as the head has been read
        self.whole = []  # those of them whose body came to its end
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
            pass  # closed

    def serve(self, client):
        # The sender writes a head in one piece or in several; a line is a line only with both of its last characters.
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
        """One request and its answer. Whether another may come."""
        start = stream.readline()
        if not start:
            return False
        match = START.fullmatch(line(start))
        if not match:
            raise Flaw(f"a request line: {start!r}")
        method, target = (part.decode() for part in match.groups())
        fields = {}
        while text := line(stream.readline()):
            match = FIELD.fullmatch(text)
            if not match:
                raise Flaw(f"a field: {text!r}")
            name, value = match.group(1).lower(), match.group(2)
            if name in ONCE and name in fields:
                raise Flaw(f"twice: {name!r}")
            fields[name] = value
        if b"host" not in fields:
            raise Flaw("no host")
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
        """Reads it to its end. False where it breaks off, as a body does whose client is gone."""
        length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
        if length is not None and coding is not None:
            raise Flaw("a length and a coding")
        if coding is not None:
            if coding != b"chunked":
                raise Flaw(f"a coding: {coding!r}")
            return self.chunks(stream)
        if length is not None and not length.isdigit():
            raise Flaw(f"a length: {length!r}")
        wanted = int(length or 0)
        return len(stream.read(wanted)) == wanted

    def chunks(self, stream):
        while start := stream.readline():
            size = start.removesuffix(b"\r\n")
            if size == start or not SIZE.fullmatch(size):
                if not start.endswith(b"\n"):
                    return False  # broke off
                raise Flaw(f"a chunk: {start!r}")
            wanted = int(size, 16)
            content = stream.read(wanted + 2)
            if len(content) < wanted + 2:
                return False
            if not content.endswith(b"\r\n"):
                raise Flaw(f"the end of a chunk: {content[-2:]!r}")
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
            raise Flaw(f"a line without its CR: {text!r}")
        raise OSError("broke off")  # between requests or in a head
    return text[:-2]
