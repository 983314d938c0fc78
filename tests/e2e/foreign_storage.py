"""A registry that stores blobs in S3 and redirects pulls of blobs there, as Distribution does by default.

With `redirects: pass`, the clients follow the redirects. With `redirects: follow`, the gate follows
them, and the storage receives no request of a client.
"""

from foreign_gates import Part, expect
from foreign_servers import Bucket
from images import Image, digest
from report import check
from servers import Distribution

# The headers that the gate may send to the storage.
ASKED = {"host", "user-agent", "accept", "accept-encoding", "connection", "range", "if-range", "if-match",
         "if-none-match", "if-modified-since", "if-unmodified-since"}

# The headers of an answer of the storage that the gate may pass on, and those that the gate adds.
TOLD = {"content-length", "content-range", "content-type", "etag", "last-modified", "accept-ranges", "date",
        "x-content-type-options", "docker-content-digest", "docker-distribution-api-version", "x-request-id"}

# More than the gate, the storage and the registry buffer.
LAYER = 5 * 1000 * 1000


def redirects(run, name, program):
    with Part(run, f"{name} with S3") as part:
        gates = {}
        with part.start(program, "gofakes3"):
            # crane refuses redirects to a private address, but follows them to a name.
            bucket = part.enter(Bucket(part.folder, "localhost"))
            registry = part.enter(Distribution(part.folder, program, storage=bucket.registry_config()))
            gates["pass"] = part.gate(registry.url, word="pass")
            # Addresses that are not globally reachable must be listed, beside the name.
            listed = [bucket.host, f"127.0.0.1:{bucket.port}", f"[::1]:{bucket.port}"]
            gates["follow"] = part.gate(registry.url, f"redirects: follow, redirect_hosts: {listed}", "follow")
            gates["elsewhere"] = part.gate(
                registry.url, "redirects: follow, redirect_hosts: ['*.example.com']", "elsewhere")
        if len(gates) < 3:
            return
        part.push_and_pull(gates["pass"])
        with part.cell("pass", "clients reach the storage, without a credential for the gate"):
            clients = agents(bucket)
            check(len(clients) >= 5, f"the storage heard of {clients}")
            check(blob_statuses(gates["pass"]) == {307}, f"statuses of blobs: {blob_statuses(gates['pass'])}")
            for head in bucket.followed:
                check("authorization" not in head and "cookie" not in head, f"the storage received {head}")
        bucket.followed.clear()
        part.push_and_pull(gates["follow"])
        with part.cell("follow", "clients do not reach the storage"):
            check(bucket.followed, "the gate asked the storage for nothing")
            check(not agents(bucket) & clients, f"the storage heard of {agents(bucket)}")
            check(blob_statuses(gates["follow"]) == {200}, f"statuses of blobs: {blob_statuses(gates['follow'])}")
            for head in bucket.followed:
                check(not set(head) - ASKED, f"the storage received {head}")
        reads(part, gates["follow"])
        with part.cell("follow", "a storage that is not listed is not asked"):
            bucket.followed.clear()
            expect(gates["elsewhere"], part.caller, 502, "GET", blob_path(part.image))
            lines = gates["elsewhere"].logged(0, lambda line: line["reason"] == "redirect_failed")
            check(lines, "the log has no line with the reason redirect_failed")
            check(not bucket.followed, f"the storage received {bucket.followed}")


def agents(bucket):
    return {head.get("user-agent") for head in bucket.followed}


def blob_statuses(gate):
    """Returns the statuses of all GETs of blobs."""
    lines = gate.logged_since(0)
    return {line["status"] for line in lines if line["operation"] == "blob_get" and line["method"] == "GET"}


def blob_path(image):
    return f"/v2/demo/foreign/reads/blobs/{digest(image.layer)}"


def reads(part, gate):
    """The client receives content, range and condition of the storage, but not its other headers."""
    part.image = image = Image(part.folder, LAYER)
    with part.cell("follow", "HEAD and GET"):
        image.push(gate, part.caller.login, "demo/foreign/reads", "v1")
        head = expect(gate, part.caller, 200, "HEAD", blob_path(image))
        whole = expect(gate, part.caller, 200, "GET", blob_path(image))
        check(whole.body == image.layer, "the blob is another one")
        for answer in (head, whole):
            check(answer.headers["Content-Length"] == str(len(image.layer)), answer.headers)
            check(answer.headers["Content-Type"] == "application/octet-stream", answer.headers)
            check(answer.headers["X-Content-Type-Options"] == "nosniff", answer.headers)
            check_told(answer)
    with part.cell("follow", "a range, and one beyond the end"):
        options = {"headers": {"Range": "bytes=5-14"}}
        answer = expect(gate, part.caller, 206, "GET", blob_path(image), **options)
        check(answer.body == image.layer[5:15], "the range is another one")
        check(answer.headers["Content-Range"] == f"bytes 5-14/{len(image.layer)}", answer.headers)
        check_told(answer)
        options = {"headers": {"Range": f"bytes={len(image.layer) + 5}-"}}
        expect(gate, part.caller, 416, "GET", blob_path(image), **options)
    with part.cell("follow", "a condition"):
        options = {"headers": {"If-None-Match": whole.headers["ETag"]}}
        answer = expect(gate, part.caller, 304, "GET", blob_path(image), **options)
        check(answer.body == b"", answer.text())


def check_told(answer):
    told = {name.lower() for name in answer.headers}
    check(not told - TOLD, f"the client received {answer.headers}")
