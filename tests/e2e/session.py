"""The interface to all clients. A session is one caller at one client, with its own credentials."""

import base64
import json


class Session:
    """The base class of all clients.

    A client defines `make`, which makes an image with the given name, and `forget`, which removes
    it. `pushed` and `pulled` return the digest of an image after a push or a pull, from its name
    and the output of the client. A client overrides the arguments of a command if its own differ.
    """

    name = None
    programs = ()
    has_login = True
    login_asks = True  # a login sends the password to the registry, and does not only store it
    says_why = True  # the output has the message of a refused push
    tag = "v1"
    # The largest numbers of requests with a wrong password: for a login and a pull, and for a push.
    wrong_password_bounds = {"pull": 10, "push": 10}

    def __init__(self, machine, gate, word):
        self.machine = machine
        self.report = machine.report
        self.gate = gate
        self.host = gate.host
        self.folder = machine.fresh(f"{self.name}-{gate.name}-{word}")
        # All clients with a login store their credentials in this format.
        self.credentials = self.folder / "config.json"
        self.credentials.write_text("{}")
        self.env = dict(
            machine.env, DOCKER_CONFIG=str(self.folder), REGISTRY_AUTH_FILE=str(self.credentials),
            HELM_REGISTRY_CONFIG=str(self.credentials), REGCTL_CONFIG=str(self.folder / "regctl.json"))

    def require(self):
        self.machine.require(*(self.programs or (self.name,)))

    def image(self, repository, tag=None):
        return f"{self.host}/{repository}:{tag or self.tag}"

    def command(self, *arguments):
        return [self.name, *arguments]

    def ok(self, *arguments, stdin=None):
        return self.report.ok(self.command(*arguments), env=self.env, stdin=stdin)

    def refused(self, *arguments, stdin=None):
        return self.report.refused(self.command(*arguments), env=self.env, stdin=stdin)

    def login_arguments(self, user):
        return ["login", "-u", user, "--password-stdin", self.host]

    def login(self, credential):
        user, password = credential.login
        self.ok(*self.login_arguments(user), stdin=password)

    def login_refused(self, credential):
        user, password = credential.login
        return self.refused(*self.login_arguments(user), stdin=password)

    def keep(self, credential):
        """Stores the credential as a login does, without a login."""
        auth = base64.b64encode(":".join(credential.login).encode()).decode()
        self.credentials.write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))

    def push(self, image):
        return self.pushed(image, self.ok(*self.push_arguments(image)))

    def push_refused(self, image):
        return self.refused(*self.push_arguments(image))

    def pull(self, image):
        return self.pulled(image, self.ok(*self.pull_arguments(image)))

    def pull_refused(self, image):
        return self.refused(*self.pull_arguments(image))

    def push_arguments(self, image):
        return ["push", image]

    def pull_arguments(self, image):
        return ["pull", image]
