"""What the matrix does not reach: other clients, tags, mounts, a large layer, callers without a credential."""

import json
import shlex
import shutil
import tarfile

from clients import Docker, Session, Skopeo
from credentials import PERSONAL, READ_ONLY, Credential
from images import Image, digest, layout_digest
from matrix import log_in_push_pull
from report import check
from servers import Containerd, NotStarted

LARGE = 500 * 1000 * 1000
MEMORY_BOUND = 64  # MiB


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
    for client in [Docker, Skopeo]:
        with run.report.cell("anonymous", client.name, "pull is refused"):
            session = client(run.machine, run.gate, "anonymous")
            session.require()
            arguments = {"docker": ["pull", session.image(run.seed)],
                         "skopeo": ["inspect", f"docker://{session.image(run.seed)}"]}[client.name]
            session.refused(*arguments)


def htpasswd_alone(run):
    """The second gate: users in a file, made by `moorgate hash-password`."""
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
        check(session.push(second) == pushed, "the second tag is another image")
        tags = run.gate.request("GET", "/v2/demo/tags/tags/list", login=PERSONAL.login)
        check(json.loads(tags.body)["tags"] == ["v1", "v2"], tags.text())
    with run.report.cell("docker", "a mount from another repository"):
        session.require()
        mark = run.gate.log_size()
        elsewhere = session.image("demo/mounted")
        session.copy_name(first, elsewhere)
        session.push(elsewhere)
        check_mounted(run, mark, "demo/mounted")
    with run.report.cell("a mount from a repository that the caller may not pull"):
        secret = Image(run.machine.fresh("secret"))
        secret.push(run.htpasswd_gate, run.htpasswd_user.login, "people/secret", "v1")
        path = f"/v2/demo/thief/blobs/uploads/?mount={digest(secret.layer)}&from=people/secret"
        answer = run.gate.request("POST", path, login=PERSONAL.login)
        check(answer.status == 202, f"{answer.status} {answer.text()}, where a plain upload starts with 202")
        # The same by who may pull it is a mount, or the cell above would prove nothing.
        answer = run.htpasswd_gate.request("POST", path, login=run.htpasswd_user.login)
        check(answer.status == 201, f"a mount by who may: {answer.status} {answer.text()}")


def check_mounted(run, mark, repository):
    """A registry answers 201 to a mount and 202 to the start of an upload."""
    mounted = ("upload_start", repository, 201)
    lines = run.gate.logged(mark, lambda line: (line["operation"], line["repository"], line["status"]) == mounted)
    check(lines, "no blob was mounted")


def a_large_layer(run):
    """500 MB through the gate, which keeps next to nothing of it."""
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
            check(session.pull(image) == pushed, "another image came back")
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


def containerd(run):
    folder = run.machine.fresh("containerd")
    report = run.report
    hosts = folder / "hosts" / run.gate.host
    hosts.mkdir(parents=True)
    (hosts / "hosts.toml").write_text(
        f'server = "https://{run.gate.host}"\n[host."https://{run.gate.host}"]\n  ca = "{run.gate.tls.certificate}"\n')
    server = None
    with report.cell("containerd", "start"):
        run.machine.require("containerd", "ctr")
        try:
            server = Containerd(folder)
        except NotStarted as why:
            run.machine.missing["ctr"] = f"containerd cannot be started here: {why}"
            run.machine.require("ctr")

    def ctr(*arguments, credential):
        run.machine.require("ctr")
        login = ["--hosts-dir", folder / "hosts", "--user", ":".join(credential.login)]
        return ["ctr", "--address", server.address, "images", arguments[0], *login, *arguments[1:]]

    source, made = f"{run.gate.host}/{run.seed}:v1", f"{run.gate.host}/demo/ctr:v1"
    try:
        with report.cell("ctr", "pull"):
            report.ok(ctr("pull", "--snapshotter", "native", source, credential=PERSONAL))
            listed = report.ok(["ctr", "--address", server.address, "images", "list"])
            check(run.seed_digest in listed, "it lists another digest")
        with report.cell("ctr", "push"):
            run.machine.require("ctr")
            image = Image(folder)
            with tarfile.open(folder / "layout.tar", "w") as tar:
                tar.add(image.write_layout(folder / "layout", "v1"), ".")
            report.ok(["ctr", "--address", server.address, "images", "import", "--no-unpack",
                       "--base-name", f"{run.gate.host}/demo/ctr", folder / "layout.tar"])
            mark = run.gate.log_size()
            report.ok(ctr("push", made, credential=PERSONAL))
            size = len(image.layer)
            check(run.gate.logged(mark, lambda line: line["bytes_in"] == size and line["status"] == 201),
                  "the layer was not uploaded")
            # Distribution hides an OCI manifest from who does not say that he accepts one.
            head = run.gate.request("HEAD", "/v2/demo/ctr/manifests/v1", login=PERSONAL.login,
                                    headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
            check(head.headers["Docker-Content-Digest"] == image.digest, f"{head.status} {head.headers}")
        with report.cell("ctr", "push with read_registry alone is refused"):
            said = report.refused(ctr("push", f"{run.gate.host}/demo/refused/ctr:v1", made, credential=READ_ONLY[0]))
            check("granted no push" in said or "403" in said or "insufficient_scope" in said or "401" in said, said)
    finally:
        if server:
            server.stop()


class Crane(Session):
    name = "crane"

    def login_arguments(self, user):
        return ["auth", "login", "-u", user, "--password-stdin", self.host]


def crane(run):
    session = Crane(run.machine, run.gate, "crane")
    image, copy = session.image("demo/crane"), session.image("demo/crane-copy")
    folder = session.folder
    made = None
    with run.report.cell("crane", "login"):
        session.require()
        session.login(PERSONAL)
    with run.report.cell("crane", "push"):
        session.require()
        made = Image(folder)
        session.ok("push", made.write_layout(folder / "made", "image"), image)
        check(session.ok("digest", image).strip() == made.digest, "another digest")
    with run.report.cell("crane", "pull"):
        session.require()
        session.ok("pull", "--format", "oci", image, folder / "pulled")
        check(layout_digest(folder / "pulled") == made.digest, "another digest")
    with run.report.cell("crane", "ls"):
        session.require()
        check(session.ok("ls", session.host + "/demo/crane").split() == ["v1"], "another list")
    with run.report.cell("crane", "copy mounts"):
        session.require()
        mark = run.gate.log_size()
        session.ok("copy", image, copy)
        check(session.ok("digest", copy).strip() == made.digest, "another digest")
        check_mounted(run, mark, "demo/crane-copy")
    with run.report.cell("crane", "catalog is refused"):
        session.require()
        said = session.refused("catalog", session.host)
        check("DENIED" in said, "crane does not say why")


def demo_lines(run):
    """What the demo tells people to type works as printed."""
    folder = run.machine.fresh("demo")
    env = dict(run.machine.env, DOCKER_CONFIG=str(folder), REGISTRY_AUTH_FILE=str(folder / "auth.json"))
    env["PATH"] = f"{run.moorgate.parent}:{env['PATH']}"
    lines = run.demo.lines_to_copy()
    logins = [line for line in lines if "docker login" in line]
    with run.report.cell("demo", "prints a login for each kind of credential"):
        check(len(logins) == 9, f"{len(logins)} logins")
    # Each login replaces the one before, and the first may push.
    for line in logins[1:] + logins[:1] + [line for line in lines if line not in logins]:
        with run.report.cell("demo", line):
            programs = [word for word in ("docker", "podman", "skopeo", "curl", "tar") if word in shlex.split(line)]
            # The image that the lines push and pull is docker's.
            docker = "docker" in programs or "/hello:v1" in line
            run.machine.require(*programs, *(["docker", "dockerd"] if docker else []))
            run.report.ok(["bash", "-euo", "pipefail", "-c", line], env=env, cwd=folder)
