"""HTTP/1.1 as bytes and HTTP/2 as frames, for requests that no client library would send."""

import contextlib
import socket
import ssl
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def connect(port, certificate, protocol, patience):
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols([protocol])
    plain = socket.create_connection(("localhost", port), timeout=30)
    stream = context.wrap_socket(plain, server_hostname="localhost")
    stream.settimeout(patience)
    return stream


def http1(port, certificate, message, patience):
    """Sends bytes. Reads until the gate closes, or sends nothing for `patience` seconds."""
    with connect(port, certificate, "http/1.1", patience) as stream, contextlib.suppress(OSError):
        stream.sendall(message)
        while stream.recv(65536):
            pass


def http2(port, certificate, requests, patience):
    """Sends requests, each on its own stream: its fields, then its data, trailers and resets.

    Reads until all streams have ended, or the connection has, or nothing comes for `patience`
    seconds.
    """
    with connect(port, certificate, "h2", patience) as stream, contextlib.suppress(OSError):
        stream.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
        for number, (fields, pieces) in enumerate(requests):
            stream.sendall(b"".join(of_request(2 * number + 1, fields, pieces)))
        open_streams = {2 * number + 1 for number in range(len(requests))}
        with stream.makefile("rb") as reading:
            while open_streams and (head := reading.read(9)):
                length, kind, flags, number = int.from_bytes(head[:3], "big"), head[3], head[4], head[5:]
                reading.read(length)
                if kind == SETTINGS and not flags & ACK:
                    stream.sendall(frame(SETTINGS, ACK, 0, b""))
                if kind == GOAWAY:
                    break
                if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM):
                    open_streams.discard(int.from_bytes(number, "big"))


def of_request(stream, fields, pieces):
    """Yields the frames of one request."""
    yield frame(HEADERS, END_HEADERS | (0 if pieces else END_STREAM), stream, block(fields))
    for number, piece in enumerate(pieces):
        last = END_STREAM if number + 1 == len(pieces) else 0
        if isinstance(piece, int):
            yield frame(RST_STREAM, 0, stream, struct.pack(">I", piece))
        elif isinstance(piece, list):
            yield frame(HEADERS, END_HEADERS | END_STREAM, stream, block(piece))
        else:
            yield frame(DATA, last, stream, piece)


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def block(fields):
    """Encodes fields as literals without indexing and without Huffman coding (RFC 7541, 6.2.2)."""
    return b"".join(b"\0" + string(name) + string(value) for name, value in fields)


def string(text):
    length = len(text)
    if length < 127:
        return bytes([length]) + text
    head, length = bytes([127]), length - 127
    while length >= 128:
        head, length = head + bytes([length % 128 | 128]), length // 128
    return head + bytes([length]) + text
