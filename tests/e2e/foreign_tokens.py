"""A registry that accepts only tokens of its token server (`upstream.authorization: token`).

The gate has its own user at the token server. No caller learns the name of this user, or where the
token server is. The token server of Distribution 2 speaks plain HTTP on loopback, the one of
Distribution 3 TLS.
"""

import json
import secrets

import web
from clients import Docker
from credentials import Credential
from extras import check_mounted
from foreign_gates import Part, expect
from foreign_servers import Authority, TokenServer
from images import OCI, Image, digest
from report import check
from servers import Distribution, htpasswd_line

RULES = """policy:
  rules: [{name: all, repositories: ["**"], who: [authenticated], allow: [pull, push, delete, catalog]}]
"""


def asks_for_a_token(run, name, program):
    with Part(run, f"{name} with tokens") as part:
        gate = None
        with part.start(program, "token-server"):
            # The token server grants this user the repositories below demo/.
            account = Credential("the gate at the token server", "demo", secrets.token_urlsafe(12))
            authority = Authority(part.folder) if program == "registry" else None
            tokens, registry = servers(part, program, account, authority)
            gate = token_gate(part, registry, authority, account.login[1], [tokens.host])
        if gate is None:
            return
        with part.cell("a request without a token is refused"):
            trust = authority and authority.certificate
            answer = web.request(registry.port, trust, "GET", "/v2/demo/foreign/manifests/v1")
            check(answer.status == 401, f"{answer.status} {answer.text()}")
            check(tokens.realm in answer.headers["WWW-Authenticate"], answer.headers)
        part.push_and_pull(gate)
        mounts(part, gate)
        with part.cell("each token is asked for once, by the gate's user"):
            asked = tokens.asked()[1:]  # the first question is that of the run itself
            check(asked and len(asked) == len(set(asked)), f"questions to the token server: {asked}")
            check(part.caller.login[0] not in tokens.said(), "the token server received the name of a caller")
        catalog_and_deletes(part, registry, tokens, authority, account)
        a_realm_that_is_not_listed(part, registry, tokens, authority, account)
        what_the_token_server_does_not_grant(part, gate, tokens)
        a_wrong_password(part, registry, tokens, authority, account)
        the_token_server_is_down(part, gate, tokens)


def asks_for_a_password(run, name, program):
    """The registry sends a Basic challenge, which the gate answers with its password."""
    with Part(run, f"{name} with a password") as part:
        gate = None
        with part.start(program):
            account = Credential("the gate at the registry", "gate", secrets.token_urlsafe(12))
            users = part.file("users", htpasswd_line(run.moorgate, account))
            registry = part.enter(Distribution(
                part.folder, program, f"auth: {{htpasswd: {{realm: registry, path: {users}}}}}"))
            password = part.file("password", account.login[1])
            gate = part.gate(registry.url, f"username: gate, password_file: {password}", authorization="token")
        if gate:
            part.push_and_pull(gate)


def servers(part, program, account, authority):
    """Starts the token server and the registry, with TLS if there is an authority."""
    certificate = authority and authority.issue("tokens")
    tokens = part.enter(TokenServer(part.folder, part.run.moorgate, account, certificate))
    http = authority.registry_config() if authority else ""
    config = tokens.registry_config(authority and authority.certificate)
    return tokens, part.enter(Distribution(part.folder, program, config, http))


def token_gate(part, registry, authority, password, realms, word="", more=""):
    # The host of the token server must be listed, because it is not the registry's host.
    keys = f"username: demo, password_file: {part.file(f'password{word}', password)}, token_realms: {realms}"
    if authority:
        keys += f", ca: {authority.certificate}"
    return part.gate(registry.url, keys, word, authorization="token", more=more)


def mounts(part, gate):
    """The token for a mount has a scope for the source and one for the target."""
    with part.cell("a mount"):
        image = Image(part.folder)
        image.push(gate, part.caller.login, "demo/foreign/source", "v1")
        path = f"/v2/demo/foreign/target/blobs/uploads/?mount={digest(image.layer)}&from=demo/foreign/source"
        expect(gate, part.caller, 201, "POST", path)
    with part.cell("docker", "a mount"):
        session = Docker(part.run.machine, gate, "foreign-mount")
        session.require()
        session.login(part.caller)
        image, elsewhere = session.image("demo/foreign/first"), session.image("demo/foreign/second")
        session.make(image)
        session.push(image)
        session.copy_name(image, elsewhere)
        mark = gate.log_size()
        session.push(elsewhere)
        check_mounted(gate, mark, "demo/foreign/second")
        for made in (image, elsewhere):
            session.forget(made)


def what_the_token_server_does_not_grant(part, gate, tokens):
    """The registry refuses a fresh token. A read then gets 404, and a write 403."""
    for method, path, status, code in [
            ("GET", "manifests/v1", 404, "NAME_UNKNOWN"), ("GET", "tags/list", 404, "NAME_UNKNOWN"),
            ("HEAD", "manifests/v1", 404, None), ("POST", "blobs/uploads/", 403, "DENIED")]:
        with part.cell("a repository that the token server does not grant", f"{method} {path}"):
            answer = expect(gate, part.caller, status, method, f"/v2/elsewhere/app/{path}")
            check(code is None or json.loads(answer.body)["errors"][0]["code"] == code, answer.text())
            check_hidden(answer, tokens)
    with part.cell("docker", "a repository that the token server does not grant", "pull and push fail"):
        session = Docker(part.run.machine, gate, "foreign-refused")
        session.require()
        session.login(part.caller)
        image = session.image("elsewhere/app")
        session.pull_refused(image)
        session.make(image)
        check("denied" in session.push_refused(image), "the output of docker has no reason")
        session.forget(image)


def catalog_and_deletes(part, registry, tokens, authority, account):
    """The scope of the catalog is another one, and the action of a delete, too."""
    gate = None
    with part.cell("the catalog"):
        gate = token_gate(part, registry, authority, account.login[1], [tokens.host], "rules", RULES)
        answer = expect(gate, part.caller, 200, "GET", "/v2/_catalog")
        names = json.loads(answer.body)["repositories"]
        check("demo/foreign/source" in names, f"the catalog has {names}")
    with part.cell("a delete"):
        check(gate, "there is no gate with rules")
        Image(part.folder).push(gate, part.caller.login, "demo/foreign/deleted", "v1")
        path = "/v2/demo/foreign/deleted/manifests/"
        accept = {"headers": {"Accept": f"{OCI}.manifest.v1+json"}}
        found = expect(gate, part.caller, 200, "HEAD", path + "v1", **accept)
        expect(gate, part.caller, 202, "DELETE", path + found.headers["Docker-Content-Digest"])
        expect(gate, part.caller, 404, "HEAD", path + "v1", **accept)


def a_realm_that_is_not_listed(part, registry, tokens, authority, account):
    with part.cell("a realm that is not listed is not asked"):
        gate = token_gate(part, registry, authority, account.login[1], ["auth.example.com"], "unlisted")
        asked = len(tokens.asked())
        for method, path in [("GET", "tags/list"), ("POST", "blobs/uploads/")]:
            check_hidden(expect(gate, part.caller, 502, method, f"/v2/demo/foreign/source/{path}"), tokens)
        check(len(tokens.asked()) == asked, f"questions to the token server: {tokens.asked()[asked:]}")
        check("localhost" in gate.said() and "token_realms" in gate.said(), f"the log: {gate.said()}")


def a_wrong_password(part, registry, tokens, authority, account):
    """The token server refuses the gate until the file has the right password."""
    wrong = None
    with part.cell("the token server refuses the gate's password"):
        wrong = token_gate(part, registry, authority, "not it", [tokens.host], "wrong")
        for method, path in [("GET", "tags/list"), ("POST", "blobs/uploads/")]:
            check_hidden(expect(wrong, part.caller, 502, method, f"/v2/demo/foreign/source/{path}"), tokens)
    with part.cell("the password of the gate changes"):
        check(wrong, "there is no gate with another password")
        part.file("passwordwrong", account.login[1])
        part.wait_for(wrong, 200, "/v2/demo/foreign/source/tags/list")


def the_token_server_is_down(part, gate, tokens):
    """A request succeeds if the gate has a token for its scope."""
    with part.cell("the token server is down"):
        expect(gate, part.caller, 200, "GET", "/v2/demo/foreign/source/tags/list")
        tokens.stop()
        expect(gate, part.caller, 200, "GET", "/v2/demo/foreign/source/tags/list")
        for method, path in [("GET", "tags/list"), ("POST", "blobs/uploads/")]:
            answer = expect(gate, part.caller, 503, method, f"/v2/demo/foreign/new/{path}")
            check("Retry-After" in answer.headers, answer.headers)
            check_hidden(answer, tokens)


def check_hidden(answer, tokens):
    """Checks that an answer shows neither the registry's challenge nor the token server."""
    check("WWW-Authenticate" not in answer.headers, answer.headers)
    for said in (answer.headers.as_string(), answer.text()):
        check(tokens.host not in said, f"the answer shows the realm: {said}")
