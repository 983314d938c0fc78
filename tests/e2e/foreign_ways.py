"""The way to the registry: through a forward proxy, or with a client certificate of the gate."""

import secrets

from clients import Docker, Skopeo
from credentials import Credential
from foreign_gates import Part, expect
from foreign_servers import Authority, Bucket, Tinyproxy, TokenServer
from images import Image, digest
from report import check
from servers import Distribution


def only_known_clients(run, name, program):
    """The registry accepts only clients with a certificate of its authority."""
    with Part(run, f"{name} with mutual TLS") as part:
        gate = None
        with part.start(program):
            authority = Authority(part.folder)
            certificate, key = authority.issue("gate")
            registry = part.enter(Distribution(part.folder, program, http=authority.registry_config(known_clients=True)))
            trust = f"ca: {authority.certificate}"
            gate = part.gate(registry.url, f"{trust}, certificate: {certificate}, key: {key}")
            nameless = part.gate(registry.url, trust, "nameless")
            strange, strange_key = Authority(run.machine.fresh(f"{part.word}-stranger")).issue("gate")
            stranger = part.gate(registry.url, f"{trust}, certificate: {strange}, key: {strange_key}", "stranger")
        if gate is None:
            return
        part.push_and_pull(gate)
        for word, refused in (("without a certificate", nameless), ("with one of another authority", stranger)):
            with part.cell(f"a gate {word} is refused"):
                for method, path in [("GET", "tags/list"), ("POST", "blobs/uploads/")]:
                    expect(refused, part.caller, 502, method, f"/v2/demo/foreign/docker/{path}")
        with part.cell("the certificate of the gate changes"):
            strange.write_bytes(certificate.read_bytes())
            strange_key.write_bytes(key.read_bytes())
            part.wait_for(stranger, 200, "/v2/demo/foreign/docker/tags/list")


def through_a_proxy(run):
    a_tls_registry(run, "a forward proxy", None)
    a_tls_registry(run, "a forward proxy with a password", ("gate", secrets.token_hex(12)))
    a_plain_registry(run)
    all_ways(run)


def a_tls_registry(run, name, login):
    with Part(run, name) as part:
        gate = None
        with part.start("docker-registry", "tinyproxy"):
            authority = Authority(part.folder)
            registry = part.enter(Distribution(part.folder, http=authority.registry_config()))
            proxy = part.enter(Tinyproxy(part.folder, login))
            trust = f"ca: {authority.certificate}, proxy: {proxy.url}"
            gate = part.gate(registry.url, trust + credentials(part, "proxy-login", login))
        if gate is None:
            return
        part.push_and_pull(gate)
        with part.cell("each connection is a CONNECT to the registry"):
            check(set(proxy.asked()) == {("CONNECT", host(registry))}, f"the proxy received {proxy.asked()}")
        if login:
            with part.cell("the proxy refuses the gate"):
                wrong = credentials(part, "wrong-login", (login[0], "not it"))
                refused = part.gate(registry.url, trust + wrong, "refused")
                for method, path in [("GET", "tags/list"), ("POST", "blobs/uploads/")]:
                    answer = expect(refused, part.caller, 502, method, f"/v2/demo/foreign/docker/{path}")
                    check("Proxy-Authenticate" not in answer.headers, answer.headers)
                    check("tinyproxy" not in answer.text(), answer.text())


def credentials(part, name, login):
    return f", proxy_credentials_file: {part.file(name, ':'.join(login))}" if login else ""


def host(registry):
    return registry.url.partition("://")[2]


def a_plain_registry(run):
    """The registry has no TLS. The proxy receives each request, with its whole address.

    tinyproxy passes on only the first line of a header, and docker sends `Accept` in several lines.
    If the registry received only one of them, it would convert the manifest.
    """
    with Part(run, "a forward proxy without TLS") as part:
        gate = None
        with part.start("docker-registry", "tinyproxy"):
            registry = part.enter(Distribution(part.folder))
            login = ("gate", secrets.token_hex(12))
            proxy = part.enter(Tinyproxy(part.folder, login))
            gate = part.gate(registry.url, f"proxy: {proxy.url}" + credentials(part, "proxy-login", login))
        if gate is None:
            return
        part.push_and_pull(gate)
        with part.cell("each request has the registry's whole address"):
            asked = proxy.asked()
            check({method for method, _ in asked} == {"GET", "HEAD", "POST", "PATCH", "PUT"}, f"methods: {asked}")
            check(all(target.startswith(registry.url + "/v2/") for _, target in asked), f"targets: {asked}")


def all_ways(run):
    """The gate reaches the token server and the storage through the proxy, too."""
    with Part(run, "a forward proxy, tokens and S3") as part:
        gate = None
        with part.start("registry", "token-server", "gofakes3", "tinyproxy"):
            authority = Authority(part.folder)
            account = Credential("the gate at the token server", "demo", secrets.token_urlsafe(12))
            tokens = part.enter(TokenServer(part.folder, run.moorgate, account, authority.issue("tokens")))
            bucket = part.enter(Bucket(part.folder))
            registry = part.enter(Distribution(
                part.folder, "registry", tokens.registry_config(authority.certificate), authority.registry_config(),
                bucket.registry_config()))
            proxy = part.enter(Tinyproxy(part.folder))
            gate = part.gate(registry.url, ", ".join([
                f"ca: {authority.certificate}", f"proxy: {proxy.url}", "username: demo",
                f"password_file: {part.file('password', account.login[1])}", f"token_realms: ['{tokens.host}']",
                "redirects: follow", f"redirect_hosts: ['{bucket.host}']"]), authorization="token")
        if gate is None:
            return
        part.push_and_pull(gate, [Docker, Skopeo])
        with part.cell("all three are asked through the proxy"):
            image = Image(part.folder)
            image.push(gate, part.caller.login, "demo/foreign/all", "v1")
            before = len(bucket.followed)
            answer = expect(gate, part.caller, 200, "GET", f"/v2/demo/foreign/all/blobs/{digest(image.layer)}")
            check(answer.body == image.layer, "the blob is another one")
            check(len(bucket.followed) == before + 1, f"the storage received {bucket.followed[before:]}")
            asked = proxy.asked()
            for target in (host(registry), tokens.host):
                check(("CONNECT", target) in asked, f"the proxy received no CONNECT to {target}: {asked}")
            # The storage has no TLS: a CONNECT or a whole address.
            check(any(bucket.host in target for _, target in asked), f"the proxy was not asked for the storage: {asked}")
