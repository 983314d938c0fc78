"""Logins that leave no password on the client's disk: refresh tokens, as each client uses them."""

import base64
import contextlib
import json
import secrets
import shutil

import web
from clients import Buildah, Ctr, Docker, Oras, Podman, Skopeo
from credentials import PERSONAL, READ_WRITE, WRONG
from report import check
from servers import Gate, gitlab_provider

# These clients use the file that docker wrote.
WITH_DOCKERS_FILE = [Podman, Skopeo, Buildah, Oras]

REPOSITORY = "demo/sessions"


def refresh_tokens(run):
    folder = run.machine.fresh("sessions")
    with contextlib.ExitStack() as servers:
        keys, operator = folder / "tokens.keys", folder / "operator"
        secret = secrets.token_urlsafe(24)
        for path, content in [(keys, base64.b64encode(secrets.token_bytes(32)).decode()), (operator, secret)]:
            path.touch(0o600)
            path.write_text(content + "\n")
        gate = servers.enter_context(Gate(
            "sessions", run.moorgate, folder, run.tls, run.upstream, gitlab_provider(run.demo.gitlab),
            key_file=keys, session="720h", operator=operator, more="cache: {ttl: 1s, negative_ttl: 1s}"))
        servers.enter_context(run.report.watching(gate))
        docker = docker_stores_no_password(run, gate)
        if docker is None:
            return
        every_kind_of_credential(run, gate)
        for client in WITH_DOCKERS_FILE:
            a_client_with_dockers_file(run, gate, docker, client)
        containerd_refreshes(run, gate, docker)
        a_restart_logs_nobody_out(run, gate, docker)
        a_revocation_ends_it(run, gate, docker, secret)
        a_refused_login_stores_nothing(run, gate)


def docker_stores_no_password(run, gate):
    """Returns the session of docker."""
    with run.report.cell("sessions", "docker", "login stores no password"):
        docker = Docker(run.machine, gate, "sessions")
        docker.require()
        docker.login(PERSONAL)
        stored_token(docker, PERSONAL)
    with run.report.cell("sessions", "docker", "push and pull with the refresh token"):
        mark = gate.mark()
        push_and_pull(docker, REPOSITORY)
        kinds = {line["credential_kind"] for line in gate.logged_since(mark)}
        check(kinds == {"anonymous", "refresh_token", "gate_token"}, f"the kinds of credentials are {kinds}")
        return docker


def push_and_pull(session, repository):
    image = session.image(repository)
    session.make(image)
    pushed = session.push(image)
    session.forget(image)
    check(session.pull(image) == pushed, "the pulled image is another one")
    session.forget(image)


def stored_token(session, credential):
    """Returns the refresh token that docker stored, after a look for the password in the file."""
    text = session.credentials.read_text()
    entry = json.loads(text)["auths"][session.host]
    user, password = credential.login
    kept = base64.b64decode(entry.get("auth", "")).decode()
    check(password not in text and password not in kept, "the password is in config.json")
    check(kept in ("", f"{user}:"), f"config.json has {kept!r}")
    token = entry.get("identitytoken", "")
    check(token.startswith("mgr1."), "config.json has no refresh token")
    return token


def every_kind_of_credential(run, gate):
    for credential in READ_WRITE[1:]:
        with run.report.cell("sessions", "docker", str(credential), "login, push and pull"):
            docker = Docker(run.machine, gate, f"sessions-{credential.word}")
            docker.require()
            docker.login(credential)
            stored_token(docker, credential)
            push_and_pull(docker, f"{REPOSITORY}-{credential.word}")


def a_client_with_dockers_file(run, gate, docker, client):
    with run.report.cell("sessions", client.name, "push and pull with the file of docker"):
        session = client(run.machine, gate, "sessions")
        session.require()
        shutil.copy(docker.credentials, session.credentials)
        mark = gate.mark()
        push_and_pull(session, f"{REPOSITORY}-{client.name}")
        check_only_refreshes(gate, mark)


def check_only_refreshes(gate, mark):
    lines = gate.logged_since(mark)
    kinds = {line["credential_kind"] for line in lines}
    check("refresh_token" in kinds, f"the kinds of credentials are {kinds}")
    check("basic" not in kinds, "a password was sent")


def containerd_refreshes(run, gate, docker):
    with run.report.cell("sessions", "ctr", "pull --refresh and push --refresh"):
        ctr = Ctr(run.machine, gate, "sessions")
        ctr.require()
        ctr.remote = [*ctr.remote, "--refresh", stored_token(docker, PERSONAL)]
        mark = gate.mark()
        push_and_pull(ctr, f"{REPOSITORY}-ctr")
        check_only_refreshes(gate, mark)


def a_restart_logs_nobody_out(run, gate, docker):
    with run.report.cell("sessions", "after a restart, docker pulls without a login"):
        gate.restart()
        check(docker.pull(docker.image(REPOSITORY)), "nothing was pulled")
        docker.forget(docker.image(REPOSITORY))


def a_revocation_ends_it(run, gate, docker, secret):
    """A client that sends the refresh token as a password after that gets 401 too."""
    token = stored_token(docker, PERSONAL)
    with run.report.cell("sessions", "a revocation of the refresh token"):
        answer = web.request(gate.admin, None, "POST", "/revoke", body=f"token={token}", headers={
            **web.bearer(secret), "Content-Type": "application/x-www-form-urlencoded"})
        check(answer.status == 200, f"{answer.status} {answer.text()}")
        mark = gate.mark()
        said = docker.pull_refused(docker.image(REPOSITORY))
        check("denied" in said or "unauthorized" in said, said)
        ctr = Ctr(run.machine, gate, "sessions-revoked")
        ctr.remote = [*ctr.remote, "--refresh", token]
        ctr.pull_refused(ctr.image(REPOSITORY))
        lines = gate.logged_since(mark)
        check(not any(line["status"] == 200 for line in lines), f"something was answered: {lines}")
        reasons = {line["reason"] for line in lines}
        check("invalid_token" in reasons, f"the reasons are {reasons}")
    with run.report.cell("sessions", "after a new login, docker pulls again"):
        docker.login(PERSONAL)
        check(stored_token(docker, PERSONAL) != token, "the refresh token is the revoked one")
        check(docker.pull(docker.image(REPOSITORY)), "nothing was pulled")


def a_refused_login_stores_nothing(run, gate):
    with run.report.cell("sessions", "docker", "a refused login stores nothing"):
        docker = Docker(run.machine, gate, "sessions-wrong")
        docker.require()
        docker.login_refused(WRONG)
        auths = json.loads(docker.credentials.read_text()).get("auths")
        check(not auths, f"config.json has {auths}")
