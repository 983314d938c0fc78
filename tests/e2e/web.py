"""HTTP requests without a client, because a client would hide the answer of the gate."""

import base64
import http.client
import ssl


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def text(self):
        return self.body.decode(errors="replace")


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def plain(port, path):
    """Sends a GET without TLS or credential, as operators do."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        return Answer(connection.getresponse())
    finally:
        connection.close()


def request(port, certificate, method, path, *, login=None, headers=None, body=None):
    """Sends one request, over TLS if `certificate` is set. `login` is user name and password."""
    headers = dict(headers or {})
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
    if certificate:
        context = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=30)
    else:
        connection = http.client.HTTPConnection("localhost", port, timeout=30)
    try:
        connection.request(method, path, body=body, headers=headers)
        return Answer(connection.getresponse())
    finally:
        connection.close()
