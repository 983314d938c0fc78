"""Proxies in front of the gate, checks of the gate, and simple clients, none of which is ours.

HAProxy checks the gate with its own `httpchk`, without Host. nginx speaks HTTP/1.0 to it. Envoy
sends requests without content as if content could follow. Images are pushed and pulled through
each of them. Old clients speak HTTP/1.0. curl sends a layer as if it were a form.
"""

import contextlib
import os
import re

import raw_http
from clients import Docker, Oras, Skopeo
from credentials import PERSONAL
from fronts import Envoy, Haproxy, Nginx
from images import OCI, Image, digest
from matrix import log_in_push_pull
from odd_requests import message
from parsers import basic
from relay import Relay
from report import check
from servers import Gate, free_port, gitlab_provider

# More than nginx and Envoy buffer in memory, and more than the gate reads of a refused request.
LAYER = 5 * 1000 * 1000
# Less than that.
SMALL_LAYER = 50 * 1000

SEED = "demo/proxies/seed"


def in_front(run):
    haproxy_checks_and_forwards(run)
    nginx_forwards(run)
    envoy_forwards(run)
    image = Image(run.machine.fresh("proxies"))
    with run.report.cell("HTTP/1.0", "an image exists"):
        image.push(run.gate, PERSONAL.login, SEED, "v1")
    http_1_0(run, image)
    curl_sends_layers(run)


@contextlib.contextmanager
def behind(run, name, plain=False):
    """Starts a gate whose clients connect to `port`, and yields it with the port and a folder."""
    folder, port = run.machine.fresh(name), free_port()
    with Gate(f"behind-{name}", run.moorgate, folder, run.tls, run.upstream, gitlab_provider(run.demo.gitlab),
              balancer=port, plain=plain) as gate, run.report.watching(gate):
        yield gate, port, folder


def push_and_pull(run, gate, clients):
    for client in clients:
        session = client(run.machine, gate, "proxy")
        log_in_push_pull(run, session, PERSONAL, f"demo/proxies/{gate.name}-{client.name}")
    session = Skopeo(run.machine, gate, "proxy-layer")
    with run.report.cell(session.name, gate.name, f"a layer of {LAYER // 10**6} MB"):
        session.require()
        session.login(PERSONAL)
        image = session.image(f"demo/proxies/{gate.name}-layer")
        Image(session.folder, LAYER).write_layout(session.layout(image), "image")
        pushed = session.push(image)
        session.forget(image)
        check(session.pull(image) == pushed, "the pulled digest differs from the pushed one")


def haproxy_checks_and_forwards(run):
    with contextlib.ExitStack() as servers:
        gate = None
        with run.report.cell("haproxy", "option httpchk GET /v2/", "the gate is UP"):
            run.machine.require("haproxy")
            gate, port, folder = servers.enter_context(behind(run, "haproxy"))
            mark = gate.log_size()
            haproxy = servers.enter_context(Haproxy(folder, port, gate))
            # HAProxy takes a gate for UP until its first check.
            haproxy.wait_until(lambda: haproxy.state()[1] not in ("", "INI"))
            haproxy.wait_until(lambda: len(checks(gate, mark)) > 5)
            check(haproxy.state() == ("UP", "L7OK", "401"), f"HAProxy's check: {haproxy.state()}")
            statuses = {(line["status"], line["reason"]) for line in checks(gate, mark)}
            check(statuses == {(401, "no_credential")}, f"the gate's log of the checks: {statuses}")
        if gate:
            push_and_pull(run, gate, [Docker, Skopeo, Oras])
            with run.report.cell("haproxy", "the gate is UP to the end"):
                check(haproxy.state() == ("UP", "L7OK", "401"), f"HAProxy's check: {haproxy.state()}")


def checks(gate, mark):
    return [line for line in gate.logged(mark, lambda _: True) or [] if line["path"] == "/v2/"]


def nginx_forwards(run):
    """nginx buffers requests and answers, and speaks HTTP/1.0, unless it is told otherwise."""
    kinds = {"nginx": {}, "nginx-http-1.1": {"more": "proxy_http_version 1.1;", "http2": True}}
    for name, options in kinds.items():
        with contextlib.ExitStack() as servers:
            gate = None
            with run.report.cell(name, "start"):
                run.machine.require("nginx")
                gate, port, folder = servers.enter_context(behind(run, name, plain=True))
                servers.enter_context(Nginx(folder, port, gate, **options))
            if gate:
                push_and_pull(run, gate, [Docker, Skopeo, Oras])


class Heard(Relay):
    """A relay that keeps the heads of requests."""

    def __init__(self, port):
        self.pieces = []
        super().__init__(port)

    def heard(self, piece):
        self.pieces.append(piece.partition(b"\r\n\r\n")[0])

    def chunked(self, method):
        """Returns the requests with this method that announce a body in chunks."""
        return [piece for piece in self.pieces
                if piece.startswith(method) and b"transfer-encoding: chunked" in piece.lower()]


def envoy_forwards(run):
    for name, plain in (("envoy-http-1.1", True), ("envoy-http-2", False)):
        with contextlib.ExitStack() as servers:
            gate = None
            with run.report.cell(name, "start"):
                run.machine.require("envoy")
                gate, port, folder = servers.enter_context(behind(run, name, plain=plain))
                heard = servers.enter_context(Heard(gate.port))
                envoy = servers.enter_context(Envoy(folder, port, gate, heard.port))
            if gate is None:
                continue
            push_and_pull(run, gate, [Docker, Skopeo, Oras])
            with run.report.cell(name, "requests without content come as if content could follow"):
                if plain:
                    check(heard.chunked(b"GET ") and heard.chunked(b"HEAD "),
                          "no request without content was sent in chunks")
                else:
                    check(envoy.statistic("upstream_cx_http2_total") > 0, "Envoy did not speak HTTP/2")


def http_1_0(run, image):
    """Clients that know no Host and no chunks. Each answer ends with its connection."""
    manifest, blob = f"/v2/{SEED}/manifests/v1", f"/v2/{SEED}/blobs/{digest(image.layer)}"
    authorization, accept = f"Authorization: {basic()}", f"Accept: {OCI}.manifest.v1+json"
    cases = [
        ("GET /v2/", [], 401, None),
        ("GET /v2/", [authorization], 200, b"{}"),
        (f"GET {manifest}", [authorization, accept], 200, image.manifest),
        (f"HEAD {manifest}", [authorization, accept], 200, b""),
        (f"GET {blob}", [authorization], 200, image.layer),
        (f"GET /v2/{SEED}/tags/list", [authorization], 200, None),
    ]
    kinds = {"without Host": [], "without Host, with keep-alive": ["Connection: keep-alive"],
             "with Host": [f"Host: {run.gate.host}"]}
    for kind, more in kinds.items():
        with run.report.cell("HTTP/1.0", kind):
            for start, lines, status, body in cases:
                head, received = one_answer(run.gate, message(f"{start} HTTP/1.0", *lines, head=more))
                check(re.match(rf"HTTP/1\.[01] {status} ", head), f"{start}: {head}")
                check(re.search(r"(?mi)^connection: close\r?$", head), f"{start}: {head}")
                check("transfer-encoding" not in head.lower(), f"{start}: {head}")
                check(body is None or received == body, f"{start}: another body: {received[:200]!r}")


def one_answer(gate, request):
    """Sends a request and reads until the gate ends the connection. Returns head and body."""
    received = b""
    with raw_http.connect(gate.port, gate.tls.certificate, "http/1.1", 30) as stream:
        stream.sendall(request.encode())
        while piece := stream.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return head.decode(), body


def curl_sends_layers(run):
    """Distribution does not store a layer that comes with the first POST. The demo's registry does."""
    folder = run.machine.fresh("curl")
    with contextlib.ExitStack() as servers:
        gates = []
        with run.report.cell("curl", "start"):
            run.machine.require("curl", "docker-registry")
            gates = [run.gate, servers.enter_context(Gate(
                "demo-registry", run.moorgate, folder, run.tls, run.demo.registry, gitlab_provider(run.demo.gitlab)))]
        for gate in gates:
            for version in ("--http1.1", "--http2"):
                with run.report.watching(gate):
                    curl = Curl(run, gate, version)
                    curl_uploads(run, curl, at_once=gate is not run.gate)
                    curl_is_redirected(run, curl, at_once=gate is not run.gate)


class Curl:
    """curl, with a layer to send. `version` is the option for the version of HTTP."""

    def __init__(self, run, gate, version):
        self.report, self.gate, self.version = run.report, gate, version
        self.folder = run.machine.fresh(f"curl-{gate.name}{version}")
        self.words = ["curl", version, gate.name]
        self.repository = f"demo/proxies/{self.folder.name.replace('.', '-').replace('--', '-')}"
        self.uploads = f"/v2/{self.repository}/blobs/uploads/"
        self.layer = self.folder / "layer"

    def __call__(self, path, *arguments, login=PERSONAL.login):
        """Sends a request. Returns status, the last Location and the content."""
        heads, body = self.folder / "heads", self.folder / "body"
        for file in (heads, body):
            file.write_bytes(b"")
        user = ["-u", ":".join(login)] if login else []
        status = self.report.ok([
            "curl", "-sS", "--max-time", "30", self.version, "--cacert", self.gate.tls.certificate, *user,
            "-D", heads, "-o", body, "-w", "%{http_code}", *arguments, f"https://{self.gate.host}{path}"])
        locations = re.findall(r"(?mi)^location: (\S+)", heads.read_text())
        return int(status), locations[-1] if locations else None, body.read_bytes()

    def new_layer(self, size):
        self.layer.write_bytes(os.urandom(size))
        self.digest = digest(self.layer.read_bytes())
        self.blob = f"/v2/{self.repository}/blobs/{self.digest}"

    def send(self, path, *arguments):
        """Sends the layer, of which curl says that it is a form."""
        return self(path, "--data-binary", f"@{self.layer}", *arguments)

    def finish(self, status, location, said):
        """Sends the layer to the upload's address, unless the registry has stored it already."""
        if status == 202:
            status, _, said = self.send(with_query(location, f"digest={self.digest}"), "-X", "PUT")
        check(status == 201, f"{status} {said}")
        self.check_stored(self.blob)

    def check_stored(self, path, *arguments):
        status, _, content = self(path, *arguments)
        check(status == 200 and content == self.layer.read_bytes(),
              f"{path} is not the layer: {status} {content[:200]!r}")


def curl_uploads(run, curl, at_once):
    with run.report.cell(*curl.words, "POST of a whole layer"):
        # Distribution answers before it has read the layer. curl sends the rest of a large one all
        # the same, and fails.
        curl.new_layer(LAYER if at_once else SMALL_LAYER)
        answer = curl.send(f"{curl.uploads}?digest={curl.digest}")
        check(answer[0] == (201 if at_once else 202), f"{answer}")
        curl.finish(*answer)
    with run.report.cell(*curl.words, "POST, PUT of a whole layer"):
        curl.new_layer(LAYER)
        answer = curl(curl.uploads, "-X", "POST")
        check(answer[0] == 202, f"{answer}")
        curl.finish(*answer)
    # The registry of the demo does not answer HEAD of an upload.
    heads = [] if at_once else [["-I"], ["-X", "HEAD"]]
    with run.report.cell(*curl.words, "POST, PATCH, HEAD, PUT" if heads else "POST, PATCH, PUT"):
        curl.new_layer(LAYER)
        _, location, _ = curl(curl.uploads, "-d", "")
        status, location, said = curl.send(location, "-X", "PATCH")
        check(status == 202, f"{status} {said}")
        for head in heads:
            status, location_now, _ = curl(location, *head)
            check(status == 204, f"curl {head}: {status}")
            location = location_now or location
        status, _, said = curl(with_query(location, f"digest={curl.digest}"), "-X", "PUT")
        check(status == 201, f"{status} {said}")
        curl.check_stored(curl.blob)


def with_query(location, query):
    return f"{location}{'&' if '?' in location else '?'}{query}"


def curl_is_redirected(run, curl, at_once):
    with run.report.cell(*curl.words, "other spellings of /v2/"):
        for path in ["/v2", "//v2/", "//v2", "/v2//"]:
            check(curl(path)[:2] == (308, "/v2/"), f"{path} is not redirected: {curl(path)}")
            check(curl(path, "-L")[::2] == (200, b"{}"), f"{path}: {curl(path, '-L')}")
            check(curl(path, "-L", login=None)[0] == 401, f"{path} without a credential is not 401")
    # After a redirect, curl repeats the method and the layer. Over HTTP/1.1, it first waits for the
    # permission to send a large layer.
    sizes = [SMALL_LAYER, LAYER] if at_once and curl.version == "--http1.1" else [SMALL_LAYER]
    for size in sizes:
        with run.report.cell(*curl.words, f"POST of {size} bytes to blobs/uploads without its slash"):
            curl.new_layer(size)
            path = f"/v2/{curl.repository}/blobs/uploads?digest={curl.digest}"
            answer = curl.send(path)
            check(answer[:2] == (308, path.replace("?", "/?")), f"there is no redirect: {answer}")
            curl.finish(*curl.send(path, "-L"))
    with run.report.cell(*curl.words, "a pull with doubled slashes, and with an escaped colon"):
        for path in [curl.blob.replace("/blobs/", "//blobs//"), "/" + curl.blob, curl.blob.replace(":", "%3A")]:
            check(curl(path)[:2] == (308, curl.blob), f"{path} is not redirected")
            curl.check_stored(path, "-L")
