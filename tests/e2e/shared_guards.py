"""Budgets of wrong credentials and of uploads, which are small and hold for all gates together."""

import contextlib
import socket

import load
from credentials import READ_WRITE
from questions import new_password
from redis_servers import RedisServer
from report import check
from shared_gates import REPOSITORY, fleet, login, person, wait_for

PLACES, BUDGET, UPLOADS = 6, 8, 2

LIMITS = (f"limits: {{failed_logins: {{rate: 1/h, burst: {PLACES}}}, "
          f"concurrent_uploads_per_identity: {UPLOADS}}}")


def hold(common):
    run = common.run
    with contextlib.ExitStack() as servers:
        gates = None
        with run.report.cell("shared", "guards", "start"):
            redis = servers.enter_context(RedisServer(run.machine.fresh("redis-guards")))
            gates = servers.enter_context(fleet(
                common, "guards", redis.for_gates(), LIMITS, provider=f"failure_budget: {BUDGET}/h"))
        if gates is None:
            return
        with run.report.cell("shared", "guards", "concurrent_uploads_per_identity at all gates"):
            uploads_wait(gates)
        with run.report.cell("shared", "guards", "failed_logins of one address at all gates"):
            an_address_guesses(gates)
        with run.report.cell("shared", "guards", "failure_budget of the provider at all gates"):
            the_budget_is_spent(gates)


def an_address_guesses(gates):
    address, token = "192.0.2.51", gates.questions.new_token()
    first, *others = gates.gates
    check(login(first, "known", token, address) == 200, "the caller is not let in")
    got = [login(gates.gates[number % 3], "guess", new_password(), address) for number in range(2 * PLACES)]
    check(got == [401] * PLACES + [429] * PLACES, f"answers: {got}")
    # It was valid from this address, which all gates know.
    for gate in others:
        check(login(gate, "known", token, address) == 200, f"{gate.name} locks out a known caller")


def the_budget_is_spent(gates):
    """Each guess comes from an address of its own."""
    before = len(gates.questions.asked)
    for number in range(3 * BUDGET):
        login(gates.gates[number % 3], "guess", new_password(), f"192.0.2.{60 + number}")
    asked = len(gates.questions.asked) - before
    check(asked == BUDGET - PLACES, f"GitLab was asked {asked} times after {PLACES} failures, with a budget of {BUDGET}")


def uploads_wait(gates):
    """Two gates receive an upload that does not end, so that the third gate has no place for one."""
    login_of_one = (person("uploads"), gates.questions.new_token(READ_WRITE[2]))

    def start(gate):
        return gate.request("POST", f"/v2/{REPOSITORY}/blobs/uploads/", login=login_of_one)

    uploads = [start(gate) for gate in gates.gates]
    check({upload.status for upload in uploads} == {202}, f"statuses: {[upload.status for upload in uploads]}")
    with contextlib.ExitStack() as streams:
        for gate, upload in list(zip(gates.gates, uploads))[:UPLOADS]:
            streams.enter_context(unfinished(gate, upload.headers["Location"], login_of_one))
        last = gates.gates[-1]
        check(start(last).status == 429, "there is a place for one more upload")
    wait_for(lambda: start(last).status == 202, "the places are not given back")


@contextlib.contextmanager
def unfinished(gate, path, login_of_one):
    """Sends a part of an upload, and waits until the gate has taken it."""
    [authorization] = load.basic(*login_of_one).items()
    head = "\r\n".join([f"PATCH {path} HTTP/1.1", f"Host: localhost:{gate.port}", ": ".join(authorization),
                        "Content-Length: 1000", "Content-Type: application/octet-stream", "Expect: 100-continue", "", ""])
    with socket.create_connection(("127.0.0.1", gate.port), 10) as stream:
        stream.sendall(head.encode())
        said = stream.recv(1000)  # once the request is admitted
        check(said.startswith(b"HTTP/1.1 100"), f"the gate says {said}")
        stream.sendall(b"x" * 10)
        yield
