"""Cases beyond the matrix: tags, mounts, a large layer, Distribution 3, the demo's commands."""

import contextlib
import json
import re
import shlex
import shutil
import subprocess
import time

from clients import CLIENTS, Crane, Docker, Regctl, Skopeo
from credentials import PERSONAL, Credential
from images import Image, digest
from matrix import log_in_push_pull
from report import check
from servers import Distribution, Gate, can_connect, gitlab_provider

LARGE = 500 * 1000 * 1000
MEMORY_BOUND = 64  # MiB


def htpasswd_alone(run):
    """A gate whose only provider is an htpasswd file, made by `moorgate hash-password`."""
    session = Docker(run.machine, run.htpasswd_gate, "htpasswd")
    log_in_push_pull(run, session, run.htpasswd_user, "people/app")
    with run.report.cell("docker", "htpasswd user with a wrong password", "login is refused"):
        session = Docker(run.machine, run.htpasswd_gate, "htpasswd-wrong")
        session.require()
        session.login_refused(Credential("wrong", run.htpasswd_user.login[0], "not it"))


def tags_and_mounts(run):
    session = Docker(run.machine, run.gate, "tags")
    first, second = session.image("demo/tags"), session.image("demo/tags", "v2")
    with run.report.cell("docker", "a second tag"):
        session.require()
        session.login(PERSONAL)
        session.make(first)
        pushed = session.push(first)
        session.copy_name(first, second)
        check(session.push(second) == pushed, "the second tag has another digest")
        tags = run.gate.request("GET", "/v2/demo/tags/tags/list", login=PERSONAL.login)
        check(json.loads(tags.body)["tags"] == ["v1", "v2"], tags.text())
    with run.report.cell("docker", "a mount from another repository"):
        session.require()
        mark = run.gate.log_size()
        elsewhere = session.image("demo/mounted")
        session.copy_name(first, elsewhere)
        session.push(elsewhere)
        check_mounted(run.gate, mark, "demo/mounted")
    with run.report.cell("a mount from a repository that the caller may not pull"):
        secret = Image(run.machine.fresh("secret"))
        secret.push(run.htpasswd_gate, run.htpasswd_user.login, "people/secret", "v1")
        path = f"/v2/demo/thief/blobs/uploads/?mount={digest(secret.layer)}&from=people/secret"
        answer = run.gate.request("POST", path, login=PERSONAL.login)
        check(answer.status == 202,
              f"{answer.status} {answer.text()}; the start of a plain upload is 202")
        # A caller that may pull the source gets a mount. Otherwise the check above would prove
        # nothing.
        answer = run.htpasswd_gate.request("POST", path, login=run.htpasswd_user.login)
        check(answer.status == 201,
              f"a mount by a caller that may pull the source: {answer.status} {answer.text()}")


def check_mounted(gate, mark, repository):
    """Checks for a mount in the log: a registry answers 201 to a mount, and 202 to a new upload."""
    mounted = ("upload_start", repository, 201)
    lines = gate.logged(mark, lambda line: (line["operation"], line["repository"], line["status"]) == mounted)
    check(lines, "the log has no mount with status 201")


def a_large_layer(run):
    """A layer of 500 MB takes little memory of the gate."""
    session = Skopeo(run.machine, run.gate, "large")
    image = session.image("demo/large")
    with run.report.cell("skopeo", "a layer of 500 MB", "push"):
        session.require()
        session.login(PERSONAL)
        Image(session.folder, LARGE).write_layout(session.layout(image), "image")
        with memory_watched(run):
            pushed = session.push(image)
    with run.report.cell("skopeo", "a layer of 500 MB", "pull"):
        session.require()
        session.forget(image)
        with memory_watched(run):
            check(session.pull(image) == pushed, "the pulled digest differs from the pushed one")
    shutil.rmtree(session.folder)


class memory_watched:
    def __init__(self, run):
        self.gate = run.gate

    def __enter__(self):
        self.gate.forget_peak()
        self.before, _ = self.gate.memory()

    def __exit__(self, kind, *_):
        if kind is None:
            _, peak = self.gate.memory()
            growth = peak - self.before
            print(f"      the gate's memory: {self.before:.1f} MiB, at its peak {growth:+.1f} MiB", flush=True)
            check(growth < MEMORY_BOUND, f"the gate's memory grew by {growth:.0f} MiB")


def crane(run):
    """Commands of crane that the other clients do not have."""
    session = Crane(run.machine, run.gate, "extras")
    image, copy = session.image("demo/crane"), session.image("demo/crane-copy")
    pushed = None
    with run.report.cell("crane", "ls"):
        session.require()
        session.login(PERSONAL)
        session.make(image)
        pushed = session.push(image)
        check(session.ok("ls", session.host + "/demo/crane").split() == ["v1"],
              "the list of tags is not v1")
    with run.report.cell("crane", "copy mounts"):
        session.require()
        mark = run.gate.log_size()
        session.ok("copy", image, copy)
        check(session.ok("digest", copy).strip() == pushed, "the copy has another digest")
        check_mounted(run.gate, mark, "demo/crane-copy")
    with run.report.cell("crane", "catalog is refused"):
        session.require()
        said = session.refused("catalog", session.host)
        check("registry:catalog:* was not granted" in said, "crane does not say why")


def distribution_3(run):
    """Distribution 3 as the upstream of another gate."""
    folder = run.machine.fresh("distribution-3")
    with contextlib.ExitStack() as servers:
        gate = None
        with run.report.cell("Distribution 3", "start"):
            run.machine.require("registry")
            upstream = servers.enter_context(Distribution(folder, "registry"))
            gate = servers.enter_context(Gate(
                "distribution-3", run.moorgate, folder, run.tls, upstream.url, gitlab_provider(run.demo.gitlab)))
        if gate is None:
            return
        servers.enter_context(run.report.watching(gate))
        for client in CLIENTS:
            session = client(run.machine, gate, PERSONAL.word)
            log_in_push_pull(run, session, PERSONAL, f"demo/e2e/{client.name}")
        referrers_and_a_mount(run, gate)


def referrers_and_a_mount(run, gate):
    session = Regctl(run.machine, gate, "referrers")
    image, copy = session.image("demo/subject"), session.image("demo/mounted")
    with run.report.cell(session.name, gate.name, "referrers"):
        session.require()
        session.login(PERSONAL)
        session.make(image)
        session.push(image)
        kind = "application/vnd.example"
        session.ok("artifact", "put", "--artifact-type", kind, "--subject", image, stdin="a note")
        mark = gate.mark()
        listed = json.loads(session.ok("artifact", "list", image, "--format", "{{json .Descriptors}}"))
        check([entry["artifactType"] for entry in listed] == [kind], f"listed: {listed}")
        # Distribution 3 has no referrers API. After its 404, the client reads the referrers tag
        # instead.
        asked = [line["status"] for line in gate.logged_since(mark) if line["operation"] == "referrers"]
        check(asked == [404], f"statuses of requests for referrers: {asked}")
    with run.report.cell(session.name, gate.name, "a mount from another repository"):
        session.require()
        mark = gate.log_size()
        session.ok("image", "copy", image, copy)
        check_mounted(gate, mark, "demo/mounted")


def demo_lines(run):
    """The commands that the demo prints work as printed."""
    folder = run.machine.fresh("demo")
    env = dict(run.machine.env, DOCKER_CONFIG=str(folder), REGISTRY_AUTH_FILE=str(folder / "auth.json"))
    env["PATH"] = f"{run.moorgate.parent}:{env['PATH']}"
    lines = run.demo.lines_to_copy()
    logins = [line for line in lines if "docker login" in line]
    with run.report.cell("demo", "prints a login for each kind of credential"):
        check(len(logins) == 9, f"{len(logins)} logins, not 9")
    # Each login replaces the one before. The first one may push, so it comes last.
    lines = logins[1:] + logins[:1] + [line for line in lines if line not in logins]
    with contextlib.ExitStack() as servers:
        demo_lines_in_turn(run, lines, env, folder, servers)


def demo_lines_in_turn(run, lines, env, folder, servers):
    for line in lines:
        with run.report.cell("demo", line):
            if shlex.split(line)[1:2] == ["serve"]:
                second_gate(line, lines, env, folder, servers)
                continue
            programs = [word for word in ("docker", "podman", "skopeo", "oras", "curl", "tar") if word in shlex.split(line)]
            # docker makes the image that these commands push and pull.
            docker = "docker" in programs or "/hello:v1" in line
            run.machine.require(*programs, *(["docker", "dockerd"] if docker else []))
            run.report.ok(["bash", "-euo", "pipefail", "-c", line], env=env, cwd=folder)


def second_gate(line, lines, env, folder, servers):
    """Serves until the last line has ended, as in another terminal."""
    gate = subprocess.Popen(shlex.split(line), env=env, cwd=folder, stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    servers.callback(gate.wait)
    servers.callback(gate.terminate)
    port = int(re.search(r"https://localhost:(\d+)/v2/", lines[-1])[1])
    end = time.monotonic() + 20
    while not can_connect(port):
        check(gate.poll() is None and time.monotonic() < end, "the second gate does not serve")
        time.sleep(0.05)
