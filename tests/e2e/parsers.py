"""Request smuggling: requests that two parsers could read in two ways.

The run sends these requests through a gate to three upstreams with different parsers: Distribution
(Go's net/http), nginx, and a strict server of the tests. Each upstream must receive what the gate
logs as forwarded: each request once, and no request that was hidden in another. The next caller, on
another connection, must get the answer to its own request.
"""

import base64
import collections
import contextlib
import json
import re
import time
import typing

import odd_requests
import raw_http
from credentials import PERSONAL
from report import check
from servers import Distribution, Gate, Nginx, gitlab_provider
from strict import Strict

HIDDEN = "demo/hidden"
# The repositories of a case, of the request after it on its connection, and of the next caller.
CASE, BEHIND, NEXT = "demo/case-{}", "demo/behind-{}", "demo/next-{}"

COMBINED = re.compile(r'"([A-Z]+) (/v2/\S*) HTTP/1\.1" \d+ ')


def three_upstreams(run):
    with contextlib.ExitStack() as servers:
        with run.report.cell("parsers", "Distribution"):
            run.machine.require("docker-registry")
            upstream = servers.enter_context(Distribution(run.machine.fresh("parsers")))
            through(run, servers, "distribution", upstream.url, lambda: COMBINED.findall(upstream.said()))
        with run.report.cell("parsers", "nginx"):
            run.machine.require("nginx")
            upstream = servers.enter_context(Nginx(run.machine.fresh("parsers")))
            through(run, servers, "nginx", upstream.url, upstream.requests)
        with run.report.cell("parsers", "a strict server"):
            upstream = servers.enter_context(Strict())
            cases = through(run, servers, "strict", upstream.url, upstream.requests)
            whole = collections.Counter(upstream.whole)
            broken = [case for case in cases if not case.kind.whole and of(whole, CASE.format(case.number))]
            check(not broken,
                  "the strict server received a complete body in " + ", ".join(map(str, broken)))
            check(not upstream.flaws,
                  f"the strict server received malformed requests: {upstream.flaws}")


class Kind(typing.NamedTuple):
    """The allowed outcomes of a message.

    `least` and `most` say how often the gate may forward it, `behind` whether the gate may forward
    the request after it, and `whole` whether the upstream may receive a complete body.
    """

    least: int
    most: int
    behind: bool
    whole: bool = True


GOOD, UNUSUAL = Kind(1, 1, True), Kind(0, 1, True)
ALONE, BROKEN = Kind(0, 1, False), Kind(0, 1, False, False)
# Over HTTP/2, the request after the case has a stream of its own. Over HTTP/1.1, a refused target
# does not end the connection.
BROKEN_STREAM, REFUSED, REFUSED_ALONE = Kind(0, 1, True, False), Kind(0, 0, False), Kind(0, 0, True)


class Case:
    """One message of the corpus."""

    def __init__(self, number, send, form, kind):
        self.number = number
        self.send = send
        self.form = form
        self.kind = kind
        # The number of seconds without a byte after which the client gives up. For a body without
        # an end, the gate may wait. In all other cases, the gate ends the connection itself.
        self.patience = 0.5 if kind in (ALONE, BROKEN, BROKEN_STREAM) else 30

    def __str__(self):
        return f"case {self.number}: {self.form!r}"


def corpus():
    """Returns every message, over both versions of HTTP."""
    targets = [odd_requests.message(f"GET {target}") for target in odd_requests.TARGETS]
    paths = [(odd_requests.instead(":path", target, odd_requests.PULL_FIELDS), []) for target in odd_requests.TARGETS]
    parts = [
        (send_http1, odd_requests.GOOD, GOOD),
        (send_http1, odd_requests.UNUSUAL, UNUSUAL),
        (send_http1, odd_requests.ALONE, ALONE),
        (send_http1, odd_requests.BROKEN, BROKEN),
        (send_http1, odd_requests.REFUSED, REFUSED),
        (send_http1, targets, REFUSED_ALONE),
        (send_http2, odd_requests.HTTP2_GOOD, GOOD),
        (send_http2, odd_requests.HTTP2_BROKEN, BROKEN_STREAM),
        (send_http2, odd_requests.HTTP2_REFUSED + paths, REFUSED_ALONE),
    ]
    forms = [(send, form, kind) for send, forms, kind in parts for form in forms]
    return [Case(number, *rest) for number, rest in enumerate(forms)]


def through(run, servers, name, upstream, ledger):
    """Sends the corpus through a gate, and compares the gate's log with the upstream's ledger."""
    # With one worker, all requests share one pool of connections.
    gate = servers.enter_context(Gate(
        f"parsers-{name}", run.moorgate, run.machine.fresh("parsers"), run.tls, upstream, gitlab_provider(run.demo.gitlab),
        env={"MOORGATE_HTTP_WORKERS": "1"}))
    with run.report.watching(gate):
        cases = corpus()
        mark = gate.mark()
        for case in cases:
            case.send(gate, case)
            # The answer of Distribution contains the tag, the other answers contain the whole
            # target.
            tag = f"of-case-{case.number}"
            target = f"/v2/{NEXT.format(case.number)}/manifests/{tag}"
            answer = gate.request("GET", target, login=PERSONAL.login).text()
            check(f"{tag}\"" in answer or f"{tag}\n" in answer,
                  f"after {case}, the next caller got the wrong answer: {answer}")
        logged = gate.logged_since(mark)
        # The upstream may or may not have received a request whose body broke off.
        told, allowed = count(logged), count(line for line in logged if line["decision"] == "allowed")
        seen = wait_for(ledger, allowed)
        check(not allowed - seen, f"the upstream did not receive {allowed - seen}")
        check(not seen - told, f"the upstream received {seen - told}, which the gate did not log")
        flaws = [flaw for case in cases for flaw in flaws_of(case, seen)]
        check(not flaws, "\n".join(flaws))
        check(not of(seen, HIDDEN), f"the upstream received the hidden request: {of(seen, HIDDEN)}")
        print(f"      {name}: {len(cases)} odd messages and {len(cases)} honest requests, "
              f"{sum(seen.values())} received", flush=True)
        return cases


def flaws_of(case, seen):
    """Yields each difference between what the upstream received and what the case allows."""
    times, behind, after = (
        sum(of(seen, repository.format(case.number)).values()) for repository in (CASE, BEHIND, NEXT))
    if not case.kind.least <= times <= case.kind.most:
        yield f"the upstream received {times} requests of {case}"
    if behind > case.kind.behind:
        yield f"the upstream received the request after {case}"
    if after != 1:
        yield f"the upstream received the next caller's request {after} times after {case}"


def wait_for(ledger, allowed):
    """Returns what the upstream received, once that includes all allowed requests.

    The upstream may write a request to its ledger after it has sent the answer.
    """
    deadline = time.monotonic() + 20
    while True:
        seen = collections.Counter((method, target.partition("?")[0]) for method, target in ledger())
        if not allowed - seen or time.monotonic() > deadline:
            return seen
        time.sleep(0.05)


def count(lines):
    """Counts the requests by method and path, without pings, which the gate answers itself."""
    return collections.Counter((line["method"], line["path"]) for line in lines if line["path"] != "/v2/")


def of(seen, repository):
    return {key: times for key, times in seen.items() if key[1].startswith(f"/v2/{repository}/")}


def send_http1(gate, case):
    behind = honest(BEHIND.format(case.number), close=True)
    raw_http.http1(gate.port, gate.tls.certificate, fill(case.form, CASE.format(case.number)) + behind, case.patience)


def send_http2(gate, case):
    behind = odd_requests.PULL_FIELDS, []
    requests = [(case.form, CASE), (behind, BEHIND)]
    raw_http.http2(gate.port, gate.tls.certificate, [
        fill_all(form, repository.format(case.number)) for form, repository in requests], case.patience)


def fill_all(part, repository):
    """Fills in every text in `part`, at any depth."""
    if isinstance(part, str):
        return fill(part, repository)
    return part if isinstance(part, int) else type(part)(fill_all(inner, repository) for inner in part)


def fill(text, repository):
    """Replaces the placeholders in `text` and returns bytes."""
    hidden = honest(HIDDEN).decode()
    words = {
        "name": repository, "authorization": f"Authorization: {basic()}", "authorization-value": basic(),
        "hidden": hidden, "hidden-lf": hidden.replace("\r", ""), "hidden-length": str(len(hidden)),
        "hidden-hex": f"{len(hidden):x}"}
    for word, value in words.items():
        text = text.replace("{" + word + "}", value)
    return text.encode()


def honest(repository, close=False):
    connection = "Connection: close\r\n" if close else ""
    return (f"GET /v2/{repository}/manifests/v1 HTTP/1.1\r\nHost: localhost\r\n{connection}"
            f"Authorization: {basic()}\r\n\r\n").encode()


def basic():
    return "Basic " + base64.b64encode(":".join(PERSONAL.login).encode()).decode()
