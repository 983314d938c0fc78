"""Registries that ask for tokens, have a path, redirect to a storage, or are behind a proxy.

All of them are Distribution, configured as its documentation describes. Beside it run its own token
server, an S3 storage and a forward proxy. The clients are unmodified. Each pushes and pulls as it
does at any other registry.
"""

import json
import re

import foreign_storage
import foreign_tokens
import foreign_ways
from background import Push
from foreign_gates import CLIENTS, PROGRAMS, Part, expect
from images import Image
from report import check
from servers import Distribution

PATH = "/some/path"


def registries(run):
    for name, program in PROGRAMS.items():
        foreign_tokens.asks_for_a_token(run, name, program)
        foreign_tokens.asks_for_a_password(run, name, program)
        under_a_path(run, name, program)
        foreign_storage.redirects(run, name, program)
        a_cache(run, name, program)
        foreign_ways.only_known_clients(run, name, program)
    foreign_ways.through_a_proxy(run)


def under_a_path(run, name, program):
    """The registry has `http.prefix`. Its addresses have this path, and the gate's have no path."""
    with Part(run, f"{name} under a path") as part:
        gate = None
        with part.start(program):
            registry = part.enter(Distribution(part.folder, program, http=f"prefix: {PATH}/"))
            gate = part.gate(registry.url + PATH)
        if gate is None:
            return
        part.push_and_pull(gate)
        with part.cell("an upload's address has no path"):
            answer = expect(gate, part.caller, 202, "POST", "/v2/demo/foreign/path/blobs/uploads/")
            check(answer.headers["Location"].startswith("/v2/demo/foreign/path/blobs/uploads/"), answer.headers)
        with part.cell("tags, page by page"):
            image = Image(part.folder)
            for tag in ("v1", "v2", "v3"):
                image.push(gate, part.caller.login, "demo/foreign/tags", tag)
            # Distribution 2 has no pages of tags, and answers with all of them at once. Distribution 3 ends
            # with an empty page.
            pages = [["v1", "v2", "v3"]] if program == "docker-registry" else [["v1"], ["v2"], ["v3"], []]
            received = list(tag_pages(gate, part.caller))
            check(received == pages, f"the pages are {received}, not {pages}")


def tag_pages(gate, caller):
    """Yields the pages of a list of tags, each by the `Link` of the page before."""
    path = "/v2/demo/foreign/tags/tags/list?n=1"
    while path:
        answer = expect(gate, caller, 200, "GET", path)
        yield json.loads(answer.body)["tags"]
        link = answer.headers.get("Link")
        path = link and re.fullmatch(r'<(/v2/demo/foreign/tags/tags/list\?[^>]+)>; rel="next"', link).group(1)


def a_cache(run, name, program):
    """The registry is a pull-through cache. It refuses pushes, and clients receive this refusal."""
    with Part(run, f"{name} as a cache") as part:
        gate = None
        with part.start(program):
            image = Image(part.folder)
            image.push(run.htpasswd_gate, part.caller.login, f"demo/foreign/{part.word}", "v1")
            registry = part.enter(Distribution(part.folder, program, f"proxy: {{remoteurl: {run.upstream}}}"))
            gate = part.gate(registry.url)
        if gate is None:
            return
        for client in CLIENTS:
            session = client(run.machine, gate, "foreign")
            with part.cell(client.name, "pull"):
                session.require()
                session.login(part.caller)
                cached = session.image(f"demo/foreign/{part.word}")
                pulled = session.pull(cached)
                check(pulled == image.digest, f"pushed {image.digest}, pulled {pulled}")
                session.forget(cached)
            with part.cell(client.name, "push is refused by the registry"):
                session.require()
                push_refused(session, gate)
        with part.cell("the answer to a push is the registry's own"):
            answer = expect(gate, part.caller, 405, "POST", "/v2/demo/foreign/refused/blobs/uploads/")
            check(json.loads(answer.body)["errors"][0]["code"] == "UNSUPPORTED", answer.text())


def push_refused(session, gate):
    image = session.image(f"demo/foreign/refused-{session.name}")
    session.make(image)
    mark = gate.mark()
    if session.name == "docker":
        # docker repeats a refused push for 50 s.
        push = Push(session, image)
        refused = gate.logged(mark, lambda line: line["status"] == 405, 20)
        push.stop()
        check(refused, "the log has no line with the status 405")
    else:
        said = session.push_refused(image)
        check("unsupported" in said.lower() or not session.says_why, f"the output of {session.name} has no reason")
    session.forget(image)
    # crane sends several requests at once, and resets the others at the first refusal.
    starts = {(line["decision"], line["status"]) for line in gate.logged_since(mark)
              if line["operation"] == "upload_start" and line["reason"] != "client_aborted"}
    check(starts == {("allowed", 405)}, f"starts of uploads: {starts}")
