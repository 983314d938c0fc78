"""Pushes that take longer than any token that they could be given, by clients that each renew theirs in their own way:
docker by the clock, containerd when it is told so, crane at any 401. Minutes of waiting, so they go on beside the rest.

What is slow is each upload, as it is in life, and not the requests before it: where the token expires between the check
whether a blob exists and the start of its upload, containerd before 1.6.32 and 1.7.16 asks again with the same token
and gives up, whatever a registry answers. Debian's is 1.6.20.
"""

import datetime

import background
from clients import Crane, Ctr, Docker
from credentials import PERSONAL
from relay import Relay
from report import check
from servers import Distribution, Dockerd, Gate, gitlab_provider

# Seconds: the shortest that the gate allows.
LIFETIME = 60

# Whatever is uploaded takes so many seconds, until a push has taken three lifetimes.
PAUSE = 18
SLOW = 3 * LIFETIME + 10

# Enough for that with five uploads at a time.
LAYERS = 24


class LongPushes:
    """Begun when it is made, and looked at by `end`."""

    def __init__(self, run, servers):
        self.run = run
        self.pushes = []
        with run.report.cell("a long push", "three clients begin"):
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
            # A daemon of its own, for the uploads that are under way at a daemon keep others waiting.
            docker.env["DOCKER_HOST"] = servers.enter_context(Dockerd(folder, run.machine.env)).socket
            # All at once unless told otherwise, which would be over soon.
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
            with self.run.report.cell("a long push", push.session.name, "ends well"):
                push.end(SLOW + 120)
                lines = self.logged(push.repository)
                times = [datetime.datetime.fromisoformat(line["time"]) for line in lines]
                seconds = [(time - times[0]).total_seconds() for time in times]
                expired = sum(line["reason"] == "invalid_token" for line in lines)
                print(f"      {seconds[-1]:.0f} s, {len(lines)} requests, {expired} by an expired token", flush=True)
                # Or it would prove nothing: these two go on with a token until it is refused.
                check(expired or isinstance(push.session, Docker), "no token expired")
                lives = {int(second // LIFETIME) for second, line in zip(seconds, lines) if line["status"] < 300}
                check(lives >= {0, 1, 2, 3}, f"requests in lifetimes {lives} alone")

    def logged(self, repository):
        return [line for line in self.gate.logged_since(0) if line["repository"] == repository]
