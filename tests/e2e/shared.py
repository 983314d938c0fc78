"""Many gates as one: three gates that share a Redis or a Valkey, behind HAProxy.

Each part of the group is in a file `shared_*.py`. The last cells look at all that the servers of
the group have seen and kept.
"""

import contextlib

import shared_guards
import shared_limits
import shared_outages
import shared_seen
import shared_shapes
import shared_tampering
import shared_verdicts
from clients import Docker, Skopeo
from credentials import PERSONAL
from matrix import log_in_push_pull
from redis_servers import Monitor, RedisServer
from report import check
from shared_gates import Common, fleet


def many_gates_as_one(run):
    with contextlib.ExitStack() as servers:
        common = None
        with run.report.cell("shared", "start"):
            run.machine.require("docker-registry", "haproxy", "redis-server", "redis-sentinel")
            common = Common(run, servers)
        if common is None:
            return
        real_clients(common)
        one_redis(common)
        outages(common)
        shared_limits.hold(common)
        shared_guards.hold(common)
        shared_tampering.lets_nobody_in(common)
        valkey(common)
        shared_shapes.all_shapes(common)
        shared_seen.says_nothing(common)


def real_clients(common):
    """docker and skopeo, with Distribution behind the gates."""
    run = common.run
    with contextlib.ExitStack() as servers:
        gates = None
        with run.report.cell("shared", "clients", "start"):
            redis = servers.enter_context(RedisServer(run.machine.fresh("redis")))
            gates = servers.enter_context(fleet(
                common, "clients", redis.for_gates(), MANY, upstream=common.distribution.url))
        if gates is not None:
            clients_through_the_balancer(gates, [Docker, Skopeo])


def one_redis(common):
    """The cells of a fleet over Debian's Redis."""
    run = common.run
    with contextlib.ExitStack() as servers:
        gates = None
        with run.report.cell("shared", "redis", "start"):
            redis = servers.enter_context(RedisServer(run.machine.fresh("redis")))
            monitor = servers.enter_context(Monitor(redis))
            # A thousand requests at once keep a small machine busy for longer than the default.
            settings = redis.for_gates(timeout=f"{shared_verdicts.TIMEOUT * 1000:.0f}ms")
            gates = servers.enter_context(fleet(common, "redis", settings, MANY))
        if gates is None:
            return
        shared_verdicts.one_question(gates)
        shared_verdicts.revocations(gates)
        shared_seen.cached_requests_ask_nothing(gates, redis)
        shared_seen.keep(common, "redis", redis, monitor)


def outages(common):
    """A fleet with the default settings, whose Redis is away again and again."""
    run = common.run
    with contextlib.ExitStack() as servers:
        gates = None
        with run.report.cell("shared", "outages", "start"):
            redis = servers.enter_context(RedisServer(run.machine.fresh("redis")))
            monitor = servers.enter_context(Monitor(redis))
            gates = servers.enter_context(fleet(common, "outages", redis.for_gates(), MANY))
        if gates is None:
            return
        shared_outages.no_request_fails(gates, redis, shared_outages.ALL)
        shared_seen.keep(common, "outages", redis, monitor)


# Limits that no cell reaches.
MANY = ("limits: {per_client: {rate: 20000/s, burst: 40000}, per_identity: {rate: 20000/s, burst: 40000}, "
        "concurrent_uploads_per_identity: 1000}")


def valkey(common):
    """The same in short over Valkey."""
    run = common.run
    with contextlib.ExitStack() as servers:
        gates = None
        with run.report.cell("shared", "valkey", "start"):
            run.machine.require("valkey-server")
            server = servers.enter_context(RedisServer(run.machine.fresh("valkey"), program="valkey-server"))
            monitor = servers.enter_context(Monitor(server))
            gates = servers.enter_context(fleet(common, "valkey", server.for_gates(), MANY))
        if gates is None:
            return
        clients_through_the_balancer(gates, [Skopeo])
        shared_verdicts.revocations(gates)
        shared_outages.no_request_fails(gates, server, shared_outages.SHORT)
        shared_seen.keep(common, "valkey", server, monitor)


def clients_through_the_balancer(gates, clients):
    run = gates.common.run
    for client in clients:
        session = client(run.machine, gates, "shared")
        repository = f"demo/{gates.name}-{client.name}"
        marks = [gate.log_size() for gate in gates.gates]
        log_in_push_pull(run, session, PERSONAL, repository)
        with run.report.cell("shared", gates.name, client.name, "every gate served the session"):
            session.require()
            served = [gate.log_text(mark).count(f'"{repository}"') for gate, mark in zip(gates.gates, marks)]
            check(all(served), f"requests at the gates: {served}")
