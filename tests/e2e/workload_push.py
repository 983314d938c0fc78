"""Pushes that take longer than the workload token with which they began.

The token lives for a minute, its session for ten, and each push takes three minutes and more. docker
logs in and stores a refresh token, which it exchanges each time its gate token ends. ctr and crane
keep the workload token itself, which is good for nothing after a minute: the gate token that they
got for it lives as long as the session. The pushes run in the background.
"""

import base64
import secrets

import background
from binary import stand_ins_binary
from clients import Crane, Ctr, Docker
from long_push import LAYERS, PAUSE, SLOW
from relay import Relay
from report import check
from servers import Distribution, Dockerd, Gate
from stand_ins import StandIns

AUDIENCE = "registry.example.com"

# The lifetime of the workload token in seconds.
TOKEN = 60

PROVIDER = """  - name: workloads
    type: jwt
    issuer: {issuer[url]}
    jwks_url: {issuer[jwks_url]}
    audience: {audience}
    required_claims: {{namespace_id: ["42"]}}
    scopes: [read_registry, write_registry]
    session: 10m
"""


class WorkloadPushes:
    """The pushes begin when this object is made. `end` waits for them and checks them."""

    def __init__(self, run, servers):
        self.run = run
        self.pushes = []
        with run.report.cell("a long push of a workload", "three clients start pushing"):
            run.machine.require("docker-registry")
            folder = run.machine.fresh("workload-push")
            self.stand_ins = servers.enter_context(StandIns(stand_ins_binary(), AUDIENCE, folder))
            relay = servers.enter_context(Relay(servers.enter_context(Distribution(folder)).port))
            refreshed = self.start_gate(servers, folder, relay, "refreshed", session="1h", lifetime="60s")
            kept = self.start_gate(servers, folder, relay, "kept")
            docker = Docker(run.machine, refreshed, "workload-push")
            ctr, crane = (client(run.machine, kept, "workload-push") for client in (Ctr, Crane))
            docker.env["DOCKER_HOST"] = servers.enter_context(Dockerd(folder, run.machine.env)).socket
            sessions = [docker, ctr, crane]
            images = [session.image(f"demo/workload-{session.name}") for session in sessions]
            for session, image in zip(sessions, images):
                session.require()
                background.make(session, image, LAYERS)
            token = self.stand_ins.id_token("a workload", TOKEN)
            for session in sessions:
                session.login(token)
            # By default, ctr uploads all layers at once, and the push would end too soon.
            ctr.remote += ["--max-concurrent-uploaded-layers", "1"]
            relay.be_slow(SLOW, PAUSE)
            for session, image in zip(sessions, images):
                self.pushes.append(background.Push(session, image))
                servers.callback(self.pushes[-1].stop)
            self.token = token

    def start_gate(self, servers, folder, relay, name, **options):
        keys = folder / f"{name}.keys"
        keys.touch(0o600)
        keys.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        provider = PROVIDER.format(issuer=self.stand_ins.issuer, audience=AUDIENCE)
        return servers.enter_context(Gate(
            name, self.run.moorgate, folder, self.run.tls, relay.url, provider, key_file=keys, **options))

    def end(self):
        for push in self.pushes:
            with self.run.report.cell("a long push of a workload", push.session.name, "succeeds"):
                gate = push.session.gate
                push.end(SLOW + 120)
                answer = gate.request("GET", "/v2/", login=self.token.login)
                check(answer.status == 401, f"the workload token is still good: {answer.status}")
                lines = [line for line in gate.logged_since(0) if line["repository"] == push.repository]
                written = [line for line in lines if line["status"] in (201, 202, 204) and line["method"] != "HEAD"]
                check(written, "nothing was written")
                refused = [line for line in lines if line["status"] == 403]
                check(not refused, f"something was refused: {refused}")
