"""Replicas and restarts.

A token that one gate issued is valid at every gate with the same `tokens.key_file`, also after a
restart. All clients reach the gates through a balancer that uses them in turn.
"""

import base64
import contextlib
import json
import os
import time

import background
from clients import Crane, Docker, Skopeo
from credentials import PERSONAL
from images import Image
from matrix import log_in_push_pull
from relay import Relay
from report import check
from servers import Distribution, Gate, gitlab_provider
from web import bearer

LAYERS = 24

# The duration of each upload in seconds, during the restarts.
PAUSE = 0.3

# Seconds: longer than any push in this file.
LONG = 3600


class Replicas:
    """Two gates, each with its own key file, and the balancer in front of them."""

    def __init__(self, run, servers):
        folder = run.machine.fresh("replicas")
        distribution = servers.enter_context(Distribution(folder))
        self.registry = servers.enter_context(Relay(distribution.port))
        # Started before the gates, because their configs contain its port.
        self.balancer = servers.enter_context(Relay())
        self.key = new_key()
        self.gates, self.key_files = [], []
        for name in ["first", "second"]:
            key_file = folder / f"{name}.keys"
            key_file.touch(0o600)
            key_file.write_text(self.key)
            gate = servers.enter_context(Gate(
                f"{name}-replica", run.moorgate, folder, run.tls, self.registry.url,
                gitlab_provider(run.demo.gitlab), key_file=key_file, balancer=self.balancer.port))
            # A gate that drains lets a push end on its connections, in which uploads overlap. No
            # push of this file takes longer. The next start reads it.
            text = gate.config.read_text()
            gate.config.write_text(text.replace("drain_timeout: 5s", "drain_timeout: 60s"))
            self.gates.append(gate)
            self.key_files.append(key_file)
            self.balancer.targets.append(gate.port)
            servers.enter_context(run.report.watching(gate))

    def log_sizes(self):
        return [gate.log_size() for gate in self.gates]

    def logged(self, marks, repository):
        """Returns, for each gate, the log lines of a repository since its mark."""
        texts = [gate.log_text(mark).rpartition("\n")[0] for gate, mark in zip(self.gates, marks)]
        return [[line for line in map(json.loads, text.splitlines()) if line["repository"] == repository]
                for text in texts]


def new_key():
    return base64.b64encode(os.urandom(32)).decode() + "\n"


def two_gates(run):
    with contextlib.ExitStack() as servers:
        replicas = None
        with run.report.cell("replicas", "start"):
            run.machine.require("docker-registry")
            replicas = Replicas(run, servers)
        if replicas is None:
            return
        sessions_through_the_balancer(run, replicas)
        a_token_is_valid_at_both_gates(run, replicas)
        sessions_outlast_restarts(run, replicas)
        keys_are_rotated(run, replicas)


def sessions_through_the_balancer(run, replicas):
    for client in [Docker, Skopeo]:
        session = client(run.machine, replicas.gates[0], "replicas")
        repository = f"demo/replicas-{client.name}"
        marks = replicas.log_sizes()
        log_in_push_pull(run, session, PERSONAL, repository)
        with run.report.cell(session.name, "two gates", "both served the session"):
            session.require()
            logs = replicas.logged(marks, repository)
            check(all(map(by_gate_token, logs)),
                  f"requests with a token: {[len(by_gate_token(log)) for log in logs]}")
            check_no_token_was_refused(logs)


def by_gate_token(log):
    return [line for line in log if line["credential_kind"] == "gate_token"]


def check_no_token_was_refused(logs):
    """Every session begins with a 401 that asks for a token. No gate refuses a token."""
    refused = [line for log in logs for line in log if line["decision"] != "allowed"
               and line["reason"] != "no_credential"]
    check(not refused, f"a token was refused: {refused}")


def a_token_is_valid_at_both_gates(run, replicas):
    first, second = replicas.gates
    with run.report.cell("a token", "is valid at the other gate, and after a restart"):
        Image(run.machine.fresh("replicas-image")).push(first, PERSONAL.login, "demo/replicas", "v1")
        token = issue(first)
        check_good(second, token)
        for gate in [first, second]:
            gate.restart()
            check_good(gate, token)


def issue(gate):
    answer = gate.request("GET", "/token?scope=repository:demo/replicas:pull", login=PERSONAL.login)
    check(answer.status == 200, f"{answer.status} {answer.text()}")
    return json.loads(answer.body)["token"]


def check_good(gate, token):
    answer = pull(gate, token)
    check(answer.status == 200, f"{gate.name}: {answer.status} {answer.text()}")


def pull(gate, token):
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    return gate.request("GET", "/v2/demo/replicas/manifests/v1", headers=accept | bearer(token))


def sessions_outlast_restarts(run, replicas):
    """Pushes go on while first one gate and then the other is drained and started again."""
    pushes = []
    replicas.registry.be_slow(LONG, PAUSE)
    try:
        marks = replicas.log_sizes()
        with run.report.cell("restarts", "two pushes start"):
            for client in [Docker, Crane]:
                session = client(run.machine, replicas.gates[0], "restarts")
                session.require()
                session.login(PERSONAL)
                image = session.image(f"demo/restarts-{session.name}")
                background.make(session, image, LAYERS)
                pushes.append(background.Push(session, image))
            wait_until(lambda: all(uploads(replicas, marks, push) for push in pushes),
                       "an upload of each push")
        with run.report.cell("restarts", "both gates, one after the other"):
            check(len(pushes) == 2, "the two pushes did not start")
            check(all(push.goes_on() for push in pushes), "a push ended before the restarts began")
            for gate in replicas.gates:
                before = [uploads(replicas, marks, push) for push in pushes]
                gate.restart()
                # It may have ended at the gate that drained.
                wait_until(lambda: all(uploads(replicas, marks, push) > count or not push.goes_on()
                                       for push, count in zip(pushes, before)),
                           "an upload of each push after a restart")
        replicas.registry.be_slow(0, 0)
        for push in pushes:
            with run.report.cell("restarts", push.session.name, "the push succeeds"):
                push.end(60)
                check_no_token_was_refused(replicas.logged(marks, push.repository))
        with run.report.cell("restarts", "both gates served requests with a token"):
            # One push may stay on its connection to one gate.
            logs = [replicas.logged(marks, push.repository) for push in pushes]
            check(all(any(map(by_gate_token, of_gate)) for of_gate in zip(*logs)),
                  "one of the gates served no request with a token")
    finally:
        for push in pushes:
            push.stop()
        replicas.registry.be_slow(0, 0)


def uploads(replicas, marks, push):
    """Returns how many blobs the push has uploaded since the marks."""
    lines = [line for log in replicas.logged(marks, push.repository) for line in log]
    return sum(line["operation"] == "upload_finish" for line in lines)


def wait_until(condition, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"{what} did not happen within {seconds} s")
        time.sleep(0.05)


def keys_are_rotated(run, replicas):
    """Rotates the key: append the new key, move it to the first line, remove the old key.

    After each restart, all tokens are valid at both gates, even if their key files differ.
    """
    old, new = replicas.key, new_key()
    tokens, by_new_key = [], []
    with run.report.cell("key rotation", "a new key is appended"):
        tokens = [issue(gate) for gate in replicas.gates]
        tokens += key_files_become(replicas, old + new, tokens)
        check(len({key_id(token) for token in tokens}) == 1,
              "a gate sealed a token with a key that is not the first")
    with run.report.cell("key rotation", "the new key is moved to the first line"):
        by_new_key = key_files_become(replicas, new + old, tokens)
        check(not {key_id(token) for token in by_new_key} & {key_id(token) for token in tokens},
              "a gate sealed a token with the old key")
    with run.report.cell("key rotation", "the old key is removed"):
        check(by_new_key, "no token was sealed with the new key")
        key_files_become(replicas, new, by_new_key)
        for gate in replicas.gates:
            answer = pull(gate, tokens[0])
            check(answer.status == 401,
                  f"a token sealed with the old key: {answer.status} {answer.text()}")
            check('error="invalid_token"' in answer.headers["WWW-Authenticate"], answer.headers)


def key_files_become(replicas, keys, tokens):
    """Changes the key file of one gate after the other. Returns a token of each."""
    issued = []
    for gate, key_file in zip(replicas.gates, replicas.key_files):
        key_file.write_text(keys)
        gate.restart()
        issued.append(issue(gate))
        for other in replicas.gates:
            for token in tokens + issued:
                check_good(other, token)
    return issued


def key_id(token):
    return token.split(".")[1]
