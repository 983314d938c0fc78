"""Redis and Valkey servers: alone, with TLS, with a replica and a sentinel, or as a cluster.

Each has a folder of its own, with a Unix socket through which the run controls it. The gates log in
as the user `gate`, which may do what docs/operations.md says that it needs.
"""

import contextlib
import os
import re
import secrets
import signal
import socket
import threading

from report import check
from servers import Server, free_port

# The user of the gates. Each prefix that a gate of the run has begins with `moorgate`.
USER, PASSWORD = "gate", secrets.token_urlsafe(12)

CONFIG = """bind 127.0.0.1
protected-mode no
dir {folder}
unixsocket {folder}/redis.sock
{listen}
{lines}
"""

DATA = """save ""
appendonly no
repl-diskless-sync-delay 0
user gate on >{password} ~moorgate* +@all -@dangerous +cluster|slots
"""


# The least that the user needs for one server, or with sentinels.
LEAST = """+eval +evalsha +xread +time +get +set +del +exists +pttl +pexpire +hgetall +hmget +hset +hdel +xadd
    +zadd +zrem +zrange +zrangebyscore +zcard +zremrangebyscore +zremrangebyrank""".split()


class Refused(Exception):
    """The server has answered with an error."""


class Connection:
    """A connection over which the run asks a server, by the Unix socket of the server."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.reading = self.socket.makefile("rb")

    def ask(self, *words):
        """Returns the answer: bytes, a number, a list of these, or None."""
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self.answer()

    def answer(self):
        line = self.reading.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the server has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise Refused(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == b"-1" else self.reading.read(int(rest) + 2)[:-2]
        return rest

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.reading.close()
        self.socket.close()


class RedisServer(Server):
    """A server on a port that the kernel picks. `lines` are added to its config."""

    def __init__(self, folder, lines="", program="redis-server", listen=None):
        self.port = free_port()
        self.socket = folder / "redis.sock"
        config = folder / "redis.conf"
        data = "" if program == "redis-sentinel" else DATA.format(password=PASSWORD)
        listen = (listen or "port {port}").format(port=self.port)
        config.write_text(CONFIG.format(folder=folder, listen=listen, lines=data + lines))
        self.password_file = folder / "password"
        self.password_file.touch(0o600)
        self.password_file.write_text(PASSWORD)
        super().__init__(program, [program, config], folder)
        self.wait_until(self.answers)

    def answers(self):
        try:
            return self.ask("PING") == b"PONG"
        except (OSError, Refused):
            return False

    def ask(self, *words):
        with Connection(self.socket) as connection:
            return connection.ask(*words)

    def at_once(self, *commands):
        """Runs commands without those of others between them."""
        with Connection(self.socket) as connection:
            for command in [("MULTI",), *commands, ("EXEC",)]:
                connection.ask(*command)

    def info(self, section):
        """Returns the lines of a section of INFO."""
        lines = self.ask("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def kill(self):
        """Ends the server at once. It has no file, so that it forgets everything."""
        self.process.kill()
        self.process.wait()

    def start_again(self):
        self.start()
        self.wait_until(self.answers)

    def pause(self):
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self):
        os.kill(self.pid, signal.SIGCONT)

    def stop(self):
        self.kill()

    def for_gates(self, url=None, **more):
        """Returns the section `redis` of a gate's config."""
        more = "".join(f", {key}: {value}" for key, value in more.items())
        return f"redis: {{url: {url or self.url}, username: {USER}, password_file: {self.password_file}{more}}}"

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"


def with_tls(folder, certificate, key):
    """Starts a server that speaks TLS only."""
    listen = (f"port 0\ntls-port {{port}}\ntls-cert-file {certificate}\ntls-key-file {key}\n"
              "tls-auth-clients no")
    return RedisServer(folder, listen=listen)


def replica_of(master, folder):
    replica = RedisServer(folder, f"replicaof 127.0.0.1 {master.port}\n")
    replica.wait_until(lambda: replica.info("replication").get("master_link_status") == "up")
    return replica


def sentinel_of(master, folder):
    """Starts a sentinel that watches a server and its replica under the name `main`."""
    sentinel = RedisServer(folder, program="redis-sentinel", lines=(
        f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"))

    def knows_the_replica():
        answer = sentinel.ask("SENTINEL", "MASTER", "main")
        return dict(zip(answer[::2], answer[1::2])).get(b"num-slaves") == b"1"

    sentinel.wait_until(knows_the_replica)
    return sentinel


def cluster(folders, servers):
    """Starts a cluster of three masters, each with a third of the slots."""
    bus = [free_port() for _ in folders]
    nodes = [servers.enter_context(RedisServer(folder, f"cluster-enabled yes\ncluster-port {port}\n"))
             for folder, port in zip(folders, bus)]
    for node, slots in zip(nodes, [(0, 5000), (5001, 10000), (10001, 16383)]):
        node.ask("CLUSTER", "ADDSLOTSRANGE", *slots)
    for node, port in list(zip(nodes, bus))[1:]:
        nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, port)
    for node in nodes:
        node.wait_until(lambda: is_whole(node))
    return nodes


def is_whole(node):
    info = node.ask("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info


class Monitor:
    """Keeps every command that a server gets from gates or their scripts, as MONITOR shows them.

    The gates come over TCP, and the run from `own_source`. MONITOR does not show AUTH.
    """

    LINE = re.compile(rb'\S+ \[\d+ (lua|unix:\S*|\S+)\] "([^"]+)"')

    def __init__(self, server, own_source=b"unix:"):
        self.server, self.own_source = server, own_source
        self.of_gates, self.of_scripts = [], []
        self.lines = []
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.is_over.is_set():
            # The server is killed and started again meanwhile.
            with contextlib.suppress(OSError, Refused), Connection(self.server.socket) as connection:
                connection.ask("MONITOR")
                connection.socket.settimeout(None)
                for line in connection.reading:
                    self.note(line)
            self.is_over.wait(0.02)

    def note(self, line):
        found = self.LINE.search(line)
        if not found:
            return
        source, command = found.groups()
        if source == b"lua":
            self.of_scripts.append(command.decode().upper())
        elif not self.own_source or not source.startswith(self.own_source):
            self.of_gates.append(command.decode().upper())
        else:
            return
        self.lines.append(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_over.set()


def check_monitored(monitor):
    check(monitor.of_gates and monitor.of_scripts, "the monitor has seen no command")
