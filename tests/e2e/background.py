"""Pushes of images with many layers, in the background of the run."""

import subprocess
import tarfile

from clients import Ctr, Docker
from images import Image
from report import check


def make(session, image, layers):
    """Makes an image with this number of layers, ready to be pushed."""
    made = Image(session.folder, layers=layers)
    if isinstance(session, Docker):
        session.ok("load", "--input", made.write_docker_archive(session.folder / "image.tar", image))
    elif isinstance(session, Ctr):
        repository, _, tag = image.rpartition(":")
        with tarfile.open(session.folder / "image.tar", "w") as tar:
            tar.add(made.write_layout(session.folder / "layout", tag), ".")
        session.ok("import", "--no-unpack", "--base-name", repository, session.folder / "image.tar")
    else:
        made.write_layout(session.layout(image), "image")


class Push:
    """A client's push in a background process."""

    def __init__(self, session, image):
        self.session = session
        self.repository = image.removeprefix(session.host + "/").partition(":")[0]
        self.output = session.folder / "push.out"
        self.command = list(map(str, session.command(*session.push_arguments(image))))
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                self.command, env=session.env, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)

    def goes_on(self):
        return self.process.poll() is None

    def end(self, seconds):
        """Waits until the push has ended, and fails unless it succeeded."""
        try:
            code = self.process.wait(seconds)
        finally:
            self.stop()
            said = self.output.read_text().splitlines()
            self.session.report.transcript += ["$ " + " ".join(self.command), *said[-20:]]
        check(code == 0, f"{self.session.name} exited with {code}")

    def stop(self):
        if self.goes_on():
            self.process.kill()
            self.process.wait()
