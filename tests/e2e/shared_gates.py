"""Three gates that act as one: their Redis, their balancer, and what all of them have in common."""

import base64
import collections
import contextlib
import datetime
import json
import os
import secrets
import signal
import time
import urllib.parse

import load
import web
from credentials import READ_WRITE
from fronts import HAPROXY_START
from images import OCI, Image
from questions import Questions
from report import Failed, check
from servers import Distribution, Gate, Server, can_connect, free_port, gitlab_provider

REPOSITORY = "demo/shared"
MANIFEST = f"/v2/{REPOSITORY}/manifests/v1"
ACCEPT = {"Accept": f"{OCI}.manifest.v1+json"}

GATES = 3

# The beginning of all user names, which is in no text by chance.
PERSON = "person-"

HAPROXY = HAPROXY_START + """frontend clients
  bind 127.0.0.1:{port} ssl crt {pem}
  option forwardfor
  default_backend gates
backend gates
  balance roundrobin
  option httpchk GET /readyz
  default-server check inter 200ms fall 2 rise 1
{gates}
"""


class Common:
    """What all fleets of a run share: the registries, the stand-in for GitLab, and the files of secrets.

    The registry of the demo is behind most fleets, because it costs less than Distribution.
    """

    def __init__(self, run, servers):
        self.run, self.servers = run, servers
        self.distribution = servers.enter_context(Distribution(run.machine.fresh("shared-registry")))
        self.questions = servers.enter_context(Questions(run.demo.gitlab))
        folder = run.machine.fresh("shared-secrets")
        self.operator = secrets.token_urlsafe(24)
        self.key_file = secret_file(folder / "keys", base64.b64encode(os.urandom(32)).decode() + "\n")
        self.operator_file = secret_file(folder / "operator", self.operator)
        self.seeded = set()
        # What was in each Redis, for the last cells.
        self.seen = []

    def seed(self, fleet):
        """Pushes the image that all cells read, once to each registry."""
        if fleet.upstream not in self.seeded:
            image = Image(self.run.machine.fresh("shared-image"))
            # Of an owner for whom no cell has a limit.
            token = self.questions.new_token(READ_WRITE[1])
            image.push(fleet.gates[0], (person("seed"), token), REPOSITORY, "v1")
            self.seeded.add(fleet.upstream)


def secret_file(path, content):
    path.touch(0o600)
    path.write_text(content)
    return path


class Fleet:
    """Gates that share a Redis, and the balancer in front of them. `redis` is a line of their config."""

    challenge = "bearer"  # clients of the matrix see the fleet as one gate

    def __init__(self, common, servers, name, redis, more="", count=GATES, upstream=None,
                 provider="failure_budget: 1000/s"):
        self.common, self.servers, self.name = common, servers, name
        self.questions = common.questions
        self.provider = provider
        self.upstream = upstream or common.run.demo.registry
        self.lines = f"{redis}\n{more}"
        self.folder = common.run.machine.fresh(f"shared-{name}")
        self.port = free_port()
        self.gates = []
        for _ in range(count):
            self.start_one()
        self.balancer = servers.enter_context(
            Balancer(self.folder, self.port, common.run.tls, self.gates))
        try:
            self.until_joined()
        except Failed as why:
            raise Failed(f"{why}; {self.gates[0].name} says: {self.gates[0].said()[-1500:]}") from why
        common.seed(self)

    @property
    def host(self):
        return f"localhost:{self.port}"

    def start_one(self):
        """Starts one more gate, which may be away from the balancer."""
        common = self.common
        name = f"{self.name}-{len(self.gates) + 1}"
        gate = Gate(
            name, common.run.moorgate, self.folder, common.run.tls, self.upstream,
            gitlab_provider(common.questions.url, more=f", {self.provider}"), plain=True, balancer=self.port,
            key_file=common.key_file, operator=common.operator_file, trusted="127.0.0.0/8", more=self.lines)
        self.servers.callback(end, gate)
        self.servers.enter_context(common.run.report.watching(ProgramLog(gate)))
        self.gates.append(gate)
        return gate

    def until_joined(self, count=None):
        """Waits until each gate knows all others and has a connection to Redis."""
        count = count or len(self.gates)
        for gate in self.gates:
            wait_for(lambda: gate.metric("redis_up") == 1 and known(gate) == count,
                     f"{gate.name} does not know {count} replicas")

    def until_up_is(self, up, seconds=20):
        for gate in self.gates:
            wait_for(lambda: gate.metric("redis_up") == up, f"redis_up of {gate.name} does not become {up}", seconds)

    def reasons(self, statuses):
        """Returns how often the gates have answered with each of these statuses, and why."""
        found = collections.Counter()
        for gate in self.gates:
            for line in gate.log_text(0).rpartition("\n")[0].splitlines():
                entry = json.loads(line)
                if entry["status"] in statuses:
                    found[entry["status"], entry["reason"]] += 1
        return dict(found)

    def revoke(self, gate, token):
        """Revokes at one gate. Returns the answer and its duration in seconds."""
        headers = {"Authorization": f"Bearer {self.common.operator}",
                   "Content-Type": "application/x-www-form-urlencoded"}
        begun = time.monotonic()
        answer = web.request(gate.admin, None, "POST", "/revoke", headers=headers,
                             body=urllib.parse.urlencode({"token": token}))
        check(answer.status == 200, f"POST /revoke: {answer.status} {answer.text()}")
        return json.loads(answer.body), time.monotonic() - begun


class Balancer(Server):
    """HAProxy, which ends TLS and sends each request to the next gate that is ready."""

    def __init__(self, folder, port, tls, gates):
        pem = secret_file(folder / "haproxy.pem", tls.certificate.read_text() + tls.key.read_text())
        lines = "\n".join(f"  server {gate.name} 127.0.0.1:{gate.port} port {gate.admin}" for gate in gates)
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=port, pem=pem, gates=lines))
        super().__init__("haproxy", ["haproxy", "-db", "-f", config], folder)
        self.wait_until(lambda: can_connect(port))


class ProgramLog:
    """The program log of a gate, of which a failing cell prints the end."""

    def __init__(self, gate):
        self.name, self.gate = gate.name, gate

    def log_size(self):
        return len(self.gate.said())

    def log_text(self, since):
        return "\n".join(self.gate.said()[since:].splitlines()[-20:])


def end(gate):
    """Ends a gate, which may be paused."""
    if gate.process.poll() is None:
        os.kill(gate.pid, signal.SIGCONT)
        gate.process.kill()
        gate.process.wait()


@contextlib.contextmanager
def fleet(common, name, redis, *more, **options):
    """Starts a fleet, and ends it afterwards."""
    with contextlib.ExitStack() as servers:
        yield Fleet(common, servers, name, redis, *more, **options)


def known(gate):
    """Returns the number of replicas that a gate knows, itself included."""
    status = json.loads(web.plain(gate.admin, "/status.json").body)
    return len(status["replicas"] or [])


def login(gate, user, token, address="127.0.0.1"):
    """Sends a request with this credential. Returns its status."""
    return gate.request("GET", MANIFEST, login=(person(user), token),
                        headers=ACCEPT | {"X-Forwarded-For": address}).status


def get(gate, user, token, address="127.0.0.1"):
    """Returns the same request as one of a load."""
    return gate.port, MANIFEST, ACCEPT | load.basic(person(user), token) | {"X-Forwarded-For": address}


def person(user):
    """Returns the user name of somebody."""
    return PERSON + user


def wait_for(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"{what} within {seconds} s")
        time.sleep(0.02)


def problems(gate):
    """Returns time and message of each line of a gate's log that says that Redis cannot be used."""
    found = []
    for line in gate.said().splitlines():
        if "Redis cannot be used" in line or "the answer of Redis" in line:
            entry = json.loads(line)
            at = datetime.datetime.fromisoformat(entry["timestamp"]).timestamp()
            found.append((at, entry["message"]))
    return found
