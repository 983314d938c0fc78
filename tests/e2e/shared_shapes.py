"""Shapes of Redis below whole gates: Sentinel, a cluster, TLS with a user of an ACL, a Unix socket."""

import contextlib
import time

import shared_seen
from credentials import READ_WRITE
from foreign_servers import Authority
from load import Load
from questions import new_password
from redis_servers import LEAST, USER, Monitor, RedisServer, cluster, replica_of, sentinel_of, with_tls
from report import check
from shared_gates import REPOSITORY, fleet, get, login, person, problems, wait_for

# The rate is so low that it adds nothing meanwhile.
BURST = 60
LIMIT = f"limits: {{concurrent_uploads_per_identity: 100, overrides: [{{who: ['user:gitlab/alice'], per_identity: {{rate: 1/h, burst: {BURST}}}}}]}}"

# In place of the default.
PREFIX = "moorgate-e2e"

# The owner of the tokens without a limit.
FREE = READ_WRITE[2]


def all_shapes(common):
    for name, start, more in [("sentinel", sentinel, failover), ("cluster", nodes, None),
                              ("TLS", encrypted, None), ("Unix socket", local, None)]:
        with contextlib.ExitStack() as servers:
            shape = None
            with common.run.report.cell("shared", name, "start"):
                started, redis = start(common.run.machine, servers)
                monitors = [servers.enter_context(Monitor(server, own_source=None if start is local else b"unix:"))
                            for server in started]
                shape = servers.enter_context(fleet(common, name.replace(" ", "-").lower(), redis, LIMIT))
            if shape is None:
                continue
            acts_as_one(shape)
            for server, monitor in zip(started, monitors):
                shared_seen.keep(
                    common, name, server, monitor, PREFIX if start is local else "moorgate",
                    of_others={"PING", "PUBLISH", "INFO"} if start is sentinel else set())
            if more:
                more(shape, started[0])


def sentinel(machine, servers):
    master = servers.enter_context(RedisServer(machine.fresh("redis-master")))
    servers.enter_context(replica_of(master, machine.fresh("redis-replica")))
    watcher = servers.enter_context(sentinel_of(master, machine.fresh("redis-sentinel")))
    return [master], master.for_gates(f"[{watcher.url}]", sentinel="main")


def nodes(machine, servers):
    all_nodes = cluster([machine.fresh("redis-node") for _ in range(3)], servers)
    return all_nodes, all_nodes[0].for_gates(f"[{', '.join(node.url for node in all_nodes)}]")


def encrypted(machine, servers):
    """TLS with an authority of its own. The user of the gates may do no more than they need."""
    folder = machine.fresh("redis-tls")
    authority = Authority(folder)
    server = servers.enter_context(with_tls(folder, *authority.issue("redis")))
    server.ask("ACL", "SETUSER", USER, "nocommands", *LEAST)
    return [server], server.for_gates(f"rediss://localhost:{server.port}", ca=authority.certificate)


def local(machine, servers):
    server = servers.enter_context(RedisServer(machine.fresh("redis-socket")))
    return [server], server.for_gates(f"redis+unix://{server.socket}", prefix=PREFIX)


def acts_as_one(shape):
    """A verdict, a limit, uploads and a revocation of all gates together."""
    report, gates, questions = shape.common.run.report, shape.gates, shape.questions
    token = questions.new_token(FREE)
    with report.cell("shared", shape.name, "one question"):
        statuses = {login(gate, "shapes", token) for gate in gates}
        check(statuses == {200} and questions.count(token) == 1, f"{statuses}, {questions.count(token)} questions")
    with report.cell("shared", shape.name, "one limit"):
        admitted = admitted_in_all(gates, questions.new_token())
        check(BURST - 3 <= admitted <= BURST, f"{admitted} requests were admitted, not {BURST}")
        # Uploads have a script of their own, which a user of an ACL may not be allowed to run.
        upload = gates[0].request("POST", f"/v2/{REPOSITORY}/blobs/uploads/", login=(person("shapes"), token))
        check(upload.status == 202, f"{upload.status} {upload.text()}")
    with report.cell("shared", shape.name, "one revocation"):
        questions.revoke(token)
        answer, took = shape.revoke(gates[1], token)
        check(answer == {"revoked": True, "replicas": len(gates)} and took < 1, f"{answer} after {took:.2f} s")
        statuses = {login(gate, "shapes", token) for gate in gates}
        check(statuses == {401}, f"statuses after the revocation: {statuses}")
    with report.cell("shared", shape.name, "Redis could be used at all times"):
        said = [message for gate in gates for _, message in problems(gate)]
        check(not said, f"{said}")


def admitted_in_all(gates, token):
    """Sends nearly all requests to one gate, until there is nothing left for a second."""
    admitted, last = 0, time.monotonic()
    while time.monotonic() < last + 1:
        gate = gates[1 if admitted % 10 == 0 else 0]
        if login(gate, "shapes", token) == 200:
            admitted, last = admitted + 1, time.monotonic()
    return admitted


def failover(shape, master):
    """The master is killed, and the sentinel makes its replica the new one."""
    token = shape.questions.new_token(FREE)
    with shape.common.run.report.cell("shared", shape.name, "failover", "no request fails, and the gates join up again"):
        begun = time.monotonic()
        requests = Load(200, lambda number: get(shape.gates[number % len(shape.gates)], "failover", token))
        try:
            master.kill()
            shape.until_up_is(0)
            shape.until_joined()
            wait_for(lambda: shape.revoke(shape.gates[0], new_password())[0].get("replicas") == len(shape.gates),
                     "the gates do not confirm a revocation", 5)
        finally:
            outcomes = requests.stop()
        slowest = max(outcome.took for outcome in outcomes)
        print(f"      {len(outcomes)} requests in {time.monotonic() - begun:.1f} s, the slowest {slowest:.2f} s", flush=True)
        check({outcome.status for outcome in outcomes} == {200}, f"statuses: {requests.statuses()}")
        check(slowest < 1, f"an answer came after {slowest:.2f} s")
