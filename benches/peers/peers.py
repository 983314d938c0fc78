"""The proxies that are compared, the registry behind them, and what each process takes."""

import hashlib
import json
import os
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(ROOT / "tests/e2e"))

# The servers of the end-to-end tests.
from binary import binary  # noqa: E402,F401
from servers import Certificate, NotStarted, can_connect, free_port  # noqa: E402,F401
from servers import Server as AnyServer  # noqa: E402

MANIFEST = "/v2/group/project/app/manifests/v1"
MIB = 2**20
TICKS = os.sysconf("SC_CLK_TCK")


def fill(template, values):
    """Returns the text of a template with its words in braces replaced."""
    text = (HERE / template).read_text()
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    left = re.findall(r"\{\w+\}", text)
    if left:
        raise ValueError(f"{template}: no value for {' '.join(left)}")
    return text


class Server(AnyServer):
    def ready(self, condition):
        """Waits until the server is up, and stops it if that fails."""
        try:
            self.wait_until(condition)
        except BaseException:
            self.stop()
            raise


class Content:
    """The files that all proxies use: the certificate, the secret, a manifest and a blob."""

    def __init__(self, folder, blob_mib):
        self.folder = folder
        self.tls = Certificate(folder)
        self.pem = folder / "both.pem"
        self.pem.write_text(self.tls.certificate.read_text() + self.tls.key.read_text())
        self.secret = folder / "secret"
        self.secret.write_text("secret of the gate\n")
        self.served = folder / "content"
        (self.served / "uploads").mkdir(parents=True)
        self.blob = self.served / "blob"
        self.blob_bytes = blob_mib * MIB
        digest = hashlib.sha256()
        with open(self.blob, "wb") as file:
            for _ in range(blob_mib):
                chunk = os.urandom(MIB)
                digest.update(chunk)
                file.write(chunk)
        self.digest = f"sha256:{digest.hexdigest()}"
        layer = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": self.digest,
                 "size": self.blob_bytes}
        self.manifest = json.dumps({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": layer,
            "layers": [layer] * 12}).encode()
        (self.served / "manifest").write_bytes(self.manifest)


class Registry(Server):
    """The registry behind all proxies, and the introspection server."""

    def __init__(self, content):
        self.port, self.introspection_port = free_port(), free_port()
        folder = content.folder / "registry"
        folder.mkdir()
        super().__init__("registry", nginx(folder, "registry.conf", self.addresses() | {"content": content.served}),
                         folder)
        self.ready(lambda: can_connect(self.port) and can_connect(self.introspection_port))

    def addresses(self):
        return {"registry": f"127.0.0.1:{self.port}", "introspection": f"127.0.0.1:{self.introspection_port}"}


class Peers:
    """Starts proxies in front of the registry. `gates` has the builds of the gate by name."""

    def __init__(self, content, registry, gates, cpu):
        self.content, self.registry, self.gates, self.cpu = content, registry, gates, cpu
        self.names = [*gates, "nginx-auth", "nginx-plain", "haproxy-plain"]
        self.started = 0

    def start(self, name):
        """Starts a proxy, in a folder of its own."""
        self.started += 1
        folder = self.content.folder / f"{name}-{self.started}"
        folder.mkdir()
        port = free_port()
        values = self.registry.addresses() | {
            "port": port, "admin": free_port(), "folder": folder, "secret": self.content.secret,
            "certificate": self.content.tls.certificate, "key": self.content.tls.key, "pem": self.content.pem,
        }
        if name in self.gates:
            config = folder / "moorgate.yml"
            config.write_text(fill("moorgate.yml", values))
            command = [self.gates[name], "serve", "--config", config]
        elif name == "haproxy-plain":
            config = folder / "haproxy.cfg"
            config.write_text(fill("haproxy.cfg", values))
            command = ["haproxy", "-db", "-f", config]
        else:
            command = nginx(folder, f"{name}.conf", values)
        return Peer(name, command, folder, port, self.cpu)


def nginx(folder, template, values):
    """Returns the command of an nginx with this config."""
    config = folder / "nginx.conf"
    config.write_text(fill(template, values))
    return ["nginx", "-p", folder, "-c", config, "-e", folder / "errors"]


class Peer(Server):
    """A proxy under test."""

    def __init__(self, name, command, folder, port, cpu):
        self.port = port
        super().__init__(name, ["taskset", "-c", cpu, *command], folder)
        self.ready(lambda: can_connect(port))

    def url(self, path):
        return f"https://localhost:{self.port}{path}"

    def cpu_seconds(self):
        """Returns the CPU time of its processes so far, in user mode and in the kernel."""
        ticks = 0
        for pid in processes(self.pid):
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def memory_kib(self):
        """Returns the memory of its processes. Memory that they share counts once."""
        texts = (pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in processes(self.pid))
        return sum(int(re.search(r"^Pss: +(\d+) kB", text, re.M)[1]) for text in texts)

    def forget_log(self):
        """Empties the access log, so that a long run does not fill the memory."""
        log = self.folder / "access.log"
        if log.exists():
            os.truncate(log, 0)


def processes(pid):
    """Returns a process and its descendants."""
    found = [pid]
    for parent in found:
        for task in os.listdir(f"/proc/{parent}/task"):
            children = pathlib.Path(f"/proc/{parent}/task/{task}/children").read_text().split()
            found.extend(map(int, children))
    return found
