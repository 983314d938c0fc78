"""Starts, stops and inspects the stand-ins for identity providers (tests/e2e/stand_ins.rs)."""

import json
import subprocess

from credentials import Credential

NAMES = ["gitlab", "introspection", "issuer"]


class StandIns:
    def __init__(self, program, audience, folder):
        self.audience = audience
        self.output = open(folder / "stand-ins.out", "wb")
        self.process = subprocess.Popen(
            [program, "--audience", audience], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.output,
            text=True, cwd=folder, start_new_session=True)
        places = self.answer()
        self.gitlab = places["gitlab"]["url"]
        self.gitlab_keys = places["gitlab"]
        self.introspection = places["introspection"]
        self.issuer = places["issuer"]
        self.logins = places["credentials"]

    def credential(self, kind, name):
        return Credential(kind, *self.logins[name])

    def stop(self, *names):
        for name in names:
            self.ask(f"stop {name}")

    def start(self, *names):
        for name in names:
            self.ask(f"start {name}")

    def make_public(self, group):
        """Lets all callers pull from this group or project, until the stand-in for GitLab stops."""
        self.ask(f"public {group}")

    def id_token(self, kind, seconds):
        """Returns the credential with a new token of the issuer that lives for so many seconds."""
        return Credential(kind, "oidc", self.ask(f"id_token {self.audience} {seconds}")["id_token"])

    def ledger(self, name):
        """Returns every secret that this stand-in has received."""
        return set(self.ask(f"ledger {name}")["ledger"])

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = self.answer()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the stand-ins exited with {self.process.wait()}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()  # the process ends at the end of its input
        self.process.wait(20)
        self.output.close()
