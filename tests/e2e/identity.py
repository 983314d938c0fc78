"""Four identity providers at one gate, with a caller of each.

An outage of the other providers must not affect a caller, and no provider may see a secret that is
meant for another provider.
"""

import contextlib
import json
import time

from binary import stand_ins_binary
from clients import Docker
from credentials import Credential
from images import Image, digest
from matrix import log_in_push_pull
from report import Skip, check
from servers import Gate
from stand_ins import NAMES, StandIns

AUDIENCE = "registry.example.com"

PROVIDERS = """  - name: local
    type: htpasswd
    file: {htpasswd}
    scopes: [read_registry, write_registry]
  - name: workloads
    type: jwt
    issuer: {issuer[url]}
    jwks_url: {issuer[jwks_url]}
    audience: {audience}
    required_claims: {{namespace_id: ["42"]}}
    scopes: [read_registry, write_registry]
  - name: sso
    type: introspection
    url: {introspection[url]}
    client_id: {introspection[client_id]}
    client_secret_file: {secret_file}
    accepts: {{prefixes: [sso-]}}
  - name: gitlab
    type: gitlab
    url: {gitlab}
    accepts: {{prefixes: [glpat-, gldt-, glcbt-]}}
"""

# The cells shorten an outage of ten minutes, in which the default `ttl` of 60 s ends ten times.
# With this `ttl`, it ends as often in ten seconds.
TTL = 1
CACHE = "cache: {ttl: 1s, negative_ttl: 1s, stale_if_error: 1h}"
OUTAGE = 10 * TTL


class Caller:
    """A kind of caller, and the stand-in that the gate needs to verify its credential."""

    def __init__(self, credential, needs=None):
        self.credential = credential
        self.needs = needs
        self.repository = f"demo/identity/{credential.word}"


def four_providers(run):
    folder = run.machine.fresh("identity")
    with contextlib.ExitStack() as servers:
        gate = None
        with run.report.cell("four providers", "start"):
            stand_ins = servers.enter_context(StandIns(stand_ins_binary(), AUDIENCE, folder))
            gate = servers.enter_context(start_gate(run, folder, stand_ins))
        if gate is None:
            return
        servers.enter_context(run.report.watching(gate))
        callers = [
            Caller(run.htpasswd_user),
            # Needs no stand-in, because the gate has fetched the keys.
            Caller(stand_ins.credential("workload with an id_token", "id_token")),
            Caller(stand_ins.credential("user with an SSO token", "sso_read_write"), "introspection"),
            Caller(stand_ins.credential("personal access token", "gitlab_read_write"), "gitlab"),
        ]
        all_push_and_pull(run, gate, callers)
        three_are_stopped(run, gate, stand_ins, callers)
        an_outage_of_all(run, gate, stand_ins, callers)
        back_again(run, gate, stand_ins)
        each_provider_saw_only_its_own_secrets(run, stand_ins)


def start_gate(run, folder, stand_ins):
    secret_file = folder / "introspection.secret"
    secret_file.touch(0o600)
    secret_file.write_text(stand_ins.introspection["client_secret"] + "\n")
    providers = PROVIDERS.format(
        htpasswd=run.htpasswd_file, issuer=stand_ins.issuer, audience=stand_ins.audience, secret_file=secret_file,
        introspection=stand_ins.introspection, gitlab=stand_ins.gitlab)
    return Gate("four-providers", run.moorgate, folder, run.tls, run.upstream, providers, more=CACHE)


def all_push_and_pull(run, gate, callers):
    for caller in callers:
        session = Docker(run.machine, gate, caller.credential.word)
        log_in_push_pull(run, session, caller.credential, caller.repository)


def three_are_stopped(run, gate, stand_ins, callers):
    """Each caller logs in, pushes and pulls while only the stand-in that knows it runs."""
    for caller in callers:
        stopped = [name for name in NAMES if name != caller.needs]
        stand_ins.stop(*stopped)
        try:
            time.sleep(2 * TTL)  # the verdict about the credential has expired
            session = Docker(run.machine, gate, f"alone-{caller.credential.word}")
            alone = Credential(f"{caller.credential} without {', '.join(stopped)}", *caller.credential.login)
            log_in_push_pull(run, session, alone, f"{caller.repository}-alone")
        finally:
            stand_ins.start(*stopped)


def an_outage_of_all(run, gate, stand_ins, callers):
    """Known callers still pull, and no request of an unknown caller reaches the registry."""
    images = {}
    with run.report.cell("an outage", "before it, all callers become known"):
        for caller in callers:
            image = Image(run.machine.fresh(f"outage-{caller.credential.word}"))
            image.push(gate, caller.credential.login, f"{caller.repository}-outage", "v1")
            images[caller] = image
            pull(gate, caller, image)
    unknown = [stand_ins.logins["deploy_token"], stand_ins.logins["sso_read_only"],
               ("gitlab-ci-token", "glcbt-never-seen"), ("sso", "sso-never-seen")]
    stand_ins.stop(*NAMES)
    with run.report.cell("an outage", "known callers still pull, unknown ones get 503"):
        check(len(images) == len(callers), "not all callers became known")
        mark = gate.log_size()
        end, rounds = time.monotonic() + OUTAGE, 0
        while time.monotonic() < end:
            for caller in callers:
                pull(gate, caller, images[caller])
            for login in unknown:
                answer = gate.request("GET", "/v2/demo/identity/unknown/manifests/v1", login=login)
                check(answer.status == 503, f"{login[0]}: {answer.status} {answer.text()}")
                check(int(answer.headers["Retry-After"]) > 0, f"{answer.headers}")
            rounds += 1
        check_no_caller_was_refused(gate, mark)
        print(f"      {rounds} rounds in {OUTAGE} s of outage", flush=True)
    for caller in callers:
        with run.report.cell("an outage", "docker", str(caller.credential), "pull"):
            session = Docker(run.machine, gate, f"outage-{caller.credential.word}")
            session.require()
            # A login does not need a new verdict about a known credential.
            session.login(caller.credential)
            image = session.image(f"{caller.repository}-outage")
            check(session.pull(image) == images[caller].digest, "the pulled image is another one")
            session.forget(image)
    with run.report.cell("an outage", "no request of an unknown caller was forwarded"):
        if not run.distribution:
            raise Skip("the demo's registry keeps no log")
        said = run.distribution.said()
        check("demo/identity/unknown" not in said,
              "the registry's log has a request of an unknown caller")
        check(f"{callers[0].repository}-outage" in said,
              "the registry's log has no request of a known caller")
    stand_ins.start(*NAMES)


def pull(gate, caller, image):
    """Pulls without a client, because thousands of docker pulls would take too long."""
    repository = f"{caller.repository}-outage"
    for path, whole in [("manifests/v1", image.manifest), (f"blobs/{digest(image.layer)}", image.layer)]:
        answer = gate.request("GET", f"/v2/{repository}/{path}", login=caller.credential.login,
                              headers={"Accept": "application/vnd.oci.image.manifest.v1+json"})
        check(answer.status == 200, f"{caller.credential}, {path}: {answer.status} {answer.text()}")
        check(answer.body == whole, f"{caller.credential}, {path}: the content differs")


def check_no_caller_was_refused(gate, mark):
    lines = [json.loads(line) for line in gate.log_text(mark).rpartition("\n")[0].splitlines()]
    # The gate may still write the lines of the pushes before the outage.
    statuses = {line["status"] for line in lines if line["method"] == "GET"}
    check(statuses == {200, 503}, f"logged statuses: {statuses}")


def back_again(run, gate, stand_ins):
    with run.report.cell("an outage", "after it, new callers are accepted"):
        for name in ["deploy_token", "sso_read_only"]:
            deadline, answer = time.monotonic() + 30, None
            # The gate tries a provider that was down only from time to time, not for every caller.
            while answer is None or (answer.status == 503 and time.monotonic() < deadline):
                answer = gate.request("GET", "/v2/", login=stand_ins.logins[name])
                time.sleep(0.1)
            check(answer.status == 200, f"{name}: {answer.status} {answer.text()}")


def each_provider_saw_only_its_own_secrets(run, stand_ins):
    with run.report.cell("no provider saw a secret of another"):
        gitlab, introspection = stand_ins.ledger("gitlab"), stand_ins.ledger("introspection")
        check({"glpat-", "gldt-d"} <= {secret[:6] for secret in gitlab},
              "GitLab received no question")
        check("sso-demo-read-write" in introspection, "the RFC 7662 server received no question")
        check(all(secret.startswith("gl") for secret in gitlab), "GitLab saw a secret that is not its own")
        check(all(secret.startswith("sso-") for secret in introspection),
              "the RFC 7662 server saw a secret that is not its own")
        check(not stand_ins.ledger("issuer"), "the issuer saw a credential")
