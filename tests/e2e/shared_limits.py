"""Limits of three gates together, under more requests than they admit and an uneven load."""

import collections
import contextlib
import itertools

import shared_seen
from load import Load, basic
from redis_servers import Monitor, RedisServer
from report import check
from shared_gates import ACCEPT, MANIFEST, fleet, login, person

RATE, BURST, SECONDS = 100, 200, 10
LIMIT = f"{{rate: {RATE}/s, burst: {BURST}}}"

# The gate of each of ten requests in turn.
UNEVEN = [0, 0, 1, 0, 0, 2, 0, 1, 0, 0]


def hold(common):
    run = common.run
    for killed in [False, True]:
        name = "limits-killed" if killed else "limits"
        with contextlib.ExitStack() as servers:
            gates = loads = None
            with run.report.cell("shared", name, "start"):
                redis = servers.enter_context(RedisServer(run.machine.fresh(name)))
                monitor = servers.enter_context(Monitor(redis))
                gates = servers.enter_context(fleet(
                    common, name, redis.for_gates(), f"limits: {{per_client: {LIMIT}, per_identity: {LIMIT}}}"))
                loads = start(gates, killed)
            if loads is None:
                continue
            # Both loads last as long as one.
            for limit, (request_load, admitted) in loads.items():
                with run.report.cell("shared", name, limit):
                    check_admitted(gates, request_load.end(), admitted, killed)
            shared_seen.keep(common, name, redis, monitor)


def start(gates, killed):
    """Starts a load for each limit, and kills the busiest gate in the middle if that is asked for."""
    token = gates.questions.new_token()
    for gate in gates.gates:
        check(login(gate, "limited", token, "192.0.2.1") == 200, f"{gate.name} does not let in the caller")
    targets = Targets(gates)
    # Of one user from many addresses, and without a credential from one address.
    addresses = itertools.cycle(f"198.51.100.{number}" for number in range(1, 200))
    user = basic(person("limited"), token) | ACCEPT

    def of_identity(number):
        return targets.port(number), MANIFEST, user | {"X-Forwarded-For": next(addresses)}

    def of_client(number):
        return targets.port(number), "/v2/", {"X-Forwarded-For": "203.0.113.7"}

    loads = {"per_identity": (Load(2 * RATE, of_identity, SECONDS), 200),
             "per_client": (Load(2 * RATE, of_client, SECONDS), 401)}
    if killed:
        loads["per_client"][0].thread.join(SECONDS / 2)
        targets.kill_first()
    return loads


class Targets:
    """The gates under an uneven load. Requests to a gate that was killed go to the others."""

    def __init__(self, gates):
        self.gates = gates.gates
        self.living = list(gates.gates)

    def port(self, number):
        gate = self.gates[UNEVEN[number % len(UNEVEN)]]
        if gate not in self.living:
            gate = self.living[number % len(self.living)]
        return gate.port

    def kill_first(self):
        gate = self.living.pop(0)
        gate.process.kill()
        gate.process.wait()


def check_admitted(gates, outcomes, admitted, killed):
    # On a busy machine, the load lasts a little longer.
    seconds = max(outcome.at + outcome.took for outcome in outcomes) - min(outcome.at for outcome in outcomes)
    expected = RATE * seconds + BURST
    statuses = collections.Counter(outcome.status for outcome in outcomes)
    count = statuses.pop(admitted, 0)
    refused = statuses.pop(429, 0)
    # Requests under way at the gate that was killed have no answer.
    lost = statuses.pop(0, 0)
    print(f"      {count} admitted of {expected:.0f}, {refused} refused, {lost} without an answer", flush=True)
    check(not statuses, f"other answers: {gates.reasons(statuses)}")
    check(lost <= (10 if killed else 0), f"{lost} requests have no answer")
    share = BURST / 3 if killed else 0
    check(count <= expected * 1.05 + share, f"{count} were admitted, which is too many")
    # The share of the dead gate is missing while the others still count it.
    least = expected - share - RATE * SECONDS / 2 / 3 if killed else expected
    check(count >= least * 0.95, f"{count} were admitted, which is too few")
