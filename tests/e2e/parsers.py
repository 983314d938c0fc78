"""Smuggling lives in the difference between two parsers. So requests that could be read in two ways are sent through a
gate to three upstreams that read for themselves: Distribution (Go's net/http), nginx, and a strict server of our own.
What each of them saw is what the gate says that it forwarded, each request once and none that was hidden in another;
and whoever comes next, on another connection, gets the answer to what he asked."""

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
# Each case's repository, that of the request behind it, and that of whoever comes next.
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
            check(not broken, "it took for whole: " + ", ".join(map(str, broken)))
            check(not upstream.flaws, f"not one well-formed request after another: {upstream.flaws}")


class Kind(typing.NamedTuple):
    """What may become of a message: how often it goes on, whether what stands behind it does, and whether its body may
    look whole at the upstream."""

    least: int
    most: int
    behind: bool
    whole: bool = True


GOOD, PLAINER, ALONE, BROKEN = Kind(1, 1, True), Kind(0, 1, True), Kind(0, 1, False), Kind(0, 1, False, False)
# Over HTTP/2 what stands behind is a stream of its own, and over HTTP/1.1 a target that is refused ends no connection.
BROKEN_STREAM, REFUSED, REFUSED_ALONE = Kind(0, 1, True, False), Kind(0, 0, False), Kind(0, 0, True)


class Case:
    """One message of the corpus."""

    def __init__(self, number, send, form, kind):
        self.number = number
        self.send = send
        self.form = form
        self.kind = kind
        # Seconds without a byte. The gate may wait for the rest of a body that never comes, and everything else it ends.
        self.patience = 0.5 if kind in (ALONE, BROKEN, BROKEN_STREAM) else 30

    def __str__(self):
        return f"case {self.number}: {self.form!r}"


def corpus():
    """Every message, over both versions."""
    targets = [odd_requests.message(f"GET {target}") for target in odd_requests.TARGETS]
    paths = [(odd_requests.instead(":path", target, odd_requests.PULL_FIELDS), []) for target in odd_requests.TARGETS]
    parts = [
        (send_http1, odd_requests.GOOD, GOOD),
        (send_http1, odd_requests.PLAINER, PLAINER),
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
    """Sends the whole corpus through a gate of its own, and compares what it forwarded with the upstream's ledger."""
    # With one worker all requests share one pool of connections.
    gate = servers.enter_context(Gate(
        f"parsers-{name}", run.moorgate, run.machine.fresh("parsers"), run.tls, upstream, gitlab_provider(run.demo.gitlab),
        env={"MOORGATE_HTTP_WORKERS": "1"}))
    with run.report.watching(gate):
        cases = corpus()
        mark = gate.mark()
        for case in cases:
            case.send(gate, case)
            # Distribution's answer names the tag, those of the others name everything.
            tag = f"of-case-{case.number}"
            target = f"/v2/{NEXT.format(case.number)}/manifests/{tag}"
            answer = gate.request("GET", target, login=PERSONAL.login).text()
            check(f"{tag}\"" in answer or f"{tag}\n" in answer, f"the next one got another answer after {case}: {answer}")
        logged = gate.logged_since(mark)
        # A body that breaks off may or may not have been seen by then.
        told, allowed = count(logged), count(line for line in logged if line["decision"] == "allowed")
        seen = wait_for(ledger, allowed)
        check(not allowed - seen, f"it did not see {allowed - seen}")
        check(not seen - told, f"it saw {seen - told}, of which the gate says nothing")
        flaws = [flaw for case in cases for flaw in flaws_of(case, seen)]
        check(not flaws, "\n".join(flaws))
        check(not of(seen, HIDDEN), f"it saw what was hidden: {of(seen, HIDDEN)}")
        print(f"      {name}: {len(cases)} odd messages and {len(cases)} honest requests, {sum(seen.values())} seen", flush=True)
        return cases


def flaws_of(case, seen):
    """What the upstream should not have seen, or should have."""
    times, behind, after = (
        sum(of(seen, repository.format(case.number)).values()) for repository in (CASE, BEHIND, NEXT))
    if not case.kind.least <= times <= case.kind.most:
        yield f"it saw {times} of {case}"
    if behind > case.kind.behind:
        yield f"it saw what stands behind {case}"
    if after != 1:
        yield f"it saw the one after {case} {after} times"


def wait_for(ledger, allowed):
    """What the upstream saw, as soon as that is at least what was allowed: it may write down an answer after it is out."""
    deadline = time.monotonic() + 20
    while True:
        seen = collections.Counter((method, target.partition("?")[0]) for method, target in ledger())
        if not allowed - seen or time.monotonic() > deadline:
            return seen
        time.sleep(0.05)


def count(lines):
    """What was asked of the registry, by method and path; the gate answers a ping itself."""
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
    """The same of everything that is text, however deep it lies."""
    if isinstance(part, str):
        return fill(part, repository)
    return part if isinstance(part, int) else type(part)(fill_all(inner, repository) for inner in part)


def fill(text, repository):
    """As bytes, with what stands for something filled in."""
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
