"""The proxies that a run puts in front of a gate: HAProxy, nginx and Envoy.

Each of them ends the clients' TLS, with the certificate that all clients of the run trust. Each has
the defaults of its program, except for what its config here says.
"""

import csv
import json

import web
from servers import NGINX_FOLDERS, Server, can_connect, free_port

HAPROXY_START = """global
  log stderr format raw local0 warning
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
"""

# The check sends HTTP/1.0 without Host. Without the second line of the check, HAProxy accepts only
# the statuses 2xx and 3xx.
HAPROXY = HAPROXY_START + """frontend operators
  bind 127.0.0.1:{admin}
  stats enable
  stats uri /
frontend clients
  bind 127.0.0.1:{port} ssl crt {pem}
  default_backend gate
backend gate
  option httpchk GET /v2/
  http-check expect status 401
  default-server check inter 100ms fall 2 rise 1
  server gate 127.0.0.1:{gate.port} ssl ca-file {gate.tls.certificate} sni str(localhost) verifyhost localhost
"""

# By default, nginx accepts only bodies of up to 1 MiB.
NGINX = """daemon off;
user root;
worker_processes 1;
pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
  access_log off;
""" + NGINX_FOLDERS + """  server {{
    listen 127.0.0.1:{port} ssl{http2};
    ssl_certificate {gate.tls.certificate};
    ssl_certificate_key {gate.tls.key};
    client_max_body_size 0;
    location / {{
      proxy_pass http://127.0.0.1:{gate.port};
      {more}
    }}
  }}
}}
"""

# The filter reads the body of a request that has none. Envoy then no longer knows at the head of
# the request that no body follows, and sends an empty one in chunks, or an empty DATA frame.
ENVOY = """admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2, http/1.1]
            tls_certificates:
            - certificate_chain: {{filename: {gate.tls.certificate}}}
              private_key: {{filename: {gate.tls.key}}}
      filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: registry
          route_config:
            virtual_hosts:
            - name: registry
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: gate, timeout: 0s}}}}]
          http_filters:
          - name: reads-bodies
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code:
                inline_string: |
                  function envoy_on_request(request)
                    local method = request:headers():get(":method")
                    if method == "GET" or method == "HEAD" or method == "DELETE" then
                      request:body(true)
                    end
                  end
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: gate
    load_assignment:
      cluster_name: gate
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{{protocol}_protocol_options: {{}}}}
    transport_socket: {socket}
"""

ENVOY_TLS = """
      name: tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          alpn_protocols: [h2]
          validation_context: {{trusted_ca: {{filename: {certificate}}}}}"""

ENVOY_PLAIN = """
      name: plain
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"""


class Haproxy(Server):
    """HAProxy, which speaks HTTP/1.1 over TLS to the gate."""

    def __init__(self, folder, port, gate):
        self.admin = free_port()
        pem = folder / "haproxy.pem"
        pem.touch(0o600)
        pem.write_text(gate.tls.certificate.read_text() + gate.tls.key.read_text())
        config = folder / "haproxy.cfg"
        config.write_text(HAPROXY.format(port=port, admin=self.admin, pem=pem, gate=gate))
        super().__init__("haproxy", ["haproxy", "-db", "-f", config], folder)
        self.wait_until(lambda: can_connect(port))

    def state(self):
        """Returns what HAProxy's check of the gate found: the state, the kind and the status."""
        lines = csv.DictReader(web.plain(self.admin, "/;csv").text().removeprefix("# ").splitlines())
        [line] = [line for line in lines if line["svname"] == "gate"]
        # A star says that the next check is under way.
        return line["status"], line["check_status"].removeprefix("* "), line["check_code"]


class Nginx(Server):
    """nginx, which speaks HTTP/1.0 to a plain gate, as its default is.

    `more` is added to the location, `http2` lets clients use HTTP/2.
    """

    def __init__(self, folder, port, gate, more="", http2=False):
        config = folder / "nginx.conf"
        config.write_text(NGINX.format(
            folder=folder, port=port, gate=gate, more=more, http2=" http2" if http2 else ""))
        super().__init__("nginx", ["nginx", "-p", folder, "-c", config, "-e", folder / "errors"], folder)
        self.wait_until(lambda: can_connect(port))


class Envoy(Server):
    """Envoy, which speaks HTTP/1.1 to a plain gate, or HTTP/2 to one with TLS, at `upstream`."""

    def __init__(self, folder, port, gate, upstream):
        self.admin = free_port()
        protocol = "http" if gate.plain else "http2"
        socket = ENVOY_PLAIN if gate.plain else ENVOY_TLS.format(certificate=gate.tls.certificate)
        config = folder / "envoy.yaml"
        config.write_text(ENVOY.format(
            port=port, admin=self.admin, gate=gate, upstream=upstream, protocol=protocol, socket=socket))
        super().__init__("envoy", [
            "envoy", "-c", config, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"], folder)
        self.wait_until(lambda: can_connect(port))

    def statistic(self, name):
        """Returns one of the numbers that Envoy counts about the gate."""
        text = web.plain(self.admin, f"/stats?format=json&filter=^cluster.gate.{name}$").text()
        [number] = [entry["value"] for entry in json.loads(text)["stats"] if entry.get("name")]
        return number
