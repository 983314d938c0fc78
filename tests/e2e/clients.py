"""The unmodified clients of the matrix, and their commands to log in, push and pull."""

import re
import shutil
import tarfile

from images import Image, layout_digest, random_tar
from report import check
from session import Session

HOSTS = """server = "https://{host}"
[host."https://{host}"]
  ca = "{certificate}"
"""


class ImageStore(Session):
    """A client that stores images under names."""

    def make(self, image):
        self.ok("import", random_tar(self.folder / "layer.tar"), image)

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

    def pushed(self, _, said):
        return digest_said(said)

    def pulled(self, _, said):
        return digest_said(said)


class DigestFile(Session):
    """A client that writes the digest of what it pushed to a file."""

    @property
    def digest_file(self):
        return self.folder / "digest"

    def push_arguments(self, image):
        return ["push", "--digestfile", self.digest_file, image]

    def pushed(self, *_):
        return self.digest_file.read_text().strip()


class Podman(DigestFile, ImageStore):
    name = "podman"

    def pulled(self, image, _):
        return self.ok("image", "inspect", "--format", "{{.Digest}}", image).strip()


class Buildah(DigestFile, ImageStore):
    name = "buildah"

    def make(self, image):
        container = self.ok("from", "scratch").strip()
        self.ok("add", container, random_tar(self.folder / "layer.tar"), "/")
        self.ok("commit", container, image)
        self.ok("rm", container)

    def pulled(self, image, _):
        # The output has a line for each name of the image.
        return self.ok("images", "--digests", "--noheading", "--format", "{{.Digest}}", image).split()[0]


class Layouts(Session):
    """A client without image storage. Each image is an OCI layout in the session's folder."""

    def layout(self, image):
        return self.folder / re.sub(r"\W", "-", image)

    def make(self, image):
        Image(self.folder).write_layout(self.layout(image), "image")

    def forget(self, image):
        shutil.rmtree(self.layout(image))

    def pushed(self, image, _):
        return layout_digest(self.layout(image))

    def pulled(self, image, _):
        return layout_digest(self.layout(image))


class Skopeo(DigestFile, Layouts):
    name = "skopeo"

    def push_arguments(self, image):
        layout = f"oci:{self.layout(image)}:image"
        return ["copy", "--digestfile", self.digest_file, layout, f"docker://{image}"]

    def pull_arguments(self, image):
        return ["copy", f"docker://{image}", f"oci:{self.layout(image)}:image"]


class Oras(Layouts):
    """oras, which would send plain HTTP to localhost."""

    name = "oras"

    def login_arguments(self, user):
        return [*super().login_arguments(user), "--plain-http=false"]

    def push_arguments(self, image):
        return ["cp", "--to-plain-http=false", "--from-oci-layout", f"{self.layout(image)}:image", image]

    def pull_arguments(self, image):
        return ["cp", "--from-plain-http=false", "--to-oci-layout", image, f"{self.layout(image)}:image"]


class Crane(Layouts):
    name = "crane"
    login_asks = False

    def login_arguments(self, user):
        return ["auth", *super().login_arguments(user)]

    def push_arguments(self, image):
        return ["push", self.layout(image), image]

    def pull_arguments(self, image):
        return ["pull", "--format", "oci", image, self.layout(image)]


class Regctl(Layouts):
    name = "regctl"
    says_why = False
    # After a Bearer challenge, a push of a layer and a config does not stop at the first 401. It
    # sends every HEAD, mount and upload, and asks for a token twice for each of them.
    wrong_password_bounds = {"pull": 10, "push": 20}

    def login_arguments(self, user):
        return ["registry", "login", "-u", user, "--pass-stdin", self.host]

    def push_arguments(self, image):
        return ["image", "copy", f"ocidir://{self.layout(image)}:image", image]

    def pull_arguments(self, image):
        return ["image", "copy", image, f"ocidir://{self.layout(image)}:image"]


class Helm(Session):
    """Helm. An image is a chart. Its name is the end of the repository, its version the tag."""

    name = "helm"
    tag = "1.0.0"

    def login_arguments(self, user):
        return ["registry", *super().login_arguments(user)]

    def make(self, image):
        _, name, version = self.parts(image)
        chart = self.folder / name
        chart.mkdir()
        (chart / "Chart.yaml").write_text(f"apiVersion: v2\nname: {name}\nversion: {version}\n")
        self.ok("package", chart, "-d", self.folder)
        shutil.rmtree(chart)

    def push_arguments(self, image):
        parent, _, _ = self.parts(image)
        return ["push", self.archive(image), f"oci://{parent}"]

    def pushed(self, _, said):
        return digest_said(said)

    def pull_arguments(self, image):
        parent, name, version = self.parts(image)
        return ["pull", f"oci://{parent}/{name}", "--version", version, "-d", self.folder]

    def pulled(self, _, said):
        return digest_said(said)

    def forget(self, image):
        self.archive(image).unlink()

    def archive(self, image):
        _, name, version = self.parts(image)
        return self.folder / f"{name}-{version}.tgz"

    @staticmethod
    def parts(image):
        repository, _, version = image.rpartition(":")
        parent, _, name = repository.rpartition("/")
        return parent, name, version


class Ctr(Session):
    """The command of containerd, which gets the credential as an argument each time."""

    name = "ctr"
    programs = ("containerd", "ctr")
    has_login = login_asks = says_why = False
    # After a 401 to a Basic credential, ctr repeats the request five times. A pull does so at the
    # host and at the server in hosts.toml, a push for the layer and for the config.
    wrong_password_bounds = {"pull": 14, "push": 14}

    def __init__(self, machine, gate, word):
        super().__init__(machine, gate, word)
        hosts = self.folder / "hosts" / self.host
        hosts.mkdir(parents=True)
        # Without this file, ctr would send plain HTTP to localhost.
        (hosts / "hosts.toml").write_text(HOSTS.format(host=self.host, certificate=gate.tls.certificate))
        self.remote = ["--hosts-dir", self.folder / "hosts"]

    def command(self, *arguments):
        return ["ctr", "--address", self.machine.containerd, "images", *arguments]

    def login(self, credential):
        self.keep(credential)

    def keep(self, credential):
        self.remote = [*self.remote[:2], "--user", ":".join(credential.login)]

    def make(self, image):
        repository, _, tag = image.rpartition(":")
        layout = Image(self.folder).write_layout(self.folder / "layout", tag)
        with tarfile.open(self.folder / "layout.tar", "w") as tar:
            tar.add(layout, ".")
        shutil.rmtree(layout)
        self.ok("import", "--no-unpack", "--base-name", repository, self.folder / "layout.tar")

    def push_arguments(self, image):
        return ["push", *self.remote, image]

    def pushed(self, image, _):
        return self.listed(image)

    def pull_arguments(self, image):
        return ["pull", *self.remote, "--snapshotter", "native", image]

    def pulled(self, image, _):
        return self.listed(image)

    def forget(self, image):
        # This removes the blobs too. Otherwise the next pull would request no blob.
        self.ok("remove", "--sync", image)

    def listed(self, image):
        return digest_said(self.ok("list", f"name=={image}"))


def digest_said(said):
    found = re.search(r"\bsha256:\w{64}\b", said)
    check(found, "the output has no digest")
    return found.group()


CLIENTS = [Docker, Podman, Skopeo, Buildah, Ctr, Crane, Regctl, Helm]
