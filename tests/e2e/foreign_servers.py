"""The servers beside a registry: a token server, a storage and a forward proxy; and an authority."""

import base64
import json
import re
import subprocess

import web
from relay import Relay
from servers import Server, can_connect, free_port, htpasswd_line

# At this level, tinyproxy logs each request.
TINYPROXY = """Port {port}
Listen 127.0.0.1
Allow 127.0.0.1
LogLevel Connect
MaxClients 100
Timeout 600
{login}
"""


class Authority:
    """A certificate authority. It issues certificates for servers on this machine and for clients."""

    def __init__(self, folder):
        self.folder = folder
        self.certificate, self.key = folder / "authority.crt", folder / "authority.key"
        self.request("authority", "CN=authority", "-x509", "-days", "60", "-out", self.certificate)

    def issue(self, name):
        """Issues a certificate, and returns the files of the certificate and of its key."""
        certificate, request, names = (self.folder / f"{name}.{end}" for end in ("crt", "csr", "ext"))
        key = self.request(name, f"CN={name}", "-out", request)
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", "60", "-extfile", names, "-out", certificate)
        return certificate, key

    def registry_config(self, known_clients=False):
        """Returns the settings in `http` of a registry with TLS.

        With `known_clients`, it accepts only clients with a certificate of this authority.
        """
        certificate, key = self.issue("registry")
        clients = f", clientcas: [{self.certificate}]" if known_clients else ""
        return f"tls: {{certificate: {certificate}, key: {key}{clients}}}"

    def request(self, name, subject, *arguments):
        key = self.folder / f"{name}.key"
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/{subject}",
                "-keyout", key, *arguments)
        key.chmod(0o600)
        return key


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class TokenServer(Server):
    """The token server of Distribution's own sources (contrib/token-server).

    It has one user, and grants this user the repositories whose first segment is the user's name.
    Its tokens contain no other repository. It refuses callers without a credential. With a
    certificate, it speaks TLS.
    """

    issuer = "token-server"

    def __init__(self, folder, moorgate, account, certificate=None):
        self.folder, self.account = folder, account
        self.port = free_port()
        self.host = f"localhost:{self.port}"
        self.realm = f"{'https' if certificate else 'http'}://{self.host}/token/"
        self.key, self.key_certificate = folder / "signing.key", folder / "signing.crt"
        # The server reads only PEM keys of this older format (SEC 1).
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key)
        openssl("req", "-x509", "-key", self.key, "-days", "60", "-subj", "/CN=tokens", "-out", self.key_certificate)
        users = folder / "token-users"
        users.write_text(htpasswd_line(moorgate, account))
        tls = ["-tlscert", certificate[0], "-tlskey", certificate[1]] if certificate else []
        super().__init__("token-server", [
            "token-server", "-addr", f"127.0.0.1:{self.port}", "-issuer", self.issuer, "-key", self.key,
            "-passwd", users, "-realm", "tokens", *tls], folder)
        self.wait_until(lambda: can_connect(self.port))

    def registry_config(self, trust=None):
        """Returns the section `auth` of a registry that accepts the tokens of this server.

        `trust` is the CA file for this server's certificate.
        """
        jwks = self.folder / "signing.jwks"
        jwks.write_text(json.dumps({"keys": [self.public_key(trust)]}))
        return f"""auth:
  token:
    realm: {self.realm}
    service: registry
    issuer: {self.issuer}
    rootcertbundle: {self.key_certificate}
    jwks: {jwks}
"""

    def public_key(self, trust):
        """Returns the key in the header of a token. Distribution 3 accepts only a listed `kid`."""
        answer = web.request(self.port, trust, "GET", "/token/?service=registry", login=self.account.login)
        head = json.loads(answer.body)["access_token"].partition(".")[0]
        return json.loads(base64.urlsafe_b64decode(head + "=="))["jwk"]

    def asked(self):
        """Returns the query of each question, in the order of the answers."""
        return re.findall(r'get token complete.* http\.request\.uri="/token/\?(\S*)"', self.said())


class Bucket(Relay):
    """An S3 storage with one bucket (gofakes3, in memory).

    `followed` has the headers of each request with a signature in its address. Such a request
    follows a redirect of the registry. The registry itself sends its signature in a header. `name`
    is the host name in the redirects.
    """

    def __init__(self, folder, name="127.0.0.1"):
        port = free_port()
        self.server = Server("storage", [
            "gofakes3", "-host", f"127.0.0.1:{port}", "-backend", "memory", "-initialbucket", "registry"], folder)
        self.server.wait_until(lambda: can_connect(port))
        self.followed = []
        super().__init__(port)
        self.host = f"{name}:{self.port}"
        self.url = f"http://{self.host}"

    def heard(self, piece):
        start, *lines = piece.partition(b"\r\n\r\n")[0].decode(errors="replace").split("\r\n")
        if re.match(r"(GET|HEAD) \S+[?&]X-Amz-Signature=\S+ HTTP/1", start):
            names = (line.partition(":") for line in lines)
            self.followed.append({name.lower(): value.strip() for name, _, value in names})

    def registry_config(self):
        return f"s3: {{accesskey: key, secretkey: secret, region: us-east-1, bucket: registry, secure: false, \
regionendpoint: {self.url}, forcepathstyle: true}}"

    def __exit__(self, *_):
        super().__exit__()
        self.server.stop()


class Tinyproxy(Server):
    """A forward proxy. With a `login`, it refuses clients without this user name and password."""

    def __init__(self, folder, login=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        config = folder / "tinyproxy.conf"
        config.write_text(TINYPROXY.format(port=self.port, login=f"BasicAuth {' '.join(login)}" if login else ""))
        super().__init__("tinyproxy", ["tinyproxy", "-d", "-c", config], folder)
        self.wait_until(lambda: can_connect(self.port))

    def asked(self):
        """Returns method and target of each request."""
        return re.findall(r"Request \(file descriptor \d+\): (\S+) (\S+)", self.said())
