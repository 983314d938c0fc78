"""The one interface to all clients: a session is one caller at one client, with credentials of its own."""

import base64
import json


class Session:
    """What a client inherits. It adds `make`, which makes an image of this name, and `forget`; the arguments of its
    commands where they are its own; and `pushed` and `pulled`, which tell an image's digest after a push or a pull by
    the name and by what the client said."""

    name = None
    programs = ()
    has_login = True
    login_asks = True  # a login shows the registry the password, rather than only keeping it
    says_why = True  # it shows the message of a refused push
    tag = "v1"
    # The requests that a wrong password may cost: those of a login with a pull, and those of a push.
    wrong_password_bounds = {"pull": 10, "push": 10}

    def __init__(self, machine, gate, word):
        self.machine = machine
        self.report = machine.report
        self.gate = gate
        self.host = gate.host
        self.folder = machine.fresh(f"{self.name}-{gate.name}-{word}")
        # All that can log in keep what they know in this one form.
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
        """Leaves behind what a login would, without one."""
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
