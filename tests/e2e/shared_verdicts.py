"""What one gate learns, all know: verdicts of GitLab, and revocations."""

import collections
import json
import os
import signal
import time

import load
from questions import new_password
from report import check
from shared_gates import ACCEPT, MANIFEST, get, login, person, wait_for
from web import bearer

CALLERS = 1000

# Seconds: the time-out of Redis where callers come at once.
TIMEOUT = 0.2


def one_question(gates):
    """A thousand callers at once of one token that no gate knows."""
    run, questions = gates.common.run, gates.questions
    # Seconds of the answer, and the largest number of questions.
    for words, delay, most in [("an answer after 20 ms", 0.02, 1),
                               ("an answer after redis.timeout", TIMEOUT + 0.2, len(gates.gates))]:
        for kind, token, status in [("a token", questions.new_token(), 200),
                                    ("a wrong token", new_password(), 401)]:
            with run.report.cell("shared", gates.name, f"{CALLERS} callers of {kind}", words):
                questions.delay = delay
                try:
                    requests = [get(gates.gates[number % len(gates.gates)], "cold", token, "192.0.2.20")
                                for number in range(CALLERS)]
                    outcomes = load.at_once(requests)
                finally:
                    questions.delay = 0
                slowest = max(outcome.took for outcome in outcomes)
                print(f"      {questions.count(token)} questions, the slowest answer after {slowest:.2f} s", flush=True)
                statuses = collections.Counter(outcome.status for outcome in outcomes)
                check(set(statuses) == {status}, f"statuses: {dict(statuses)}")
                check(1 <= questions.count(token) <= most, f"{questions.count(token)} questions")
    with run.report.cell("shared", gates.name, f"{CALLERS} callers of a wrong token", "count as one wrong credential"):
        counts_once(gates, "192.0.2.21")


def counts_once(gates, address):
    """An address may send 20 wrong credentials at once, and ten a minute."""
    def many(token):
        return [get(gates.gates[number % len(gates.gates)], "wrong", token, address) for number in range(CALLERS)]

    statuses = collections.Counter(outcome.status for outcome in load.at_once(many(new_password())))
    check(set(statuses) == {401}, f"statuses: {dict(statuses)}")
    further = [login(gates.gates[number % len(gates.gates)], "wrong", new_password(), address) for number in range(24)]
    passed = further.index(429) if 429 in further else len(further)
    check(18 <= passed <= 21, f"{passed} further wrong tokens are looked up")


def revocations(gates):
    run = gates.common.run
    for number, gate in enumerate(gates.gates):
        with run.report.cell("shared", gates.name, f"a revocation at gate {number + 1}", "all know within a second"):
            a_revocation_at(gates, gate, number)
    with run.report.cell("shared", gates.name, "a revocation", "a gate that was paused learns it"):
        a_paused_gate_learns_it(gates)
    with run.report.cell("shared", gates.name, "a revocation", "a gate that starts afterwards learns it"):
        a_new_gate_learns_it(gates)


def a_revocation_at(gates, gate, number):
    questions, user = gates.questions, f"revoked-{number}"
    token, good = questions.new_token(), questions.new_token()
    gate_token, good_gate_token = issue(gate, user, token), issue(gate, user, good)
    for other in gates.gates:
        for issued in (gate_token, good_gate_token):
            check(by_gate_token(other, issued) == 200, f"{other.name} refuses the gate token")
        check(login(other, user, token) == login(other, user, good) == 200, f"{other.name} refuses the caller")
    check_revoked_by_all(gates, gates.revoke(gate, good))
    # GitLab still knows this one: its gate tokens are refused, but it is not a ban.
    before = questions.count(good)
    for other in gates.gates:
        check(by_gate_token(other, good_gate_token) == 401, f"{other.name} still accepts the gate token")
        check(login(other, user, good) == 200, f"{other.name} bans the caller")
    asked = questions.count(good) - before
    check(asked == 1, f"{asked} questions about a token that was revoked and is still valid")
    questions.revoke(token)
    check_revoked_by_all(gates, gates.revoke(gate, token))
    for other in gates.gates:
        check(by_gate_token(other, gate_token) == 401, f"{other.name} still accepts the gate token")
        check(login(other, user, token) == 401, f"{other.name} still lets in the caller")


def check_revoked_by_all(gates, answered):
    answer, took = answered
    check(answer == {"revoked": True, "replicas": len(gates.gates)}, f"POST /revoke answers {answer}")
    check(took < 1, f"the answer came after {took:.2f} s")


def a_paused_gate_learns_it(gates):
    first, *_, last = gates.gates
    token, gate_token = known_to_all(gates, "paused")
    os.kill(last.pid, signal.SIGSTOP)
    try:
        answer, took = gates.revoke(first, token)
        check(answer == {"revoked": True, "replicas": len(gates.gates) - 1}, f"POST /revoke answers {answer}")
        check(took < 1.5, f"the answer came after {took:.2f} s")
    finally:
        os.kill(last.pid, signal.SIGCONT)
    check_learned(gates, last, "paused", token, gate_token)
    gates.until_joined()


def a_new_gate_learns_it(gates):
    token, gate_token = known_to_all(gates, "later")
    check_revoked_by_all(gates, gates.revoke(gates.gates[0], token))
    new = gates.start_one()
    try:
        check_learned(gates, new, "later", token, gate_token)
        gates.until_joined()
    finally:
        gates.gates.pop().stop()  # it says farewell, so that the others do not count it any more
    gates.until_joined()


def check_learned(gates, gate, user, token, gate_token):
    """A gate refuses the gate token, and then the token, as soon as GitLab no longer knows it.

    GitLab still knows it at first, so that only the revocation tells the gate.
    """
    begun = time.monotonic()
    early = by_gate_token(gate, gate_token)
    wait_for(lambda: by_gate_token(gate, gate_token) == 401, f"{gate.name} does not refuse the gate token", 3)
    print(f"      first answer {early}, refused after {time.monotonic() - begun:.2f} s", flush=True)
    gates.questions.revoke(token)
    check(login(gate, user, token) == 401, f"{gate.name} lets in the caller")


def known_to_all(gates, user):
    """Returns a token that each gate knows, and a gate token that was made from it."""
    token = gates.questions.new_token()
    gate_token = issue(gates.gates[0], user, token)
    for gate in gates.gates:
        check(login(gate, user, token) == 200, f"{gate.name} refuses the caller")
        check(by_gate_token(gate, gate_token) == 200, f"{gate.name} refuses the gate token")
    return token, gate_token


def issue(gate, user, token):
    answer = gate.request("GET", "/token?scope=repository:demo/shared:pull", login=(person(user), token))
    check(answer.status == 200, f"{answer.status} {answer.text()}")
    return json.loads(answer.body)["token"]


def by_gate_token(gate, token):
    return gate.request("GET", MANIFEST, headers=ACCEPT | bearer(token)).status
