"""Requests that two parsers could read in two ways: the corpus of `parsers`.

`{name}` is the repository of the case, to which its credential may push. `{authorization}` is the
header with that credential. `{hidden}` is a complete request that the gate would allow, at a place
where no parser may read a request. `{hidden-lf}` is the same with lines that end in LF only. After
each message over HTTP/1.1, and on the next stream over HTTP/2, `parsers` sends one honest request.
"""

PUSH = "POST /v2/{name}/blobs/uploads/"
PULL = "GET /v2/{name}/manifests/v1"
DIGEST = "sha256:" + 64 * "0"
HEAD = ("Host: localhost", "{authorization}")


def message(start, *lines, body="", head=HEAD):
    return "\r\n".join([f"{start} HTTP/1.1" if "HTTP/" not in start else start, *head, *lines]) + "\r\n\r\n" + body


def push(*lines, body="5\r\nhello\r\n0\r\n\r\n{hidden}"):
    return message(PUSH, *lines, body=body)


def chunks(body):
    return message(PUSH, "Transfer-Encoding: chunked", body=body)


# Every parser reads these in the same way. The gate forwards them once, and the request after them
# too.
GOOD = [
    message(PULL),
    message(PULL.replace("GET", "HEAD")),
    # The head announces a body, and the body is empty.
    message(PULL, "Transfer-Encoding: chunked", body="0\r\n\r\n"),
    message(PUSH, "Content-Length: 0"),
    message(PUSH, "Content-Length: 5", body="hello"),
    message(PUSH, "Content-Length: 000005", body="hello"),
    message(PUSH, "content-LENGTH:   5  ", body="hello"),
    chunks("5\r\nhello\r\n0\r\n\r\n"),
    chunks("2\r\nhe\r\n0003\r\nllo\r\n00\r\n\r\n"),
    chunks("A\r\nhellohello\r\na\r\nhellohello\r\n0\r\n\r\n"),
    # The hidden request is a body, because it is within the length.
    message(PUSH, "Content-Length: {hidden-length}", body="{hidden}"),
    chunks("{hidden-hex}\r\n{hidden}\r\n0\r\n\r\n"),
    message(PUSH, "Transfer-Encoding: CHUNKED", body="5\r\nhello\r\n0\r\n\r\n"),
    message(PULL, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
    message(PULL, "Connection: X-Request-Id, Host, Authorization", "TE: trailers", "Trailer: X-Late"),
    message(PULL, "X-HTTP-Method-Override: DELETE", "X-Original-URL: /v2/demo/hidden/manifests/v1"),
    message(PUSH, "Transfer_Encoding: chunked", "Content_Length: 5", "Content-Length: 0"),
    # A form, which a registry could read as a mount. The gate forwards bytes of no type.
    message(PUSH, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 5", body="hello"),
    message(PUSH, "Content-Type: multipart/form-data; boundary=b", "Content-Length: 5", body="hello"),
    # A mount that is none.
    message(f"{PUSH}?mount={DIGEST}&from=", "Content-Length: 0"),
    message(f"{PUSH}?mount={DIGEST}&from=%2e%2e%2fhidden", "Content-Length: 0"),
    # Keys that an upload's address may have, byte for byte.
    message("PATCH /v2/{name}/blobs/uploads/id?_state=x&_stateHash=%41%3D%3d&%5f=", "Content-Length: 5", body="hello"),
    message("HEAD /v2/{name}/blobs/uploads/id"),
    message("GET /v2/{name}/tags/list?nextToken=a%2Fb+c&n=1"),
]

# Unusual, but every parser reads these in the same way. The gate reframes and forwards them, or
# refuses them.
UNUSUAL = [
    chunks("5;extension=1\r\nhello\r\n0\r\n\r\n"),
    chunks("5 \r\nhello\r\n0\r\n\r\n"),
    message("\r\n" + PULL),
]

# The gate corrects and forwards these, or refuses them. They go on at most once, and the request
# after them does not.
ALONE = [
    message(PULL + " HTTP/1.0", head=["{authorization}"]),
    message(PULL + " HTTP/1.0", "Connection: keep-alive", head=["{authorization}"]),
    message(PULL + " HTTP/1.0", "Connection: keep-alive"),
    message(PUSH + " HTTP/1.0", "Connection: keep-alive", "Content-Length: 5", body="hello{hidden}"),
    push("Content-Length: 5", "Transfer-Encoding: chunked"),
    push("Transfer-Encoding: chunked", "Content-Length: 5"),
    push("Content-Length: 0", "Transfer-Encoding: chunked"),
    push("Transfer-Encoding: chunked", "Content-Length: {hidden-length}"),
    # The next head has bare line feeds, and comes in one piece with the body.
    message(PUSH, "Content-Length: 5", body="hello{hidden-lf}"),
    chunks("5\r\nhello\r\n0\r\n\r\n{hidden-lf}"),
]

# The body has no end, or no parser can find it. The gate begins to forward these at most once,
# never forwards a complete body, and does not forward the request after them.
BROKEN = [
    chunks("0x5\r\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("+5\r\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("-1\r\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("\r\nhello\r\n0\r\n\r\n{hidden}"),
    chunks(" 5\r\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("5\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("5\r\nhello0\r\n\r\n{hidden}"),
    chunks("5\r\nhello\n0\r\n\r\n{hidden}"),
    chunks("5\r\nhelloXX0\r\n\r\n{hidden}"),
    chunks("4\r\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("5;\"\n\"\r\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("5;a\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("5;\n{hidden}"),
    chunks("10000000000000005\r\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("100000005\r\nhello\r\n0\r\n\r\n{hidden}"),
    chunks("5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n{hidden}"),
    chunks("5\r\nhello\r\n0\r\nAuthorization: x\r\n\r\n{hidden}"),
    chunks("5\r\nhello\r\n0\r\nX : y\r\n\r\n{hidden}"),
    chunks("5\r\nhello\r\n0\n\n{hidden}"),
    chunks("5\r\nhello\r\n0\r\n{hidden}"),
    # The connection ends before the body does.
    message(PUSH, "Content-Length: 100000", body="{hidden}"),
    chunks("fffff\r\n{hidden}"),
]

# The gate refuses these, and does not read the request after them.
REFUSED = [
    *(push(*lines) for lines in (
        ["Transfer-Encoding: gzip, chunked"], ["Transfer-Encoding: chunked, gzip"], ["Transfer-Encoding: chunked, chunked"],
        ["Transfer-Encoding: identity"], ["Transfer-Encoding: identity, chunked"], ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked;q=1"], ["Transfer-Encoding: \"chunked\""], ["Transfer-Encoding: \x0bchunked"],
        ["Transfer-Encoding: ,chunked"], ["Transfer-Encoding: chunked,"], ["Transfer-Encoding:"],
        ["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
        ["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding : chunked"], ["Transfer-Encoding\t: chunked"], [" Transfer-Encoding: chunked"],
        ["X: a\r\n Transfer-Encoding: chunked"], ["X: a\rTransfer-Encoding: chunked"], ["X: a\nTransfer-Encoding: chunked"],
        ["X: a\0Transfer-Encoding: chunked"], ["X: a\r\r\nTransfer-Encoding: chunked"],
        ["Content-Length: +5"], ["Content-Length: -5"], ["Content-Length: 0x5"], ["Content-Length: 5,5"],
        ["Content-Length: 5 5"], ["Content-Length: 5;"], ["Content-Length:"], ["Content-Length: \uff15"],
        ["Content-Length: 18446744073709551621"], ["Content-Length: 5", "Content-Length: 6"],
        ["Content-Length: 5", "content-length: 5"], ["Content-Length: 0\r\n\tContent-Length: 5"],
        ["Content-Length: 6", "Content-Length: 5"], ["Content-Length: 5", "Transfer-Encoding: gzip"],
        [": empty"], ["no colon"], ["Host: other.example.com"], ["{authorization}"],
        ["Expect: 200-ok", "Content-Length: 5"], ["Expect: 100-continue", "Expect: 100-continue", "Content-Length: 5"],
    )),
    message(PULL, "Content-Length: {hidden-length}", body="{hidden}"),
    message(PULL, "Transfer-Encoding: chunked", body="{hidden-hex}\r\n{hidden}\r\n0\r\n\r\n"),
    message("DELETE /v2/{name}/blobs/uploads/id", "Content-Length: {hidden-length}", body="{hidden}"),
    message(PULL, head=["{authorization}"]),
    message(PULL + " HTTP/1.0", head=["Host: localhost:x", "{authorization}"]),
    message(PULL, head=["Host: localhost:x", "{authorization}"]),
    message(PULL, head=["Host: [zz]", "{authorization}"]),
    message(PUSH + " HTTP/1.0", "Transfer-Encoding: chunked", body="5\r\nhello\r\n0\r\n\r\n{hidden}"),
    message(PUSH + " HTTP/1.0", "Connection: keep-alive", "Transfer-Encoding: chunked", body="0\r\n\r\n{hidden}"),
    message(PULL, head=["Host: a b", "{authorization}"]),
    message(PULL, head=["Host:", "{authorization}"]),
    message(PULL.replace("/v2/", "http://other.example.com/v2/")),
    message(PULL + " HTTP/1.2"),
    message(PULL + " HTTP/2.0"),
    message(PULL + "  HTTP/1.1"),
    message(PULL.replace(" ", "\t")),
    message(PULL).replace("\r\n", "\n"),
    message(PULL).replace("\r\n", "\n", 1),
    message(PULL).replace("\r\n\r\n", "\r\n\n"),
    message(PULL).replace("\r\n", "\r"),
    "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n{authorization}\r\n\r\n{hidden}",
    "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n{authorization}\r\n\r\n{hidden}",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{hidden}",
]

# The gate refuses or redirects these over both versions. Over HTTP/1.1, it keeps the connection
# open.
TARGETS = [
    "/v2/{name}/../../demo/hidden/manifests/v1",
    "/v2/{name}/%2e%2e/%2e%2e/demo/hidden/manifests/v1",
    "/v2/{name}/.%2e/hidden/manifests/v1",
    "/v2/{name}/./manifests/v1",
    "/v2/{name}//manifests/v1",
    "//v2/{name}/manifests/v1",
    "/v2//{name}//manifests//v1",
    "//{name}/manifests/v1",
    "/v2/{name}/blobs/" + DIGEST.replace(":", "%3a"),
    "/v2/{name}%2fmanifests%2fv1",
    "/v2/{name}/manifests/v1%2f..%2f..",
    "/v2/{name}/manifests/..%2f..%2fhidden%2fmanifests%2fv1",
    "/v2/{name}/manifests/v1%00",
    "/v2/{name}/manifests/v1;x=y",
    "/v2/{name}%5c..%5chidden/manifests/v1",
    "/v2/{name}/manifests/v1%0d%0aX:%20y",
    "/v2/{name}/manifests/v1%20HTTP/1.1%0d%0a",
    "/v2/{name}/manifests/%76%31",
    "/v2/{name}/tags/list?n=1&n=2",
    "/v2/{name}/tags/list?last=%0d%0aX",
    "/v2/{name}/tags/list?x=1;n=1",
    "/v2/{name}/tags/list?%66rom=x",
    "/v2/{name}/tags/list?Digest=x",
    "/V2/{name}/manifests/v1",
    "/v2/{name}/manifests/v1/",
    "/x/../v2/{name}/manifests/v1",
]

FIELDS = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"),
          (":path", "/v2/{name}/blobs/uploads/"), ("authorization", "{authorization-value}")]
PULL_FIELDS = [(":method", "GET"), *FIELDS[1:3], (":path", "/v2/{name}/manifests/v1"), FIELDS[4]]


def instead(name, value, fields=FIELDS):
    return [(key, value if key == name else old) for key, old in fields]


def without(name):
    return [(key, value) for key, value in FIELDS if key != name]


# HTTP/2: the fields of a request and the frames after them. A text is data, a list of fields is
# trailers, and a number is a reset with this error code. The last data or the trailers end the
# stream, unless a reset follows.
HTTP2_GOOD = [
    (PULL_FIELDS, []),
    (FIELDS, ["hello"]),
    (FIELDS, ["hello", ""]),
    (PULL_FIELDS, [""]),
    ([*PULL_FIELDS, ("content-length", "0")], [""]),
    ([*FIELDS, ("content-type", "application/x-www-form-urlencoded")], ["{hidden}"]),
    (FIELDS, ["{hidden}"]),
    ([*FIELDS, ("content-length", "5")], ["he", "llo"]),
    ([*FIELDS, ("content-length", "0")], [""]),
    ([*PULL_FIELDS, ("http2-settings", "AAMAAABkAAQAAP__"), ("te", "trailers")], []),
    ([*PULL_FIELDS, ("x-http-method-override", "DELETE"), ("transfer_encoding", "chunked")], []),
]

HTTP2_BROKEN = [
    ([*FIELDS, ("content-length", "10")], ["hello"]),
    ([*FIELDS, ("content-length", "10")], ["hello", ""]),
    ([*FIELDS, ("content-length", "5")], ["hello{hidden}"]),
    ([*FIELDS, ("content-length", "5")], ["hello", "{hidden}"]),
    ([*FIELDS, ("content-length", "0")], ["{hidden}"]),
    (FIELDS, ["0\r\n\r\n{hidden}", 0]),
    (FIELDS, ["hello", 0]),
    (FIELDS, ["hello", 8]),
    ([*FIELDS, ("content-length", "10")], ["hello", 0]),
    ([*FIELDS, ("content-length", "5")], ["hello", 0]),
    (FIELDS, ["hello", [("x", "y")]]),
    (FIELDS, ["hello", [("content-length", "5")]]),
    (FIELDS, ["hello", [(":path", "/v2/demo/hidden/manifests/v1")]]),
    (FIELDS, ["hello", [("x-forwarded-for", "192.0.2.1")]]),
]

HTTP2_REFUSED = [
    *(([*FIELDS, field], ["0\r\n\r\n{hidden}"]) for field in (
        ("transfer-encoding", "chunked"), ("connection", "close"), ("connection", "x-forwarded-for"), ("upgrade", "h2c"),
        ("keep-alive", "5"), ("proxy-connection", "keep-alive"), ("te", "gzip"), ("Transfer-Encoding", "chunked"),
        ("x", "a\r\ntransfer-encoding: chunked"), ("x", "a\ntransfer-encoding: chunked"), ("x", "a\0b"),
        ("x\r\ntransfer-encoding", "chunked"), ("x: y\r\nz", "a"), ("", "x"), ("x y", "z"),
        ("host", "other.example.com"), (":path", "/v2/demo/hidden/manifests/v1"), (":unknown", "x"),
        ("authorization", "Bearer x"), ("content-length", "+5"), ("content-length", "5, 5"), ("content-length", ""),
        ("content-length", "18446744073709551621"), ("expect", "200-ok"))),
    ([*FIELDS, ("content-length", "5"), ("content-length", "6")], ["hello"]),
    ([*FIELDS, ("content-length", "5"), ("content-length", "5")], ["hello"]),
    (instead(":path", "/v2/{name}/blobs/uploads/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"), []),
    (instead(":path", "*"), []),
    (instead(":path", "https://localhost/v2/demo/hidden/manifests/v1"), []),
    (instead(":path", ""), []),
    (instead(":method", "GET /v2/demo/hidden/manifests/v1 HTTP/1.1\r\nHost: x\r\n\r\nPOST"), []),
    (instead(":method", "CONNECT"), []),
    (instead(":authority", "localhost\r\nTransfer-Encoding: chunked"), []),
    (instead(":authority", "user@localhost"), []),
    (without(":path"), []),
    (without(":scheme"), []),
    (without(":authority"), []),
    (PULL_FIELDS, ["{hidden}"]),
    ([*PULL_FIELDS, ("content-length", "5")], ["hello"]),
]
