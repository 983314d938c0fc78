"""The clients of the matrix, unmodified, behind one interface. A session is one caller with credentials of its own."""

import os
import re
import shutil

from images import Image, layout_digest, random_tar
from report import Skip, check

STORAGE = """[storage]
driver = "vfs"
graphroot = "{folder}/storage"
runroot = "{folder}/run"
"""

ENGINE = """[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
tmp_dir = "{folder}/tmp"
"""


class Machine:
    """What all sessions share: the environment that keeps every client inside the run's folder."""

    def __init__(self, report, folder, certificate):
        self.report = report
        self.folder = folder
        self.missing = {}
        home = folder / "home"
        containers = home / ".config" / "containers"
        containers.mkdir(parents=True)
        (containers / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (containers / "registries.conf").write_text("")
        (home / "storage.conf").write_text(STORAGE.format(folder=folder))
        (home / "containers.conf").write_text(ENGINE.format(folder=folder))
        self.env = {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(home), "TMPDIR": str(folder),
            "SSL_CERT_FILE": str(certificate),  # every client here is written in Go, which reads it
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"), "CONTAINERS_CONF": str(home / "containers.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(containers / "registries.conf"),
        }

    def require(self, *programs):
        for program in programs:
            if program in self.missing:
                raise Skip(self.missing[program])
            if not shutil.which(program):
                raise Skip(f"{program} is not installed")

    def fresh(self, name):
        """A folder that no other cell uses."""
        path = self.folder / "cells" / name
        number = 2
        while path.exists():
            path = self.folder / "cells" / f"{name}-{number}"
            number += 1
        path.mkdir(parents=True)
        return path


class Session:
    """One caller at one client."""

    name = None
    programs = ()

    def __init__(self, machine, gate, word):
        self.machine = machine
        self.report = machine.report
        self.host = gate.host
        self.folder = machine.fresh(f"{self.name}-{word}")
        self.env = dict(machine.env, REGISTRY_AUTH_FILE=str(self.folder / "auth.json"), DOCKER_CONFIG=str(self.folder))

    def require(self):
        self.machine.require(*(self.programs or (self.name,)))

    def image(self, repository, tag="v1"):
        return f"{self.host}/{repository}:{tag}"

    def ok(self, *arguments, stdin=None):
        return self.report.ok([self.name, *arguments], env=self.env, stdin=stdin)

    def refused(self, *arguments, stdin=None):
        return self.report.refused([self.name, *arguments], env=self.env, stdin=stdin)

    def login_arguments(self, user):
        return ["login", "-u", user, "--password-stdin", self.host]

    def login(self, credential):
        user, password = credential.login
        self.ok(*self.login_arguments(user), stdin=password)

    def login_refused(self, credential):
        user, password = credential.login
        return self.refused(*self.login_arguments(user), stdin=password)

    def digest_file(self):
        return (self.folder / "digest").read_text().strip()


class ImageStore(Session):
    """A client that keeps images under names of its own."""

    def push_refused(self, image):
        return self.refused("push", image)

    def copy_name(self, image, other):
        self.ok("tag", image, other)

    def forget(self, image):
        self.ok("rmi", image)


class Docker(ImageStore):
    name = "docker"
    programs = ("docker", "dockerd")

    def __init__(self, machine, gate, word):
        super().__init__(machine, gate, word)
        self.env["DOCKER_HOST"] = machine.env.get("DOCKER_HOST", "")

    def make(self, image):
        self.ok("import", random_tar(self.folder / "layer.tar"), image)

    def push(self, image):
        said = re.search(r"digest: (sha256:\w+)", self.ok("push", image))
        check(said, "docker push names no digest")
        return said.group(1)

    def pull(self, image):
        said = re.search(r"Digest: (sha256:\w+)", self.ok("pull", image))
        check(said, "docker pull names no digest")
        return said.group(1)


class Podman(ImageStore):
    name = "podman"

    def make(self, image):
        self.ok("import", random_tar(self.folder / "layer.tar"), image)

    def push(self, image):
        self.ok("push", "--digestfile", self.folder / "digest", image)
        return self.digest_file()

    def pull(self, image):
        self.ok("pull", image)
        return self.ok("image", "inspect", "--format", "{{.Digest}}", image).strip()


class Buildah(ImageStore):
    name = "buildah"

    def make(self, image):
        container = self.ok("from", "scratch").strip()
        self.ok("add", container, random_tar(self.folder / "layer.tar"), "/")
        self.ok("commit", container, image)
        self.ok("rm", container)

    def push(self, image):
        self.ok("push", "--digestfile", self.folder / "digest", image)
        return self.digest_file()

    def pull(self, image):
        self.ok("pull", image)
        # A line for each name that the image has.
        return self.ok("images", "--digests", "--noheading", "--format", "{{.Digest}}", image).split()[0]


class Skopeo(Session):
    """It has no storage of its own: its images are layouts in its folder, one a name."""

    name = "skopeo"

    def layout(self, image):
        return self.folder / re.sub(r"\W", "-", image)

    def make(self, image):
        Image(self.folder).write_layout(self.layout(image), "image")

    def push(self, image):
        layout = f"oci:{self.layout(image)}:image"
        self.ok("copy", "--digestfile", self.folder / "digest", layout, f"docker://{image}")
        return self.digest_file()

    def push_refused(self, image):
        return self.refused("copy", f"oci:{self.layout(image)}:image", f"docker://{image}")

    def copy_name(self, image, other):
        shutil.copytree(self.layout(image), self.layout(other))

    def forget(self, image):
        shutil.rmtree(self.layout(image))

    def pull(self, image):
        self.ok("copy", f"docker://{image}", f"oci:{self.layout(image)}:image")
        return layout_digest(self.layout(image))


CLIENTS = [Docker, Podman, Skopeo, Buildah]
