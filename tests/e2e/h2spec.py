"""h2spec, the conformance test of HTTP/2 (RFC 9113, RFC 7541), with its strict cases, over TLS."""

import xml.etree.ElementTree as xml

from report import check

# Accepted failures, each with its reason. There are none. The run fails if another case fails, and
# also if a case that is listed here passes.
ACCEPTED = {}

# Some cases send a forbidden frame after a complete request, or after one that the gate refuses
# because it has no credential. If the gate answers before that frame arrives, the stream has ended
# (RST_STREAM, NO_ERROR), and the gate ignores the frame, as RFC 9113, section 5.1, requires for a
# reset stream. The case then fails and proves nothing. The gate wins this race about every second
# time, so the case runs again alone until it passes.
TRIES = 40

# One of the cases sends five fields of this size, which must exceed the gate's limit of 32 KiB.
HEADER_LENGTH = 8000


def conforms(run):
    folder = run.machine.fresh("h2spec")
    with run.report.cell("h2spec", "every case passes, except the accepted failures"):
        run.machine.require("h2spec")
        cases = results(run, folder / "all.xml")
        check(len(cases) > 140, f"only {len(cases)} cases were run")
        wrong = {case for case, passed in cases.items() if not passed and not passes(run, folder, case)}
        check(wrong == set(ACCEPTED), f"failed and not accepted: {sorted(wrong - set(ACCEPTED))}; "
              f"accepted and not failed: {sorted(set(ACCEPTED) - wrong)}")


def passes(run, folder, case):
    """Returns whether the case, run alone, passes in at least one of its tries."""
    tries = 1 if case in ACCEPTED else TRIES
    return any(list(results(run, folder / "again.xml", case).values()) == [True] for _ in range(tries))


def results(run, report, *cases):
    """Runs h2spec. Returns whether each case passed, by section and number ("http2/8.1/1")."""
    run.report.run([
        "h2spec", "--strict", "--tls", "--insecure", "--host", "127.0.0.1", "--port", run.gate.port, "--path", "/v2/",
        "--timeout", "3", "--max-header-length", HEADER_LENGTH, "--junit-report", report, *cases])
    return {
        f"{suite.get('package')}/{number}": len(case) == 0
        for suite in xml.parse(report).getroot().iter("testsuite")
        for number, case in enumerate(suite.findall("testcase"), 1)}
