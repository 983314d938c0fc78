"""{six credentials} × {docker, podman, skopeo, buildah} × {login, push, pull}, and what is refused to whom."""

from clients import CLIENTS
from credentials import READ_ONLY, READ_WRITE, REFUSED
from images import Image
from report import check


def credentials_may_write(run):
    """Each kind of credential, in each client."""
    for client in CLIENTS:
        for credential in READ_WRITE:
            session = client(run.machine, run.gate, credential.word)
            log_in_push_pull(run, session, credential, f"demo/e2e/{client.name}-{credential.word}")


def log_in_push_pull(run, session, credential, repository):
    image = session.image(repository)
    with run.report.cell(session.name, credential.kind, "login"):
        session.require()
        session.login(credential)
    pushed = None
    with run.report.cell(session.name, credential.kind, "push"):
        session.require()
        session.make(image)
        pushed = session.push(image)
    with run.report.cell(session.name, credential.kind, "pull"):
        session.require()
        check(pushed, "nothing was pushed")
        session.forget(image)
        pulled = session.pull(image)
        check(pulled == pushed, f"pushed {pushed}, pulled {pulled}")
        session.forget(image)


def readers_may_not_write(run):
    """read_registry alone: pulls, and a push is 403 with a text that says why."""
    for client in CLIENTS:
        for credential in READ_ONLY:
            session = client(run.machine, run.gate, f"reader-{credential.word}")
            seed = session.image(run.seed)
            target = f"demo/refused/{client.name}-{credential.word}"
            with run.report.cell(session.name, f"{credential} with read_registry alone", "pull"):
                session.require()
                session.login(credential)
                pulled = session.pull(seed)
                check(pulled == run.seed_digest, f"seeded {run.seed_digest}, pulled {pulled}")
            with run.report.cell(session.name, f"{credential} with read_registry alone", "push is refused"):
                session.require()
                mark = run.gate.log_size()
                session.copy_name(seed, session.image(target))
                said = session.push_refused(session.image(target))
                session.forget(session.image(target))
                session.forget(seed)
                check_reason(client.name, said)
                # 401 to Bearer, which could come back with another token, and 403 to Basic.
                lines = run.gate.logged(mark, lambda line: line["reason"] == "insufficient_rights"
                                        and line["repository"] == target)
                check(lines, "the access log has no such refusal")
                reasons = {line["reason"] for line in lines if line["status"] in (401, 403)} - {"no_credential"}
                check(reasons == {"insufficient_rights"}, f"logged reasons: {reasons}")
                allowed = [line for line in lines if line["repository"] == target and line["decision"] == "allowed"
                           and line["method"] not in ("GET", "HEAD")]
                check(not allowed, f"a write was allowed: {allowed}")


def check_reason(client, said):
    """What is missing stands in the error's message, because no client here shows its detail."""
    for words in ["denied", "granted no push", "read_registry and write_registry"]:
        check(words in said, f"{client} does not say why: no {words!r}")


def strangers_may_not_log_in(run):
    """What GitLab does not know is 401."""
    for client in CLIENTS:
        for credential in REFUSED:
            session = client(run.machine, run.gate, f"stranger-{credential.word}")
            with run.report.cell(session.name, credential.kind, "login is refused"):
                session.require()
                mark = run.gate.log_size()
                session.login_refused(credential)
                lines = run.gate.logged(mark, lambda line: line["reason"] == "wrong_credential")
                check(lines, "the access log has no wrong_credential")
                allowed = [line for line in lines if line["decision"] == "allowed"]
                check(not allowed, f"something was allowed: {allowed}")


def seed(run, credential):
    """An image that is there before any client pushes one."""
    image = Image(run.machine.fresh("seed"))
    image.push(run.gate, credential.login, run.seed, "v1")
    return image.digest
