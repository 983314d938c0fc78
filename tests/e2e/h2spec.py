"""h2spec, the conformance test of HTTP/2 (RFC 9113, RFC 7541), strict cases included, against the gate over TLS."""

import xml.etree.ElementTree as xml

from report import check

# Cases that fail, each with its reason. None does: what fails and is not here fails the run, and so does what is here
# and passes.
ACCEPTED = {}

# Some cases send a frame too many behind a request that is whole, or that is refused for want of a credential. Where the
# gate has answered before that frame comes, nothing is wrong, and nothing proven: they have several tries.
TRIES = 6

# So that the frame that is meant to be too large is: the gate's limit is 32 KiB, and h2spec sends five such fields.
HEADER_LENGTH = 8000


def conforms(run):
    folder = run.machine.fresh("h2spec")
    with run.report.cell("h2spec", "every case but the accepted"):
        run.machine.require("h2spec")
        wrong = fails(run, folder / "1.xml")
        for number in range(2, TRIES + 1):
            if wrong != set(ACCEPTED):
                wrong &= fails(run, folder / f"{number}.xml")
        check(wrong == set(ACCEPTED), f"fail and are not accepted: {sorted(wrong - set(ACCEPTED))}; "
              f"are accepted and do not fail: {sorted(set(ACCEPTED) - wrong)}")


def fails(run, report):
    """What did not pass."""
    run.report.run([
        "h2spec", "--strict", "--tls", "--insecure", "--host", "127.0.0.1", "--port", run.gate.port, "--path", "/v2/",
        "--timeout", "3", "--max-header-length", HEADER_LENGTH, "--junit-report", report])
    cases = xml.parse(report).getroot().findall(".//testcase")
    check(len(cases) > 140, f"only {len(cases)} cases were run")
    return {f"{case.get('package')}: {case.get('classname')}" for case in cases if len(case)}
