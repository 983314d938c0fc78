"""A relay in front of the demo's stand-in for GitLab, which counts the questions of the gates.

It can delay the answers, knows further tokens, and revokes them.
"""

import base64
import http.client
import http.server
import secrets
import threading
import time

from credentials import PERSONAL, WRONG


# The beginning of all tokens that only the relay knows, and of wrong ones.
OURS = "glpat-e2e-"


def new_password():
    """Returns a token that nobody knows."""
    return OURS + secrets.token_hex(8)


class Questions(http.server.ThreadingHTTPServer):
    """The relay, on a port that the kernel picks, in threads of this process."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, gitlab):
        super().__init__(("127.0.0.1", 0), Question)
        self.gitlab = gitlab.removeprefix("http://").rstrip("/")
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.delay = 0
        self.asked = []
        self.tokens = {}  # each with the password that GitLab gets instead
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def new_token(self, owner=PERSONAL):
        """Returns a token with the rights and the owner of one that GitLab knows."""
        token = new_password()
        self.tokens[token] = owner.login[1]
        return token

    def revoke(self, token):
        del self.tokens[token]

    def count(self, token):
        """Returns the number of questions about a token so far."""
        return [password for _, password in self.asked].count(token)

    def for_gitlab(self, password):
        """Returns the password that GitLab gets instead of this one."""
        return self.tokens.get(password, WRONG.login[1] if password.startswith(OURS) else password)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Question(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "authorization")}
        kind, _, login = self.headers.get("Authorization", "").partition(" ")
        if kind == "Basic":
            user, _, password = base64.b64decode(login).decode().partition(":")
            self.server.asked.append((user, password))
            login = f"{user}:{self.server.for_gitlab(password)}"
            headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        if self.server.delay:
            time.sleep(self.server.delay)
        connection = http.client.HTTPConnection(self.server.gitlab, timeout=30)
        try:
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
