"""GitLab's own registry behind the gate (`upstream.authorization: grant`).

Distribution accepts only tokens of GitLab. For each request, the gate sends it the token that
GitLab issued for that request.
"""

import contextlib
import json

import web
from binary import stand_ins_binary
from clients import Crane, Docker, Skopeo
from credentials import PERSONAL, READ_ONLY
from extras import check_mounted
from images import Image, digest
from matrix import log_in_push_pull
from report import check
from servers import Distribution, Gate, gitlab_provider
from stand_ins import StandIns

# The token service in the registry's own challenge. No client may receive this URL.
REALM = "https://gitlab.invalid/jwt/auth"

AUTH = """auth:
  token:
    realm: {realm}
    service: container_registry
    issuer: {issuer}
    rootcertbundle: {certificate}
    jwks: {jwks}
"""

# The iss of tokens from the stand-in for GitLab, the same as in GitLab's own package.
ISSUER = "omnibus-gitlab-issuer"

PROGRAMS = {"Distribution 2": "docker-registry", "Distribution 3": "registry"}


def gitlabs_own_registry(run):
    with contextlib.ExitStack() as servers:
        gitlab = None
        with run.report.cell("grant", "start"):
            gitlab = servers.enter_context(StandIns(stand_ins_binary(), "", run.machine.fresh("grant")))
        if gitlab is None:
            return
        for name, program in PROGRAMS.items():
            with contextlib.ExitStack() as pair:
                registry = gate = None
                with run.report.cell(name, "start with token authentication"):
                    run.machine.require(program)
                    registry, gate = start(run, pair, gitlab, program, ISSUER)
                if gate:
                    scenarios(run, name, registry, gate)
                    the_gate_never_shows_the_registrys_challenge(run, name, gitlab, program)


def start(run, servers, gitlab, program, issuer):
    """Starts a registry that accepts only tokens of this issuer, and a gate in front of it."""
    folder = run.machine.fresh(f"grant-{program}")
    certificate, jwks = folder / "gitlab.crt", folder / "gitlab.jwks"
    certificate.write_text(gitlab.gitlab_keys["certificate"])
    # Distribution 3 finds a key by its `kid` only in this file. For a certificate, it expects the
    # thumbprint of RFC 7638 as the `kid`.
    jwks.write_text(json.dumps(gitlab.gitlab_keys["jwks"]))
    registry = servers.enter_context(Distribution(folder, program, AUTH.format(
        realm=REALM, issuer=issuer, certificate=certificate, jwks=jwks)))
    gate = servers.enter_context(Gate(
        f"grant-{program}", run.moorgate, folder, run.tls, registry.url, gitlab_provider(gitlab.gitlab),
        authorization="grant"))
    servers.enter_context(run.report.watching(gate))
    return registry, gate


def scenarios(run, name, registry, gate):
    with run.report.cell(name, "a request without a token is refused"):
        answer = web.request(registry.port, None, "GET", "/v2/demo/grant/manifests/v1")
        check(answer.status == 401, f"{answer.status} {answer.text()}")
        check(REALM in answer.headers["WWW-Authenticate"], answer.headers)
    for client in [Docker, Skopeo, Crane]:
        session = client(run.machine, gate, PERSONAL.word)
        log_in_push_pull(run, session, PERSONAL, f"demo/grant-{client.name}")
    a_reader_may_not_push(run, name, registry, gate)
    mounts(run, name, gate)


def a_reader_may_not_push(run, name, registry, gate):
    with run.report.cell(name, "docker", f"{READ_ONLY[0]} with read_registry alone", "push is refused by the gate"):
        session = Docker(run.machine, gate, "grant-reader")
        session.require()
        session.login(READ_ONLY[0])
        image = session.image("demo/grant-refused")
        session.make(image)
        mark = gate.log_size()
        said = session.push_refused(image)
        session.forget(image)
        check("granted no push" in said, "the output of docker has no reason")
        check(gate.logged(mark, lambda line: line["reason"] == "insufficient_rights"),
              "the log has no line with the reason insufficient_rights")
        check("grant-refused/blobs/uploads" not in registry.said(),
              "the registry received the request for an upload")


def mounts(run, name, gate):
    """The registry checks the source and the target of a mount with one token."""
    with run.report.cell(name, "a mount"):
        image = Image(run.machine.fresh("grant-mount"))
        image.push(gate, PERSONAL.login, "demo/grant-source", "v1")
        path = f"/v2/demo/grant-target/blobs/uploads/?mount={digest(image.layer)}&from=demo/grant-source"
        answer = gate.request("POST", path, login=PERSONAL.login)
        check(answer.status == 201, f"{answer.status} {answer.text()}")
    with run.report.cell(name, "docker", "a mount"):
        session = Docker(run.machine, gate, "grant-mount")
        session.require()
        session.login(PERSONAL)
        image, elsewhere = session.image("demo/grant-first", "v1"), session.image("demo/grant-second")
        session.make(image)
        session.push(image)
        session.copy_name(image, elsewhere)
        mark = gate.log_size()
        session.push(elsewhere)
        check_mounted(gate, mark, "demo/grant-second")
        for made in (image, elsewhere):
            session.forget(made)


def the_gate_never_shows_the_registrys_challenge(run, name, gitlab, program):
    """If the registry refuses GitLab's tokens, the client gets 502, not the challenge."""
    with contextlib.ExitStack() as servers, run.report.cell(name, "a registry that refuses GitLab's tokens"):
        registry, gate = start(run, servers, gitlab, program, "another issuer")
        path = "/v2/demo/grant"
        for method, target in [("GET", f"{path}/manifests/v1"), ("HEAD", f"{path}/manifests/v1"),
                               ("GET", f"{path}/tags/list"), ("POST", f"{path}/blobs/uploads/")]:
            answer = gate.request(method, target, login=PERSONAL.login)
            check(answer.status == 502, f"{method} {target}: {answer.status} {answer.text()}")
            check("WWW-Authenticate" not in answer.headers, f"{method} {target}: {answer.headers}")
            check(REALM not in f"{answer.headers} {answer.text()}", f"{method} {target}: {answer.text()}")
        check("/v2/demo/grant" in registry.said(), "the registry received no request")
