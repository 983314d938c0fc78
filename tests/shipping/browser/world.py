"""A real gate with all that can fail around it: a provider, a registry and a Redis."""

import contextlib
import http.client
import http.server
import json
import pathlib
import signal
import subprocess
import sys
import threading

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/e2e"))

import web  # noqa: E402
from credentials import PERSONAL  # noqa: E402
from redis_servers import RedisServer  # noqa: E402
from servers import Certificate, Demo, Gate, gitlab_provider  # noqa: E402

# A name that a browser would run as a program, if the page took it for HTML.
HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>'&amp;"

# A user whom no password lets in.
USERS = "bob:$2b$04$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu\n"

LOCAL = """  - name: local
    type: htpasswd
    file: "{file}"
    scopes: [read_registry]
"""


class World:
    def __init__(self, moorgate, folder):
        # The config names this file, so it is a name that the page shows.
        self.users = folder / "<img src=x onerror=alert(1)>"
        self.users.write_text(USERS)
        keys = folder / "tokens.keys"
        keys.touch(0o600)
        keys.write_text(subprocess.run(["openssl", "rand", "-base64", "32"], capture_output=True, text=True, check=True).stdout)
        self.servers = []
        try:
            self.start_all(moorgate, folder, keys)
        except BaseException:
            self.__exit__()
            raise

    def start_all(self, moorgate, folder, keys):
        self.redis = self.start(RedisServer(new(folder, "redis")))
        self.provider = self.start(Demo(moorgate, new(folder, "provider")))
        self.registry = self.start(Demo(moorgate, new(folder, "registry")))
        identity = LOCAL.format(file=self.users) + gitlab_provider(self.provider.gitlab)
        self.gate = self.start(Gate(
            "gate", moorgate, folder, Certificate(folder), self.registry.registry, identity, challenge="basic",
            key_file=keys, more=self.redis.for_gates()))
        self.port = self.gate.admin
        self.page = f"http://127.0.0.1:{self.port}/"
        self.good_config = self.gate.config.read_text()

    def start(self, server):
        self.servers.append(server)
        return server

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in reversed(self.servers):
            server.stop()

    def status(self):
        return json.loads(web.plain(self.port, "/status.json").body)

    def pull(self, login=PERSONAL.login):
        """Lists the tags of a repository, and returns the status."""
        return self.gate.request("GET", "/v2/demo/app/tags/list", login=login).status

    def ask_provider(self):
        """Sends a credential that the gate has to ask the provider about."""
        self.asked = getattr(self, "asked", 0) + 1
        return self.pull(("alice", f"glpat-unknown-{self.asked}"))

    def stop(self, server):
        server.stop()
        self.servers.remove(server)

    def break_config(self):
        self.users.write_text("nonsense")
        self.gate.config.write_text(self.good_config + "nonsense: true\n")
        self.gate.process.send_signal(signal.SIGHUP)

    def mend_config(self):
        self.users.write_text(USERS)
        self.gate.config.write_text(self.good_config)
        self.gate.process.send_signal(signal.SIGHUP)


class Between:
    """A server between the browser and the gate, which changes the status and counts the fetches."""

    def __init__(self, port):
        self.fetches, self.change = 0, lambda status: status
        between = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                asked = http.client.HTTPConnection("127.0.0.1", port)
                asked.request("GET", self.path)
                answer = asked.getresponse()
                code, body = answer.status, answer.read()
                if self.path == "/status.json":
                    between.fetches += 1
                    changed = between.change(json.loads(body))
                    code, body = (changed, b"") if isinstance(changed, int) else (code, json.dumps(changed).encode())
                self.send_response(code)
                for name, value in answer.getheaders():
                    if name not in ("content-length", "date"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # The page does not wait for a late answer.
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.page = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()


def hostile(value):
    """Returns the status with hostile text in every text that is not a time or an address of the page."""
    if isinstance(value, dict):
        times = ("now", "started", "at", "ends", "since", "last", "until", "first", "seen", "version")
        return {name: part if name in times and isinstance(part, str) else hostile(part) for name, part in value.items()}
    if isinstance(value, list):
        return [hostile(part) for part in value]
    return HOSTILE + value if isinstance(value, str) else value


def new(folder, name):
    path = folder / name
    path.mkdir()
    return path
