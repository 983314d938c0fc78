"""Both challenges × all clients × login, push and pull.

Also: refused logins and pushes, and the number of requests that a wrong password causes.
"""

from clients import CLIENTS, Buildah, Docker, Podman, Skopeo
from credentials import READ_ONLY, READ_WRITE, REFUSED, WRONG
from images import Image
from report import check

# These clients use each kind of credential under the default challenge. All other combinations use
# one kind.
CROSSED = [Docker, Podman, Skopeo, Buildah]


def every_client(run):
    for gate in [run.gate, run.basic_gate]:
        for client in CLIENTS:
            kinds = len(READ_WRITE) if gate is run.gate and client in CROSSED else 1
            pushed = None
            for credential in READ_WRITE[:kinds]:
                session = client(run.machine, gate, credential.word)
                repository = f"demo/e2e/{client.name}-{credential.word}"
                digest = log_in_push_pull(run, session, credential, repository)
                pushed = pushed or (repository, digest)
            for credential in READ_ONLY[:kinds]:
                readers_may_not_write(run, client(run.machine, gate, f"reader-{credential.word}"), credential, *pushed)


def log_in_push_pull(run, session, credential, repository):
    """Returns the digest of the pushed image, or None if the push failed."""
    image = session.image(repository)
    words = [session.name, session.gate.name, credential.kind]
    if session.has_login:
        with run.report.cell(*words, "login"):
            session.require()
            session.login(credential)
    else:
        session.keep(credential)
    pushed = None
    with run.report.cell(*words, "push"):
        session.require()
        session.make(image)
        pushed = session.push(image)
    with run.report.cell(*words, "pull"):
        session.require()
        check(pushed, "nothing was pushed")
        session.forget(image)
        pulled = session.pull(image)
        check(pulled == pushed, f"pushed {pushed}, pulled {pulled}")
        session.forget(image)
    return pushed


def readers_may_not_write(run, session, credential, repository, pushed):
    """With read_registry alone, a caller can pull, and the refusal of a push names the reason."""
    words = [session.name, session.gate.name, f"{credential} with read_registry alone"]
    with run.report.cell(*words, "pull"):
        session.require()
        check(pushed, "nothing was pushed")
        image = session.image(repository)
        session.login(credential)
        pulled = session.pull(image)
        check(pulled == pushed, f"pushed {pushed}, pulled {pulled}")
        session.forget(image)
    with run.report.cell(*words, "push is refused"):
        session.require()
        target = f"demo/refused/{session.name}-{credential.word}"
        image = session.image(target)
        session.make(image)
        mark = session.gate.mark()
        said = session.push_refused(image)
        session.forget(image)
        check_reason(session, said)
        check_refusal(session.gate, mark, target)


def check_reason(session, said):
    """The message of the error names the missing scope. Most clients do not show its `detail`."""
    if session.says_why:
        code = ["denied"] if session.gate.challenge == "basic" else []
        for words in ["gitlab granted no push", "read_registry and write_registry", *code]:
            check(words in said.lower(), f"the output of {session.name} does not contain {words!r}")


def check_refusal(gate, mark, repository):
    """A refusal is a 401 under Bearer, because another token may help, and a 403 under Basic."""
    lines = gate.logged_since(mark)
    refused = {line["status"] for line in lines
               if line["reason"] == "insufficient_rights" and line["repository"] == repository}
    expected = {401} if gate.challenge == "bearer" else {403}
    check(refused == expected, f"the refusals have the statuses {refused}, not {expected}")
    # A client that sends several requests at once drops the others when one is refused.
    reasons = {line["reason"] for line in lines if line["status"] in (401, 403)} - {"no_credential", "client_aborted"}
    check(reasons == {"insufficient_rights"}, f"logged reasons: {reasons}")
    allowed = [line for line in lines if line["repository"] == repository and line["decision"] == "allowed"
               and line["method"] not in ("GET", "HEAD")]
    check(not allowed, f"a write was allowed: {allowed}")


def strangers_may_not_log_in(run):
    """A login with a credential that GitLab does not know gets 401."""
    for client in CROSSED:
        for credential in REFUSED:
            session = client(run.machine, run.gate, f"stranger-{credential.word}")
            with run.report.cell(session.name, session.gate.name, credential.kind, "login is refused"):
                session.require()
                mark = run.gate.mark()
                session.login_refused(credential)
                check_nothing_allowed(run.gate.logged_since(mark))


def a_wrong_password_costs_little(run):
    """A client that repeats a wrong password sends a bounded number of requests."""
    for gate in [run.gate, run.basic_gate]:
        for client in CLIENTS:
            session = client(run.machine, gate, WRONG.word)
            image = session.image(run.seed)
            words = [session.name, gate.name, WRONG.kind]
            with run.report.cell(*words, "login and pull are refused" if session.login_asks else "pull is refused"):
                session.require()
                mark = gate.mark()
                if session.login_asks:
                    session.login_refused(WRONG)
                session.keep(WRONG)
                session.pull_refused(image)
                check_few(session, "pull", gate.logged_since(mark))
            with run.report.cell(*words, "push is refused"):
                session.require()
                image = session.image(f"demo/refused/{client.name}-{WRONG.word}")
                session.make(image)
                mark = gate.mark()
                session.push_refused(image)
                session.forget(image)
                check_few(session, "push", gate.logged_since(mark))


def check_few(session, what, lines):
    check_nothing_allowed(lines)
    bound = session.wrong_password_bounds[what]
    print(f"      {len(lines)} requests", flush=True)
    check(len(lines) <= bound, f"{len(lines)} requests, at most {bound} are allowed")


def check_nothing_allowed(lines):
    check(any(line["reason"] == "wrong_credential" for line in lines), "the access log has no wrong_credential")
    allowed = [line for line in lines if line["decision"] == "allowed"]
    check(not allowed, f"the gate allowed a request: {allowed}")


def seed(run, credential):
    """Pushes the image that exists before any client pushes one."""
    image = Image(run.machine.fresh("seed"))
    image.push(run.gate, credential.login, run.seed, "v1")
