"""Connections that stay open after one request, over HTTP/1.1 and over HTTP/2."""

import http.client
import socket
import ssl
import struct
import time

from load import AUTHORIZATION, LoadFailed
from peers import MANIFEST

# The connections that are opened first, so that what a process allocates once does not count.
FIRST = 50
COUNTED = 1000

# The time in which a proxy may give back what an idle connection does not need.
SETTLE_SECONDS = 2

# Frame types and flags of HTTP/2 (RFC 9113, section 6).
DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM = ACK = 1
END_HEADERS = 4

# The first octets of a response's headers if the status is 200 (RFC 7541, appendix A), and of an
# update of the table size to 0, which may precede it (section 6.3).
STATUS_200 = b"\x88"
TABLE_SIZE_0 = b"\x20"


def kib_per_connection(peer, content, http2):
    """Returns the memory that one more idle connection takes."""
    context = ssl.create_default_context(cafile=str(content.tls.certificate))
    context.set_alpn_protocols(["h2" if http2 else "http/1.1"])
    ask = ask_http2 if http2 else ask_http1
    held = []
    try:
        for number in range(FIRST + COUNTED):
            if number == FIRST:
                time.sleep(SETTLE_SECONDS)
                before = peer.memory_kib()
            socket_ = socket.create_connection(("127.0.0.1", peer.port), 10)
            stream = context.wrap_socket(socket_, server_hostname="localhost")
            held.append(stream)
            if ask(stream) != content.manifest:
                raise LoadFailed("the answer is not the manifest")
        time.sleep(SETTLE_SECONDS)
        return (peer.memory_kib() - before) / COUNTED
    except (OSError, http.client.HTTPException, struct.error) as error:
        raise LoadFailed(f"a connection failed: {error!r}") from error
    finally:
        for stream in held:
            stream.close()


def ask_http1(stream):
    """Returns the body of the answer."""
    stream.sendall(f"GET {MANIFEST} HTTP/1.1\r\nHost: localhost\r\n{AUTHORIZATION}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(stream, method="GET")
    answer.begin()
    body = answer.read()
    if answer.status != 200:
        raise LoadFailed(f"the answer is {answer.status}: {body[:500]}")
    return body


def ask_http2(stream):
    """Returns the body of the answer."""
    name, value = AUTHORIZATION.split(": ")
    headers = (b"\x82\x87"  # :method GET, :scheme https
               + b"\x04" + text(MANIFEST) + b"\x01" + text("localhost")
               + b"\x10" + text(name.lower()) + text(value))
    stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, b"")
                   + frame(HEADERS, END_STREAM | END_HEADERS, 1, headers))
    body, status, ended = b"", b"", False
    with stream.makefile("rb") as reader:
        while not ended:
            kind, flags, _ = struct.unpack(">BBI", (head := reader.read(9))[3:])
            payload = reader.read(int.from_bytes(head[:3], "big"))
            if kind == SETTINGS and not flags & ACK:
                stream.sendall(frame(SETTINGS, ACK, 0, b""))
            elif kind == HEADERS:
                status = payload.removeprefix(TABLE_SIZE_0)[:1]
            elif kind == DATA:
                body += payload
            ended = kind in (HEADERS, DATA) and bool(flags & END_STREAM)
    if status != STATUS_200:
        raise LoadFailed(f"the answer over HTTP/2 is not 200: {body[:500]}")
    return body


def text(value):
    """Encodes a string of fewer than 127 octets without Huffman coding (RFC 7541, section 5.2)."""
    return bytes([len(value)]) + value.encode()


def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload
