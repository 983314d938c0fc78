"""The gates, clients and callers of all parts of the group `foreign`."""

import contextlib
import time

from clients import Crane, Ctr, Docker, Podman, Skopeo
from matrix import log_in_push_pull
from report import check
from servers import Gate, htpasswd_provider

PROGRAMS = {"Distribution 2": "docker-registry", "Distribution 3": "registry"}

# Each of these sends its requests in another order.
CLIENTS = [Docker, Ctr, Podman, Skopeo, Crane]


class Part:
    """A part of the group: a registry, the servers beside it, and gates in front of it.

    All these servers stop at the end of the part. The caller is a user of an htpasswd file.
    """

    def __init__(self, run, name):
        self.run, self.name = run, name
        self.word = name.lower().replace(" ", "-").replace(",", "")
        self.folder = run.machine.fresh(self.word)
        self.caller = run.htpasswd_user
        self.servers = contextlib.ExitStack()

    def cell(self, *words):
        return self.run.report.cell(self.name, *words)

    @contextlib.contextmanager
    def start(self, *programs):
        """Runs the cell in which the servers start."""
        with self.cell("start"):
            self.run.machine.require(*programs)
            yield

    def enter(self, server):
        return self.servers.enter_context(server)

    def gate(self, url, keys="", word="", **options):
        """Starts a gate in front of the registry at this URL."""
        name = f"{self.word}{word and '-'}{word}"
        people = htpasswd_provider(self.run.htpasswd_file, "read_registry, write_registry, delete_registry")
        gate = self.enter(Gate(
            name, self.run.moorgate, self.folder, self.run.tls, url, people, keys=keys, **options))
        self.enter(self.run.report.watching(gate))
        return gate

    def push_and_pull(self, gate, clients=CLIENTS):
        """Logs each client in at the gate, pushes an image, and pulls it again."""
        for client in clients:
            session = client(self.run.machine, gate, "foreign")
            log_in_push_pull(self.run, session, self.caller, f"demo/foreign/{client.name}")

    def wait_for(self, gate, status, path):
        """Waits until the answer to a request has this status, after the change of a file."""
        deadline = time.monotonic() + 20
        while (answer := gate.request("GET", path, login=self.caller.login)).status != status:
            check(time.monotonic() < deadline, f"the answer is still {answer.status} {answer.text()}")
            time.sleep(0.1)

    def file(self, name, content):
        """Writes a file that only its owner may read, and returns its path."""
        path = self.folder / name
        path.touch(0o600)
        path.write_text(content)
        return path

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.servers.close()


def expect(gate, caller, status, method, path, **options):
    """Sends a request as this caller, checks the status of the answer, and returns the answer."""
    answer = gate.request(method, path, login=caller.login, **options)
    check(answer.status == status, f"{method} {path}: {answer.status}, not {status}: {answer.text()}")
    return answer
