"""The servers that a run starts on ports that the kernel picks, and stops by their process ids."""

import json
import os
import re
import socket
import subprocess
import time
import uuid

import web
from report import check

DISTRIBUTION = """version: 0.1
log: {{level: info}}
storage:
  {storage}
  delete: {{enabled: true}}
http: {{addr: 127.0.0.1:{port}, {http}}}
{more}
"""

GATE = """version: 1
http:
  addr: 127.0.0.1:{port}
  external_url: https://{host}
  tls: {tls}
  drain_timeout: 5s
  trusted_proxies: [{trusted}]
admin: {{addr: 127.0.0.1:{admin}, token_file: {operator}}}
upstream: {{urls: [{upstream}], authorization: {authorization}, {keys}}}
identity:
{identity}
tokens: {{challenge: {challenge}, lifetime: {lifetime}, key_file: {key_file}, session: {session}}}
log: {{access: {log}, level: debug}}
{more}
"""

# Each nginx of the run keeps its temporary files in its own folder.
NGINX_FOLDERS = """  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
"""

NGINX = """daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  log_format ledger escape=json '{{"method":"$request_method","target":"$request_uri","status":"$status"}}';
  access_log {folder}/ledger ledger;
""" + NGINX_FOLDERS + """  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 0;
    location / {{ return 200 "$request_method $request_uri\\n"; }}
  }}
}}
"""


class NotStarted(Exception):
    """A server did not start. The message has the end of its output."""


def free_port():
    """Returns a port that was free a moment ago.

    Some servers must know their port before they bind, so no safer way exists.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A process that the run starts, with its output in a file."""

    def __init__(self, name, arguments, folder, env=None):
        self.name = name
        self.arguments = list(map(str, arguments))
        self.folder = folder
        self.env = env
        self.output = folder / f"{name}.out"
        self.start()

    def start(self):
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.env,
                cwd=self.folder,
                start_new_session=True)  # Ctrl-C reaches only the run, which then stops its servers

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        return self.output.read_text(errors="replace")

    def wait_until(self, condition, seconds=30):
        """Waits until the condition holds, for example until the server is up."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                code = self.process.returncode
                raise NotStarted(f"{self.name} exited with {code}: {self.said()[-1500:]}")
            if time.monotonic() > deadline:
                raise NotStarted(f"{self.name} is not up after {seconds} s: {self.said()[-1500:]}")
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Distribution(Server):
    """The real registry, with its own storage.

    Debian's program is Distribution 2, `registry` is Distribution 3. `more` is added to its config,
    `http` to the section of that name. `storage` replaces the folder of files.
    """

    def __init__(self, folder, program="docker-registry", more="", http="", storage=None):
        self.port = free_port()
        self.url = f"{'https' if 'tls:' in http else 'http'}://127.0.0.1:{self.port}"
        config = folder / "distribution.yml"
        config.write_text(DISTRIBUTION.format(
            port=self.port, more=more, http=http,
            storage=storage or f"filesystem: {{rootdirectory: {folder}/blobs}}"))
        # Without the first, Distribution 3 would send traces to a collector that does not exist.
        # With the second, Distribution 2 of Debian panics as soon as its storage is S3.
        env = dict(os.environ, OTEL_TRACES_EXPORTER="none")
        env.pop("AWS_CA_BUNDLE", None)
        super().__init__("distribution", [program, "serve", config], folder, env)
        self.wait_until(lambda: can_connect(self.port))


class Nginx(Server):
    """nginx, which answers each request with its method and target, and keeps a ledger."""

    def __init__(self, folder):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ledger = folder / "ledger"
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=self.port))
        super().__init__("nginx", ["nginx", "-p", folder, "-c", config, "-e", folder / "errors"], folder)
        self.wait_until(lambda: can_connect(self.port))

    def requests(self):
        """Returns method and target of each request, in the order of the answers.

        A request that nginx could not read has neither, and fails the check.
        """
        if not self.ledger.exists():
            return []
        lines = self.ledger.read_text().rpartition("\n")[0].splitlines()
        requests = [json.loads(line) for line in lines]
        unread = [request for request in requests if request["status"] == "400" and not request["method"]]
        check(not unread, f"nginx could not read {unread}")
        return [(request["method"], request["target"]) for request in requests]


class Demo(Server):
    """`moorgate demo`. The gates under test use its stand-in for GitLab."""

    def __init__(self, moorgate, folder):
        super().__init__("demo", [moorgate, "demo", "--port", "0"], folder)
        self.wait_until(lambda: "Each request is one line below" in self.said())
        self.port = int(re.search(r"https://localhost:(\d+)", self.said()).group(1))
        with open(re.search(r"--config (\S+)", self.said()).group(1)) as config:
            text = config.read()
        self.gitlab = re.search(r"type: gitlab\s+url: (\S+)", text).group(1)
        self.registry = re.search(r"urls: \[(\S+)\]", text).group(1)

    def lines_to_copy(self):
        """Returns the commands that the demo prints for people to copy."""
        introduction = self.said().split("Each request is one line below")[0]
        return [line.strip() for line in introduction.splitlines() if line.startswith("  ")]

    def log_size(self):
        return len(self.said())

    def log_text(self, since):
        return self.said()[since:]


class Gate(Server):
    """`moorgate serve`, with its access log.

    `more` is added to its config, `keys` to its section `upstream`, `env` to its environment. If
    `balancer` is set, clients reach the gate at that port. A `plain` gate has no TLS, and leaves it
    to the balancer. The gate believes X-Forwarded-For from `trusted` networks. The file `operator`
    has the secret of operators.
    """

    def __init__(self, name, moorgate, folder, tls, upstream, identity, wait=True, challenge="bearer", more="",
                 authorization="strip", lifetime="1h", key_file="null", balancer=None, env=None, plain=False,
                 keys="", trusted="", operator="null", session="0s"):
        self.challenge = challenge
        self.port, self.admin = free_port(), free_port()
        self.host = f"localhost:{balancer or self.port}"
        self.tls = tls
        self.plain = plain
        self.log = folder / f"{name}.access.log"
        self.config = folder / f"{name}.yml"
        self.config.write_text(GATE.format(
            port=self.port, host=self.host, admin=self.admin,
            tls="null" if plain else f"{{certificate: {tls.certificate}, key: {tls.key}}}",
            upstream=upstream, authorization=authorization, keys=keys, identity=identity, challenge=challenge,
            lifetime=lifetime, key_file=key_file, log=self.log, more=more, trusted=trusted, operator=operator,
            session=session))
        env = env and {**os.environ, **env}
        super().__init__(name, [moorgate, "serve", "--config", self.config], folder, env)
        if wait:
            self.wait_until(lambda: can_connect(self.port))

    def restart(self):
        """Drains the gate, as an upgrade does, and starts it again on the same port."""
        self.process.terminate()
        code = self.process.wait(20)
        check(code == 0, f"{self.name} exited with {code}")
        self.start()
        self.wait_until(lambda: can_connect(self.port))

    def metric(self, name):
        """Returns the value of a metric that has no labels."""
        text = web.plain(self.admin, "/metrics").text()
        return float(re.search(rf"^moorgate_{name} (\S+)$", text, re.MULTILINE).group(1))

    def request(self, method, path, **options):
        certificate = None if self.plain else self.tls.certificate
        return web.request(self.port, certificate, method, path, **options)

    def log_size(self):
        return self.log.stat().st_size

    def log_text(self, since):
        with open(self.log, "rb") as log:
            log.seek(since)
            return log.read().decode()

    def logged(self, since, condition, seconds=5):
        """Returns the log lines since then, as soon as one fulfils the condition, or None."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            whole = self.log_text(since).rpartition("\n")[0]
            lines = [json.loads(line) for line in whole.splitlines()]
            if any(map(condition, lines)):
                return lines
            time.sleep(0.02)
        return None

    def mark(self):
        """Returns the size of the log, after each request so far has its line."""
        self.logged_since(self.log_size())
        return self.log_size()

    def logged_since(self, mark):
        """Returns the log lines of all requests since the mark."""
        last = f"last-{uuid.uuid4()}"  # the log has the lines in the order of the answers
        self.request("GET", "/v2/", headers={"X-Request-Id": last})
        lines = self.logged(mark, lambda line: line["request_id"] == last)
        check(lines, "the access log has no line for an answered request")
        return [line for line in lines if line["request_id"] != last]

    def memory(self):
        """Returns the resident memory now, and its peak since `forget_peak`, in MiB."""
        with open(f"/proc/{self.pid}/status") as status:
            fields = dict(line.split(":", 1) for line in status)
        return tuple(int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))

    def forget_peak(self):
        with open(f"/proc/{self.pid}/clear_refs", "w") as refs:
            refs.write("5")


class Dockerd(Server):
    """A dockerd with its own storage, socket and PID file. It does not change the network."""

    def __init__(self, folder, env):
        self.socket = f"unix://{folder}/docker.sock"
        config = folder / "daemon.json"
        config.write_text('{"debug": true}')  # dockerd then logs which mounts it requests
        super().__init__("dockerd", [
            "dockerd", "--config-file", config, "--data-root", folder / "data", "--exec-root", folder / "exec",
            "-H", self.socket, "-p", folder / "docker.pid", "--iptables=false", "--ip6tables=false", "--bridge=none",
            "--storage-driver=vfs"], folder, env)
        try:
            self.wait_until(lambda: "API listen on" in self.said(), 60)
        except NotStarted:
            self.stop()
            raise


class Containerd(Server):
    """A containerd that only the run uses, for `ctr`."""

    def __init__(self, folder):
        self.address = folder / "containerd.sock"
        config = folder / "containerd.toml"
        config.write_text(f"""version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{self.address}"
[ttrpc]
  address = "{folder}/containerd-ttrpc.sock"
""")
        super().__init__("containerd", ["containerd", "--config", config], folder)
        try:
            self.wait_until(lambda: "containerd successfully booted" in self.said())
        except NotStarted:
            self.stop()
            raise


class Certificate:
    """A self-signed certificate for localhost. Clients verify and trust it."""

    def __init__(self, folder):
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        subprocess.run([
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "60",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", self.key, "-out", self.certificate], check=True, capture_output=True)
        os.chmod(self.key, 0o600)


def gitlab_provider(url, anonymous=False, more=""):
    return f"  - {{name: gitlab, type: gitlab, url: {url}, anonymous: {str(anonymous).lower()}{more}}}"


def htpasswd_provider(path, scopes="read_registry, write_registry"):
    return f"  - {{name: people, type: htpasswd, file: {path}, scopes: [{scopes}]}}"


def htpasswd_line(moorgate, credential):
    user, password = credential.login
    done = subprocess.run(
        [moorgate, "hash-password", user], input=password, text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False
