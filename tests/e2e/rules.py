"""Rules that make tags immutable, and maintenance: unmodified clients in front of Distribution."""

import contextlib
import re

import reload
from clients import Docker, Podman, Skopeo
from credentials import Credential
from images import Image, digest
from report import check
from servers import Gate, htpasswd_line, htpasswd_provider

CLIENTS = Docker, Podman, Skopeo

RULES = """limits: {failed_logins: null}
policy:
  read_only: false
  rules:
    - {name: releases, repositories: ["demo/releases/**"], tags: ["v*"], who: [authenticated], allow: [pull],
       immutable: true}
    - {name: everything, repositories: ["**"], who: [authenticated], allow: [pull, push, delete]}
"""

EXISTS = "the tag v1 exists and is immutable by a rule of this registry; push under another tag"
MAINTENANCE = "this registry is read-only for maintenance: it takes no pushes and deletes now, and pulls go on"


def immutable_and_read_only(run):
    with contextlib.ExitStack() as servers:
        gate, user = None, Credential("user with every scope", "releaser", "password of the releaser")
        with run.report.cell("rules", "start"):
            folder = run.machine.fresh("rules")
            (folder / "htpasswd").write_text(htpasswd_line(run.moorgate, user))
            scopes = "read_registry, write_registry, delete_registry"
            gate = servers.enter_context(Gate(
                "rules", run.moorgate, folder, run.tls, run.upstream, htpasswd_provider(folder / "htpasswd", scopes),
                more=RULES))
        if gate is None:
            return
        servers.enter_context(run.report.watching(gate))
        for client in CLIENTS:
            immutable(run, client(run.machine, gate, "immutable"), user)
        deletes_and_signatures(run, gate, user)
        for client in CLIENTS:
            maintenance(run, client(run.machine, gate, "maintenance"), user)
        upload_under_way(run, gate, user)


def immutable(run, session, user):
    """A tag is made once. Another image under it is refused, and so is the same one."""
    image, latest = (session.image(f"demo/releases/{session.name}", tag) for tag in ("v1", "latest"))
    with run.report.cell(session.name, "an immutable tag", "is made once"):
        session.require()
        session.login(user)
        session.make(image)
        pushed = session.push(image)
        refused(session, image, EXISTS)
        session.forget(image)
        session.make(image)
        refused(session, image, EXISTS)
        session.forget(image)
        check(session.pull(image) == pushed, "the tag was moved")
    with run.report.cell(session.name, "a tag beside the immutable ones", "is moved"):
        session.require()
        session.make(latest)
        session.push(latest)
        session.forget(latest)
        session.make(latest)
        session.push(latest)


def deletes_and_signatures(run, gate, user):
    """Requests of clients that the run does not have: deletes, and cosign's tags."""
    with run.report.cell("an immutable tag", "is not deleted, and signatures are not immutable"):
        repository, folder = "demo/releases/plain", run.machine.fresh("signatures")
        image = Image(folder)
        image.push(gate, user.login, repository, "v1")
        signature = f"{image.digest.replace(':', '-')}.sig"
        for _ in range(2):
            Image(folder).push(gate, user.login, repository, signature)
        for path, status in (
                ("manifests/v1", 403), (f"manifests/{image.digest}", 403), (f"blobs/{digest(image.layer)}", 403)):
            answer = gate.request("DELETE", f"/v2/{repository}/{path}", login=user.login)
            check(answer.status == status, f"DELETE {path}: {answer.status} {answer.text()}")
        several = f"/v2/{repository}/manifests/{image.digest}?tag=latest&tag=v1"
        media_type = "application/vnd.oci.image.manifest.v1+json"
        headers = {"Content-Type": media_type}
        answer = gate.request("PUT", several, login=user.login, headers=headers, body=image.manifest)
        check(answer.status == 403 and EXISTS in answer.text(), f"{answer.status} {answer.text()}")
        answer = gate.request(
            "GET", f"/v2/{repository}/manifests/v1", login=user.login, headers={"Accept": media_type})
        check(digest(answer.body) == image.digest, f"{answer.status} {answer.text()}")


def maintenance(run, session, user):
    """A reload begins the maintenance, and another one ends it."""
    image, other = (session.image(f"demo/maintenance/{session.name}", tag) for tag in ("v1", "v2"))
    with run.report.cell(session.name, "a read-only registry", "push is refused, and pull goes on"):
        session.require()
        session.login(user)
        session.make(image)
        pushed = session.push(image)
        session.make(other)
        set_read_only(session.gate, "true")
        try:
            session.login(user)
            # The registry has the first image, so its push ends with the manifest. The upload of the
            # second one is refused.
            refused(session, image, MAINTENANCE)
            refused(session, other, MAINTENANCE)
            session.forget(image)
            check(session.pull(image) == pushed, "the pulled digest differs from the pushed one")
        finally:
            set_read_only(session.gate, "false")
        session.push(other)


def upload_under_way(run, gate, user):
    with run.report.cell("a read-only registry", "an upload under way is refused"):
        start = gate.request("POST", "/v2/demo/maintenance/upload/blobs/uploads/", login=user.login)
        check(start.status == 202, f"{start.status} {start.text()}")
        set_read_only(gate, "true")
        try:
            for method, path in (("PATCH", start.headers["Location"]), ("DELETE", "/v2/demo/x/manifests/v1")):
                answer = gate.request(method, path, login=user.login)
                check((answer.status, answer.headers["Allow"]) == (405, "GET, HEAD"), f"{method}: {answer.status}")
                check(MAINTENANCE in answer.text(), answer.text())
        finally:
            set_read_only(gate, "false")
        answer = gate.request("PATCH", start.headers["Location"], login=user.login, body=b"piece")
        check(answer.status == 202, f"the upload does not go on: {answer.status} {answer.text()}")


def refused(session, image, words):
    said = re.sub(r"\s+", " ", session.push_refused(image))
    check(words in said, f"the output of {session.name} does not contain {words!r}")


def set_read_only(gate, value):
    text = gate.config.read_text()
    reload.reload(gate, re.sub(r"read_only: \w+", f"read_only: {value}", text), 1)
