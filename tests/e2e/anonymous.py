"""Callers without a credential: refused by default, but allowed to pull public projects."""

import contextlib
import json

from binary import stand_ins_binary
from clients import Crane, Docker, Podman, Skopeo
from credentials import PERSONAL
from images import Image
from report import check
from servers import Gate, gitlab_provider
from stand_ins import StandIns

PUBLIC, PRIVATE = "demo/public/app", "demo/private/app"


def anonymous_is_401(run):
    with run.report.cell("anonymous", "a request"):
        for path in ["/v2/", f"/v2/{run.seed}/manifests/v1"]:
            answer = run.gate.request("GET", path)
            check(answer.status == 401, f"{path}: {answer.status}")
            check(json.loads(answer.body)["errors"][0]["code"] == "UNAUTHORIZED", f"{path}: {answer.text()}")
            challenges = answer.headers.get_all("WWW-Authenticate")
            start = f'Bearer realm="https://{run.gate.host}/token",service="{run.gate.host}"'
            scope = "" if path == "/v2/" else f',scope="repository:{run.seed}:pull"'
            check(challenges == [start + scope], f"{path}: {challenges}")
    for gate in [run.gate, run.basic_gate]:
        for client in [Docker, Skopeo]:
            session = client(run.machine, gate, "anonymous")
            with run.report.cell(session.name, gate.name, "anonymous", "pull is refused"):
                session.require()
                session.pull_refused(session.image(run.seed))


def public_beside_private(run):
    """One gate serves a public and a private project. The clients do not know which is which."""
    folder = run.machine.fresh("public")
    with contextlib.ExitStack() as servers:
        gate, images = None, {}
        with run.report.cell("a public and a private project", "start"):
            stand_ins = servers.enter_context(StandIns(stand_ins_binary(), "", folder))
            stand_ins.make_public("demo/public")
            gate = servers.enter_context(Gate(
                "public", run.moorgate, folder, run.tls, run.upstream, gitlab_provider(stand_ins.gitlab, True)))
            for repository in [PUBLIC, PRIVATE]:
                images[repository] = Image(run.machine.fresh("public-image"))
                images[repository].push(gate, PERSONAL.login, repository, "v1")
        if len(images) < 2:
            return
        servers.enter_context(run.report.watching(gate))
        for client in [Docker, Podman, Skopeo, Crane]:
            session = client(run.machine, gate, "caller")
            with run.report.cell(session.name, gate.name, "anonymous", "pull of a public image"):
                session.require()
                pull(session, PUBLIC, images)
            with run.report.cell(session.name, gate.name, "anonymous", "pull of a private image is refused"):
                session.require()
                mark = gate.mark()
                session.pull_refused(session.image(PRIVATE))
                check_all_denied(gate.logged_since(mark), PRIVATE)
            with run.report.cell(session.name, gate.name, PERSONAL.kind, "login, pull of both"):
                session.require()
                session.login(PERSONAL)
                for repository in [PRIVATE, PUBLIC]:
                    pull(session, repository, images)
            with run.report.cell(session.name, gate.name, "anonymous", "push to a public project is refused"):
                session.require()
                stranger = client(run.machine, gate, "stranger")
                image = stranger.image("demo/public/refused")
                stranger.make(image)
                mark = gate.mark()
                stranger.push_refused(image)
                stranger.forget(image)
                writes = [line for line in gate.logged_since(mark) if line["method"] not in ("GET", "HEAD")]
                check_all_denied(writes, "demo/public/refused")


def check_all_denied(lines, repository):
    """Checks that every request was refused, but those that the client itself abandoned.

    crane sends several requests at once and resets the others at the first refusal.
    """
    ends = [line for line in lines if line["repository"] == repository and line["reason"] != "client_aborted"]
    decisions = {line["decision"] for line in ends}
    check(decisions == {"denied"}, f"logged decisions: {decisions}")


def pull(session, repository, images):
    image = session.image(repository)
    pulled = session.pull(image)
    check(pulled == images[repository].digest, f"pushed {images[repository].digest}, pulled {pulled}")
    session.forget(image)
