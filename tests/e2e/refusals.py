"""What unmodified clients show for each refusal, under the default challenge.

The words must end the search: they name what is missing, and never send a user for another token
that would not help either.

docker shows the `error_description` of the challenge, or the message of the error if there is none.
podman and skopeo show both, which are the same. oras and helm show the message and the `detail`.
There are answers of which a client shows nothing:

- podman and skopeo say of each refused login and of each 429 that it is one, in their own words.
- The answer to HEAD has no content. oras and helm begin a push with HEAD, so if the caller may not
  even pull, they show only the status.
"""

import contextlib
import typing

from binary import stand_ins_binary
from clients import Docker, Helm, Oras, Podman, Skopeo
from credentials import Credential
from images import Image
from report import check
from servers import Gate, gitlab_provider, htpasswd_line
from stand_ins import StandIns

SEED = "demo/refusals/seed"

# The clients whose output has each sentence once.
ONCE = Docker, Oras, Helm
CLIENTS = *ONCE, Podman, Skopeo
OWN_WORDS = {Podman: "invalid username/password", Skopeo: "invalid username/password"}
ONLY_THE_STATUS = {Oras: "401: Unauthorized", Helm: "401: Unauthorized"}
TOO_MANY = {Podman: "too many requests to registry", Skopeo: "too many requests to registry"}

LOGIN = "authentication required; run docker login {host}"
WRONG = "wrong user name or password, or an expired or revoked token"
ACCOUNT = "this is the password of a GitLab account, and this registry accepts only tokens"
NO_PUSH = "GitLab granted no push: it takes the scopes read_registry and write_registry, the role and the project"
NO_PULL = "GitLab granted no pull: it takes the scope read_registry, the role and the project"
NO_RULE = "no rule of this registry lets you push"
LACKS = "token lacks write_registry"

# The cells try more wrong passwords than the default allows.
FREE = "limits: {failed_logins: null}\n"
RULES = FREE + """policy:
  rules:
    - {name: reads, repositories: ["**"], who: [authenticated], allow: [pull]}
    - {name: tags, repositories: ["demo/tags/**"], tags: ["other"], who: [authenticated], allow: [push]}
"""
FEW_LOGINS = "limits: {failed_logins: {rate: 1/h, burst: 1}}"
FEW_REQUESTS = "limits: {per_identity: {rate: 1/h, burst: 1}}"


class Refusal(typing.NamedTuple):
    """A command that is refused, and the words that must be shown."""

    why: str
    gate: Gate
    caller: Credential | None
    command: str
    repository: str
    words: str
    # The words of clients that show nothing of the answer.
    instead: dict = {}
    clients: tuple = CLIENTS


def every_refusal(run):
    with contextlib.ExitStack() as servers:
        refusals = []
        with run.report.cell("refusals", "start"):
            refusals = all_refusals(run, servers)
        for refusal in refusals:
            for client in refusal.clients:
                with run.report.cell(client.name, refusal.why, refusal.command), run.report.watching(refusal.gate):
                    is_refused(run, client, refusal)


def all_refusals(run, servers):
    folder = run.machine.fresh("refusals")
    stand_ins = servers.enter_context(StandIns(stand_ins_binary(), "", folder))
    gitlab = gitlab_provider(stand_ins.gitlab)

    def gate(name, identity, more=FREE):
        return servers.enter_context(Gate(
            f"refusals-{name}", run.moorgate, folder, run.tls, run.upstream, identity, more=more))

    tokens, rules = gate("gitlab", gitlab), gate("rules", gitlab, RULES)
    few_logins, few_requests = gate("logins", gitlab, FEW_LOGINS), gate("requests", gitlab, FEW_REQUESTS)
    reader = Credential("htpasswd user", "reader", "may only read")
    scopes, sso = gate("htpasswd", htpasswd(run, folder, reader)), gate("sso", introspection(folder, stand_ins))
    writes = stand_ins.credential("token with both scopes", "gitlab_read_write")
    reads = stand_ins.credential("token with read_registry", "gitlab_read_only")
    sso_reads = stand_ins.credential("SSO token", "sso_read_only")
    account = stand_ins.credential("account password", "gitlab_account")
    wrong, expired = Credential("wrong", "alice", "glpat-wrong"), Credential("expired", "alice", "glpat-demo-expired")
    Image(folder).push(tokens, writes.login, SEED, "v1")
    for limited, caller, status in ((few_logins, wrong, 401), (few_requests, writes, 200)):
        answer = limited.request("GET", "/v2/", login=caller.login)
        check(answer.status == status, f"{answer.status} {answer.text()}")
    mine, mistyped = "demo/refusals/mine", "dmeo/refusals/mine"
    return [
        Refusal("no login", tokens, None, "pull", SEED, LOGIN),
        Refusal("no login", tokens, None, "push", mine, LOGIN, ONLY_THE_STATUS),
        Refusal("a wrong password", tokens, wrong, "login", "", WRONG, OWN_WORDS),
        Refusal("a wrong password", tokens, wrong, "pull", SEED, WRONG),
        Refusal("a wrong password", tokens, wrong, "push", mine, WRONG),
        Refusal("an expired token", tokens, expired, "login", "", WRONG, OWN_WORDS),
        Refusal("an expired token", tokens, expired, "pull", SEED, WRONG),
        Refusal("an expired token", tokens, expired, "push", mine, WRONG),
        Refusal("an account password", tokens, account, "login", "", ACCOUNT, OWN_WORDS),
        Refusal("an account password", tokens, account, "pull", SEED, ACCOUNT),
        Refusal("an account password", tokens, account, "push", mine, ACCOUNT),
        Refusal("a token that may only read", tokens, reads, "push", mine, NO_PUSH),
        Refusal("a mistyped repository", tokens, writes, "pull", mistyped, NO_PULL),
        # podman and skopeo first ask whether the registry has a blob.
        Refusal("a mistyped repository", tokens, writes, "push", mistyped, NO_PUSH,
                {Podman: NO_PULL, Skopeo: NO_PULL, **ONLY_THE_STATUS}),
        Refusal("a catalog that is closed", tokens, writes, "catalog", "",
                "registry:catalog:* was not granted (GitLab grants it to administrators)", {}, (Oras,)),
        Refusal("a rule", rules, writes, "push", mine, f"{NO_RULE} in this repository"),
        Refusal("a rule about tags", rules, writes, "push", "demo/tags/mine", f"{NO_RULE} the tag"),
        Refusal("a user without the scope", scopes, reader, "push", mine, LACKS),
        Refusal("an SSO token without the scope", sso, sso_reads, "push", mine, LACKS),
        # oras and helm try again for 15 seconds.
        Refusal("too many wrong passwords", few_logins, wrong, "login", "",
                "too many wrong credentials come from your address; try again in", TOO_MANY, (Docker, Podman, Skopeo)),
        Refusal("too many requests", few_requests, writes, "push", mine,
                "too many requests come from you; try again in", TOO_MANY, (Docker, Podman, Skopeo, Oras)),
    ]


def htpasswd(run, folder, user):
    file = folder / "htpasswd"
    file.write_text(htpasswd_line(run.moorgate, user))
    return f"  - {{name: people, type: htpasswd, file: {file}, scopes: [read_registry]}}"


def introspection(folder, stand_ins):
    place, secret = stand_ins.introspection, folder / "introspection.secret"
    secret.touch(0o600)
    secret.write_text(place["client_secret"])
    return (f"  - {{name: sso, type: introspection, url: {place['url']}, client_id: {place['client_id']}, "
            f"client_secret_file: {secret}}}")


def is_refused(run, client, refusal):
    session = client(run.machine, refusal.gate, refusal.command)
    session.require()
    said = show(session, refusal)
    words = refusal.instead.get(client, refusal.words).format(host=session.host)
    check(words in said, f"the output of {session.name} does not contain {words!r}")
    check("another token" not in said.lower(), f"{session.name} sends the user for another token")
    if client in ONCE:
        check(said.count(words) == 1, f"the output of {session.name} contains {words!r} more than once")


def show(session, refusal):
    """Runs the command that is refused, and returns its output."""
    if refusal.command == "login":
        return session.login_refused(refusal.caller)
    if refusal.caller:
        session.keep(refusal.caller)
    if refusal.command == "catalog":
        said = session.refused("repo", "ls", "--plain-http=false", session.host)
        check(said.count("tags of a repository can be listed at") == 1, "the detail is not shown once")
        return said
    image = session.image(refusal.repository)
    if refusal.command == "pull":
        return session.pull_refused(image)
    session.make(image)
    try:
        return session.push_refused(image)
    finally:
        session.forget(image)
