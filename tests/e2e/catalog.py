"""The filtered catalog in front of Distribution, which does not sort names by their bytes."""

import contextlib
import json

from clients import Crane
from credentials import Credential
from images import Image
from report import check
from servers import Distribution, Gate, htpasswd_line

# Sorted by bytes, `app-x` comes before `app/a`.
NAMES = ["app/a", "app-x/a", "app/b", "hidden/a", "hidden/b", "team/a", "zebra"]

POLICY = """policy:
  rules:
    - {name: fills, repositories: ["**"], who: ["user:filler"], allow: [pull, push]}
    - {name: lists, repositories: ["**"], who: ["user:lister"], allow: [catalog]}
    - {name: reads, repositories: ["app/**", "app-x/**", "team/**"], who: ["user:reader"], allow: [pull]}
"""


def filtered(run):
    folder = run.machine.fresh("catalog")
    users = {name: Credential(f"htpasswd user {name}", name, f"password-of-{name}") for name in ("filler", "lister", "reader")}
    file = folder / "htpasswd"
    file.write_text("".join(htpasswd_line(run.moorgate, user) for user in users.values()))
    provider = f"  - {{name: people, type: htpasswd, file: {file}, scopes: [read_registry, write_registry]}}"
    with contextlib.ExitStack() as servers:
        gates = []
        with run.report.cell("crane", "catalog", "start"):
            run.machine.require("docker-registry")
            upstream = servers.enter_context(Distribution(folder))
            gates = [
                servers.enter_context(Gate(
                    f"catalog-{challenge}", run.moorgate, folder, run.tls, upstream.url, provider, challenge=challenge,
                    more=POLICY))
                for challenge in ("bearer", "basic")]
            image = Image(folder)
            for name in NAMES:
                image.push(gates[0], users["filler"].login, name, "v1")
        for gate in gates:
            servers.enter_context(run.report.watching(gate))
            order = in_pages(gate, users["lister"], len(NAMES))
            visible = [name for name in order if not name.startswith(("hidden/", "zebra"))]
            with run.report.cell("crane", gate.name, "lists what the rules let the caller pull"):
                check(sorted(order) == sorted(NAMES), f"the unfiltered list: {order}")
                for name, expected in (("reader", visible), ("lister", order)):
                    session = Crane(run.machine, gate, f"{gate.name}-{name}")
                    session.require()
                    session.login(users[name])
                    listed = session.ok("catalog", session.host).split()
                    check(listed == expected, f"{name} sees {listed}, not {expected}")
            with run.report.cell("the order of the registry", gate.name, "page by page"):
                for count in range(1, len(visible) + 1):
                    listed = in_pages(gate, users["reader"], count)
                    check(listed == visible, f"in pages of {count}: {listed}")


def in_pages(gate, credential, count):
    """Reads the whole catalog in pages of `count` names."""
    names, path = [], f"/v2/_catalog?n={count}"
    while path:
        answer = gate.request("GET", path, login=credential.login)
        check(answer.status == 200, f"{answer.status} {answer.text()}")
        page = json.loads(answer.body)["repositories"]
        link = answer.headers.get("Link")
        check(len(page) == count or link is None,
              f"a page of {count} has only {len(page)} names, and a link to another page")
        names += page
        path = link and link[1:link.index(">")]
    return names
