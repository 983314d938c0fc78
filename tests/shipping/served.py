#!/usr/bin/env python3
"""Starts a gate in front of a stand-in for a registry, and checks that it serves over TLS: a challenge, and an allowed request.

  tests/shipping/served.py CONFIG COMMAND...

COMMAND runs the program; `hash-password` and `serve` are appended. CONFIG is the path of the config as COMMAND sees it; the
folder with the config is in FOLDER of the environment."""
import base64
import http.client
import http.server
import os
import pathlib
import socket
import ssl
import subprocess
import sys
import threading
import time

CERTIFICATE = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
               "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]


class Registry(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b'{"name":"a/b","tags":["v1"]}'
        self.send_response(200)
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    config, command = sys.argv[1], sys.argv[2:]
    folder = pathlib.Path(os.environ["FOLDER"])
    registry = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=registry.serve_forever, daemon=True).start()
    subprocess.run([*CERTIFICATE, "-keyout", folder / "tls.key", "-out", folder / "tls.crt"], check=True, capture_output=True)
    hashed = subprocess.run([*command, "hash-password", "alice"], input="secret\n", text=True, check=True, capture_output=True)
    (folder / "htpasswd").write_text(hashed.stdout)
    port, admin = free_port(), free_port()
    # The name of the registry must be looked up.
    (folder / "moorgate.yml").write_text(f"""\
version: 1
http:
  addr: 127.0.0.1:{port}
  external_url: https://localhost:{port}
  tls: {{ certificate: tls.crt, key: tls.key }}
admin: {{ addr: "127.0.0.1:{admin}" }}
upstream: {{ urls: ["http://localhost:{registry.server_port}"] }}
identity:
  - {{ name: people, type: htpasswd, file: htpasswd, scopes: [read_registry] }}
""")
    for file in folder.iterdir():
        file.chmod(0o644)    # the user of the image reads them
    subprocess.run([*command, "check-config", "--config", config], check=True, capture_output=True)
    gate = subprocess.Popen([*command, "serve", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(port, gate)
        status, headers, _ = ask(folder, port, {})
        assert status == 401 and f"https://localhost:{port}/token" in headers["WWW-Authenticate"], (status, headers)
        credential = base64.b64encode(b"alice:secret").decode()
        status, _, body = ask(folder, port, {"Authorization": f"Basic {credential}"})
        assert (status, body) == (200, b'{"name":"a/b","tags":["v1"]}'), (status, body)
        gate.terminate()
        assert gate.wait(timeout=60) == 0, gate.returncode
    finally:
        gate.kill()


def ask(folder, port, headers):
    context = ssl.create_default_context(cafile=folder / "tls.crt")
    connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=60)
    connection.request("GET", "/v2/a/b/tags/list", headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def wait_for(port, gate):
    end = time.monotonic() + 60
    while time.monotonic() < end and gate.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    gate.kill()
    sys.exit(f"the gate does not serve: {gate.stderr.read()}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


main()
