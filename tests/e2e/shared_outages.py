"""No request fails because of Redis, however it is away: 500 requests a second go on meanwhile."""

import os
import re
import signal
import threading
import time

import web
from load import Load
from questions import new_password
from redis_servers import USER
from report import check
from shared_gates import get, problems, wait_for

RATE = 500

# One request of this number is of a caller that no gate knows.
COLD = 25

# The longest time for an answer, in seconds.
PATIENCE = 1

OTHER_PASSWORD = "another-password"


def kill(server, _):
    server.kill()


def start_again(server, _):
    server.start_again()


def pause(server, _):
    server.pause()


def go_on(server, _):
    server.go_on()


def fill(server, _):
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    server.ask("CONFIG", "SET", "maxmemory", "1")


def empty(server, _):
    server.ask("CONFIG", "SET", "maxmemory", "0")


def follow_a_dead_host(server, _):
    server.ask("REPLICAOF", "127.0.0.1", "1")


def lead(server, _):
    server.ask("REPLICAOF", "NO", "ONE")


def change_the_password(server, _):
    server.ask("ACL", "SETUSER", USER, "resetpass", f">{OTHER_PASSWORD}")
    # Redis asks only new connections for it.
    server.ask("CLIENT", "KILL", "USER", USER)


def reload_the_password(server, gates):
    """What an operator does after such a change: the new password in the file, and SIGHUP."""
    server.password_file.write_text(OTHER_PASSWORD)
    for gate in gates.gates:
        os.kill(gate.pid, signal.SIGHUP)


# What happens to the server, how it ends, what the log says of it, and the shortest duration.
KILLED = ("killed", kill, start_again, "ended|refused", 0)
PAUSED = ("paused", pause, go_on, "within|in time", 5)
ALL = [
    KILLED,
    PAUSED,
    ("full", fill, empty, "is full", 0),
    ("read-only", follow_a_dead_host, lead, "read-only replica", 0),
    ("another password", change_the_password, reload_the_password, "refuses the password", 0),
]
SHORT = [KILLED, (*PAUSED[:4], 1)]


class Watch:
    """The load, and a look at /readyz of each gate ten times a second."""

    def __init__(self, gates):
        self.gates = gates
        token = gates.questions.new_token()

        def request(number):
            gate = gates.gates[number % len(gates.gates)]
            return get(gate, f"cold-{number}" if number % COLD == 0 else "warm", token, "192.0.2.30")

        self.load = Load(RATE, request)
        self.not_ready = []
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.is_over.wait(0.1):
            for gate in self.gates.gates:
                status = web.plain(gate.admin, "/readyz").status
                if status != 200:
                    self.not_ready.append((gate.name, status))

    def check_since(self, begun):
        """Checks all answers to requests since then."""
        outcomes = [outcome for outcome in list(self.load.outcomes) if outcome.at >= begun]
        slowest = max(outcomes, key=lambda outcome: outcome.took)
        statuses = {outcome.status for outcome in outcomes}
        print(f"      {len(outcomes)} requests, the slowest answer after {slowest.took:.2f} s", flush=True)
        expected = RATE * (time.monotonic() - begun)
        check(len(outcomes) > 0.7 * expected, f"only {len(outcomes)} answers, not {expected:.0f}")
        failed = [outcome for outcome in outcomes if outcome.status != 200]
        check(not failed, f"{len(failed)} requests failed: {self.gates.reasons(statuses - {200})}")
        check(slowest.took < PATIENCE, f"an answer came after {slowest.took:.2f} s")
        check(not self.not_ready, f"not ready: {self.not_ready[:5]}")

    def end(self):
        self.load.stop()
        self.is_over.set()
        self.thread.join()


def no_request_fails(gates, server, faults):
    run = gates.common.run
    watch = Watch(gates)
    try:
        for fault, begin, end, says, seconds in faults:
            with run.report.cell("shared", gates.name, fault, "no request fails, and the gates join up again"):
                begun = time.monotonic()
                try:
                    with_fault(gates, server, begin, says, seconds)
                finally:
                    end(server, gates)
                gates.until_joined()
                wait_for(lambda: gates.revoke(gates.gates[0], new_password())[0].get("replicas") == len(gates.gates),
                         "the gates do not confirm a revocation", 5)
                watch.check_since(begun)
    finally:
        watch.end()
    with run.report.cell("shared", gates.name, "outages", "one log line of a kind in ten seconds"):
        for gate in gates.gates:
            check_throttled(gate)


def with_fault(gates, server, begin, says, seconds):
    begun = time.monotonic()
    begin(server, gates)
    gates.until_up_is(0)
    time.sleep(max(0, begun + seconds - time.monotonic()))  # the fault itself lasts this long
    for gate in gates.gates:
        # An earlier line may have been about the same kind of fault.
        wait_for(lambda: any(re.search(says, message) for _, message in problems(gate)),
                 f"{gate.name} does not say {says!r}", 3)


def check_throttled(gate):
    """The log has a line at most once in ten seconds for each kind of fault."""
    last = {}
    for at, message in problems(gate):
        kind = message.split(": ", 1)[-1].split(";")[-1]
        earlier = last.get(kind)
        check(earlier is None or at - earlier >= 9.9, f"{gate.name} says twice in {at - (earlier or 0):.1f} s: {message}")
        last[kind] = at
    check(last, f"{gate.name} says nothing of the outages")
