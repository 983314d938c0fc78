"""Pushes that take longer than the lifetime of a token.

Each client renews its token in another way: docker by the clock, containerd when the gate says that
the token is not valid, crane after any 401. The pushes take minutes, so they run in the background.

Only the uploads are slow, as in practice, and not the requests before them. If the token expires
between the check whether a blob exists and the start of its upload, containerd before 1.6.32 and
1.7.16 repeats the request with the same token and gives up, for any answer of the registry. Debian
has containerd 1.6.20.
"""

import datetime

import background
from clients import Crane, Ctr, Docker
from credentials import PERSONAL
from relay import Relay
from report import check
from servers import Distribution, Dockerd, Gate, gitlab_provider

# The lifetime of a token in seconds: the shortest that the gate allows.
LIFETIME = 60

# Each upload takes PAUSE seconds, until SLOW seconds (three lifetimes and more) have passed.
PAUSE = 18
SLOW = 3 * LIFETIME + 10

# Enough layers for this time, with five uploads at the same time.
LAYERS = 24


class LongPushes:
    """The pushes begin when this object is made. `end` waits for them and checks them."""

    def __init__(self, run, servers):
        self.run = run
        self.pushes = []
        with run.report.cell("a long push", "three clients start pushing"):
            run.machine.require("docker-registry")
            folder = run.machine.fresh("long-push")
            relay = servers.enter_context(Relay(servers.enter_context(Distribution(folder)).port))
            self.gate = servers.enter_context(Gate(
                "short-lived", run.moorgate, folder, run.tls, relay.url, gitlab_provider(run.demo.gitlab),
                lifetime=f"{LIFETIME}s"))
            sessions = [client(run.machine, self.gate, "long-push") for client in (Docker, Ctr, Crane)]
            for session in sessions:
                session.require()
                session.login(PERSONAL)
            docker, ctr, _ = sessions
            # A separate daemon, because the uploads of a daemon delay its other uploads.
            docker.env["DOCKER_HOST"] = servers.enter_context(Dockerd(folder, run.machine.env)).socket
            # By default, ctr uploads all layers at once, and the push would end too soon.
            ctr.remote += ["--max-concurrent-uploaded-layers", "1"]
            images = [session.image(f"demo/long-{session.name}") for session in sessions]
            for session, image in zip(sessions, images):
                background.make(session, image, LAYERS)
            relay.be_slow(SLOW, PAUSE)
            for session, image in zip(sessions, images):
                self.pushes.append(background.Push(session, image))
                servers.callback(self.pushes[-1].stop)

    def end(self):
        for push in self.pushes:
            with self.run.report.cell("a long push", push.session.name, "succeeds"):
                push.end(SLOW + 120)
                lines = self.logged(push.repository)
                times = [datetime.datetime.fromisoformat(line["time"]) for line in lines]
                seconds = [(time - times[0]).total_seconds() for time in times]
                expired = sum(line["reason"] == "invalid_token" for line in lines)
                print(f"      {seconds[-1]:.0f} s, {len(lines)} requests, "
                      f"{expired} with an expired token", flush=True)
                # ctr and crane use a token until it is refused. Without a refusal, the cell proves
                # nothing.
                check(expired or isinstance(push.session, Docker), "no token expired")
                lives = {int(second // LIFETIME) for second, line in zip(seconds, lines) if line["status"] < 300}
                check(lives >= {0, 1, 2, 3}, f"there are requests only in the lifetimes {lives}")

    def logged(self, repository):
        return [line for line in self.gate.logged_since(0) if line["repository"] == repository]
