"""The work that is sent through a proxy. A failed request ends the run: a proxy that refuses quickly
must not look fast."""

import re
import subprocess

from peers import MANIFEST

# Of the user `ci-user`. The introspection server accepts every credential.
AUTHORIZATION = "Authorization: Basic Y2ktdXNlcjpnbHBhdC1iZW5jaG1hcmstdG9rZW4="
TRANSFERS = 4
GB = 10**9


class LoadFailed(Exception):
    """Not every request was answered as it should be."""


def get_http1(peer, seconds):
    """Requests the manifest on 32 connections that stay open. Returns the number of requests."""
    return wrk_requests(wrk(peer, seconds))


def handshakes(peer, seconds):
    """Requests the manifest on a new connection each time. Returns the number of requests."""
    return wrk_requests(wrk(peer, seconds, "-H", "Connection: close"), closes=True)


def get_http2(peer, seconds):
    """Requests the manifest on 8 connections with 8 streams each. Returns the number of requests."""
    return h2load_requests(output(
        "h2load", "-t1", "-c8", "-m8", f"-D{seconds}", "--warm-up-time=0", "-H", AUTHORIZATION,
        peer.url(MANIFEST)))


def pull(peer, content):
    """Downloads the blob four times at once. Returns the number of gigabytes."""
    return transfer(content, lambda _: [peer.url(f"/v2/group/project/app/blobs/{content.digest}")])


def push(peer, content):
    """Uploads the blob four times at once. Returns the number of gigabytes."""
    url = peer.url("/v2/group/project/app/blobs/uploads/{}?digest=" + content.digest)
    moved = transfer(content, lambda number: ["-T", content.blob, url.format(number)])
    for number in range(TRANSFERS):
        upload = content.served / f"uploads/v2/group/project/app/blobs/uploads/{number}"
        if upload.stat().st_size != content.blob_bytes:
            raise LoadFailed(f"the registry did not receive the whole upload {number}")
        upload.unlink()
    return moved


def wrk(peer, seconds, *more):
    return output("wrk", "-t1", "-c32", f"-d{seconds}s", "-H", AUTHORIZATION, *more, peer.url(MANIFEST))


def wrk_requests(text, closes=False):
    """Returns the number of requests that wrk reports, if none failed.

    A server that closes each connection makes wrk count read errors, although it got every answer.
    """
    requests = re.search(r"(\d+) requests in ", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    counted = [int(count) for count in errors.groups()] if errors else [0] * 4
    if closes:
        counted[1] = 0
    if not requests or int(requests[1]) == 0 or any(counted) or "Non-2xx" in text:
        raise LoadFailed(f"wrk: not every request succeeded:\n{text}")
    return int(requests[1])


def h2load_requests(text):
    """Returns the number of requests that h2load reports, if none failed."""
    requests = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    if not requests or not statuses:
        raise LoadFailed(f"h2load printed no result:\n{text}")
    done, succeeded, *bad = map(int, requests.groups())
    if done == 0 or done != succeeded or any(bad) or any(map(int, statuses.groups()[1:])):
        raise LoadFailed(f"h2load: not every request succeeded:\n{text}")
    return succeeded


def transfer(content, arguments):
    """Runs four transfers of the blob at once. Returns the number of gigabytes."""
    measured = "%{http_code} %{size_download} %{size_upload}\n"
    command = ["curl", "--silent", "--show-error", "--fail", "--http1.1", "--cacert", content.tls.certificate,
               "-H", AUTHORIZATION, "-o", "/dev/null", "-w", measured]
    running = [subprocess.Popen([*command, *arguments(number)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True) for number in range(TRANSFERS)]
    for curl in running:
        said, _ = curl.communicate()
        status, *sizes = said.split()[-3:] if curl.returncode == 0 else ["", ""]
        if not status.startswith("2") or str(content.blob_bytes) not in sizes:
            raise LoadFailed(f"a transfer failed: {said}")
    return TRANSFERS * content.blob_bytes / GB


def output(*command):
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode != 0:
        raise LoadFailed(f"{command[0]} failed with {run.returncode}:\n{run.stdout}")
    return run.stdout
