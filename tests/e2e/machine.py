"""The environment that all clients of a run share."""

import os
import shutil

from report import Skip

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
    """The environment that keeps every client inside the run's folder, and the missing programs."""

    def __init__(self, report, folder, certificate):
        self.report = report
        self.folder = folder
        self.missing = {}
        self.containerd = None  # the path of its socket, after its start
        home = folder / "home"
        containers = home / ".config" / "containers"
        containers.mkdir(parents=True)
        (containers / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (containers / "registries.conf").write_text("")
        (home / "storage.conf").write_text(STORAGE.format(folder=folder))
        (home / "containers.conf").write_text(ENGINE.format(folder=folder))
        self.env = {
            "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(home), "TMPDIR": str(folder),
            "SSL_CERT_FILE": str(certificate),  # all clients are written in Go, which reads it
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
        """Creates a folder that no other cell uses."""
        path = self.folder / "cells" / name
        number = 2
        while path.exists():
            path = self.folder / "cells" / f"{name}-{number}"
            number += 1
        path.mkdir(parents=True)
        return path
