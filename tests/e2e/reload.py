"""Reloads and restarts while clients are served: no request fails."""

import base64
import contextlib
import csv
import hashlib
import http.client
import os
import signal
import ssl
import threading
import time

import web
from credentials import PERSONAL
from report import check
from servers import Gate, Server, can_connect, free_port, gitlab_provider

RELOADS = 50  # valid configs, and as many invalid ones
LARGE = 1 << 30
RATE = 500  # requests a second, over all clients
CLIENTS = 10
RESTARTS = 20

HAPROXY = """global
  log stderr format raw local0 warning
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  retries 3
  option redispatch
frontend operators
  bind 127.0.0.1:{admin}
  stats enable
  stats uri /
frontend clients
  bind 127.0.0.1:{port}
  default_backend gates
backend gates
  balance roundrobin
  option httpchk GET /readyz
  http-check expect status 200
  default-server check inter 50ms fall 2 rise 1
{servers}
"""


class Load:
    """Clients that send small requests, each on its own connection. `failures` lists errors."""

    def __init__(self, port, login, certificate=None):
        self.port, self.certificate = port, certificate
        authorization = base64.b64encode(":".join(login).encode()).decode()
        self.headers = {"Authorization": f"Basic {authorization}"}
        self.answered, self.failures = [0] * CLIENTS, []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.client, args=(number,)) for number in range(CLIENTS)]

    def connect(self):
        if self.certificate is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        context = ssl.create_default_context(cafile=self.certificate)
        return http.client.HTTPSConnection("localhost", self.port, context=context, timeout=30)

    def client(self, number):
        connection = self.connect()
        due = time.monotonic()
        while not self.stopped.is_set():
            try:
                connection.request("GET", "/v2/demo/seed/tags/list", headers=self.headers)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    self.failures.append(f"{answer.status} {body[:200]!r}")
                self.answered[number] += 1
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
                connection = self.connect()
            due += CLIENTS / RATE
            time.sleep(max(0, due - time.monotonic()))
        connection.close()

    def __enter__(self):
        self.begun = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        self.rate = sum(self.answered) / (time.monotonic() - self.begun)

    def check(self):
        print(f"      {sum(self.answered)} requests, {self.rate:.0f} a second, {len(self.failures)} failed", flush=True)
        check(not self.failures, f"failed: {self.failures[:5]}")
        check(sum(self.answered) > 0, "no client got an answer")


class Transfer(threading.Thread):
    """A push and a pull of a blob of 1 GiB, in pieces, for as long as the reloads take."""

    def __init__(self, gate, login):
        super().__init__()
        self.gate, self.login, self.failure = gate, login, None
        self.half_sent, self.finish = threading.Event(), threading.Event()
        self.piece = os.urandom(1 << 20)
        self.digest = hashlib.sha256()
        for _ in range(LARGE >> 20):
            self.digest.update(self.piece)

    def run(self):
        try:
            self.push()
            self.pull()
        except Exception as error:  # the thread that waits reports it
            self.failure = repr(error)
            self.half_sent.set()

    def pieces(self):
        for number in range(LARGE >> 20):
            if number == LARGE >> 21:
                self.half_sent.set()
                self.finish.wait(60)
            yield self.piece

    def push(self):
        start = self.gate.request("POST", "/v2/demo/large/blobs/uploads/", login=self.login)
        location = start.headers["Location"]
        path = f"{location}{'&' if '?' in location else '?'}digest=sha256:{self.digest.hexdigest()}"
        answer = self.gate.request(
            "PUT", path, login=self.login, body=self.pieces(), headers={"Content-Length": str(LARGE)})
        check(answer.status == 201, f"the push: {answer.status} {answer.text()}")

    def pull(self):
        answer = self.gate.request("GET", f"/v2/demo/large/blobs/sha256:{self.digest.hexdigest()}", login=self.login)
        check(hashlib.sha256(answer.body).digest() == self.digest.digest(),
              "the pulled blob differs from the pushed one")


def reloads_under_load(run):
    """Valid and invalid configs in turn, during small requests, a large push and a large pull."""
    words = (f"{RELOADS} valid and {RELOADS} invalid configs under load "
             "with a push and a pull of 1 GiB")
    with run.report.cell("reload", words):
        gate = Gate("reload", run.moorgate, run.machine.folder, run.tls, run.upstream, gitlab_provider(run.demo.gitlab),
                    more="cache: {ttl: 60s}")
        pull = Transfer(gate, PERSONAL.login)
        with gate, run.report.watching(gate), Load(gate.port, PERSONAL.login, run.tls.certificate) as load:
            pull.start()
            check(pull.half_sent.wait(60) and not pull.failure,
                  f"the push did not start: {pull.failure}")
            good = gate.config.read_text()
            for number in range(RELOADS):
                if number == RELOADS // 2:
                    pull.finish.set()  # lets the push finish, and then the pull start
                reload(gate, good.replace("ttl: 60s", f"ttl: {61 + number}s"), 1)
                reload(gate, good[:100 + number], 0)
            pull.join(60)
            check(not pull.is_alive() and not pull.failure,
                  f"the push or the pull failed: {pull.failure}")
        load.check()


def reload(gate, config, success):
    """Writes this config, and waits until the gate has tried it."""
    before = len(gate.said())
    gate.config.write_text(config)
    gate.process.send_signal(signal.SIGHUP)
    words = '"reloaded; changed' if success else "the running config stays in use"
    gate.wait_until(lambda: words in gate.said()[before:])
    check(gate.metric("config_reload_success") == success, f"config_reload_success is not {success}")


def rolling_restarts(run):
    """Restarts two gates behind one HAProxy in turn, as a deployment does."""
    with run.report.cell("haproxy", f"{RESTARTS} rolling restarts of two gates"):
        run.machine.require("haproxy")
        folder = run.machine.folder / "rolling"
        folder.mkdir()
        with contextlib.ExitStack() as servers:
            gates = [servers.enter_context(Gate(
                f"rolling{number}", run.moorgate, folder, run.tls, run.upstream, gitlab_provider(run.demo.gitlab)))
                for number in (1, 2)]
            for gate in gates:
                delay_drain(gate)
            haproxy = servers.enter_context(Haproxy(folder, gates))
            with Load(haproxy.port, PERSONAL.login) as load:
                for number in range(RESTARTS):
                    gates[number % 2].restart()
                    # A deployment waits too, before it restarts the next gate.
                    haproxy.wait_until(lambda: haproxy.servers_up() == len(gates))
            load.check()


def delay_drain(gate):
    """Sets `drain_delay`, because HAProxy needs several checks to notice that a gate ends."""
    text = gate.config.read_text()
    gate.config.write_text(text.replace("  drain_timeout:", "  drain_delay: 300ms\n  drain_timeout:"))
    gate.restart()


class Haproxy(Server):
    def __init__(self, folder, gates):
        self.port, self.admin = free_port(), free_port()
        lines = [
            f"  server {gate.name} 127.0.0.1:{gate.port} ssl ca-file {gate.tls.certificate} "
            f"sni str(localhost) verifyhost localhost port {gate.admin} no-check-ssl" for gate in gates]
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=self.port, admin=self.admin, servers="\n".join(lines)))
        super().__init__("haproxy", ["haproxy", "-db", "-f", config], folder)
        self.wait_until(lambda: can_connect(self.port))

    def servers_up(self):
        """Returns the number of gates that HAProxy sends requests to."""
        lines = csv.DictReader(web.plain(self.admin, "/;csv").text().removeprefix("# ").splitlines())
        return sum(line["svname"] not in ("FRONTEND", "BACKEND") and line["status"] == "UP" for line in lines)
