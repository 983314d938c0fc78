"""An attacker who can write to Redis lets nobody in: each value of each key is replaced."""

import collections
import contextlib
import os
import re
import time

from questions import new_password
from redis_servers import Monitor, RedisServer
from report import check
from shared_gates import fleet, login, wait_for

TTL = 2

# Short, so that a verdict can be put back after its time.
CACHE = f"cache: {{ttl: {TTL}s, negative_ttl: 1s, stale_if_error: 0s}}"

HUGE = 1024 * 1024


def lets_nobody_in(common):
    run = common.run
    with contextlib.ExitStack() as servers:
        gates = None
        with run.report.cell("shared", "tampering", "start"):
            redis = servers.enter_context(RedisServer(run.machine.fresh("redis-tampered")))
            monitor = servers.enter_context(Monitor(redis))
            gates = servers.enter_context(fleet(common, "tampering", redis.for_gates(), CACHE))
        if gates is None:
            return
        for number, (name, tamper) in enumerate(TAMPERING.items()):
            with run.report.cell("shared", "tampering", name, "nobody is let in, and a valid token is"):
                a_round(gates, redis, monitor, tamper, f"192.0.2.{100 + number}")
        with run.report.cell("shared", "tampering", "a value that is put back after its time", "is not used"):
            put_back_after_its_time(gates, redis, monitor)


def a_round(gates, redis, monitor, tamper, address):
    """Asks one gate about three tokens, tampers with what it has written, and asks the others."""
    start_anew(gates, redis)
    questions, (first, *others) = gates.questions, gates.gates
    good, gone, wrong = questions.new_token(), questions.new_token(), new_password()
    before = verdicts(redis)
    for token, status in [(good, 200), (gone, 200), (wrong, 401)]:
        got = login(first, "tampering", token, address)
        check(got == status, f"{got} before anything was tampered with, not {status}")
    # The answers go to Redis after they have gone to the callers.
    wait_for(lambda: len(verdicts(redis) - before) >= 3, "Redis has no verdicts", 5)
    values = Values(redis, monitor)
    questions.revoke(gone)
    answer, _ = gates.revoke(first, gone)
    check(answer.get("replicas") == len(gates.gates), f"POST /revoke answers {answer}")
    # This verdict is younger than the revocation.
    before = verdicts(redis)
    check(login(first, "tampering", questions.new_token(), address) == 200, "the caller is not let in")
    wait_for(lambda: verdicts(redis) - before, "Redis has no verdict", 5)
    [values.newest] = [redis.ask("GET", key) for key in verdicts(redis) - before]
    tamper(redis, values)
    # The counts of that address were tampered with, too, and may lock it out.
    address = address.replace("192.0.2.", "198.51.100.")
    for gate in [*others, first]:
        for token, status in [(gone, 401), (wrong, 401), (good, 200), (questions.new_token(), 200)]:
            got = login(gate, "tampering", token, address)
            check(got == status, f"{gate.name} answers {got}, not {status}")
        check(gate.request("GET", "/v2/").status == 401, f"{gate.name} lets in a caller without a credential")


def start_anew(gates, redis):
    """Removes what the last round has left, and waits until the gates have noticed it."""
    redis.ask("FLUSHALL")
    wait_for(lambda: gates.revoke(gates.gates[0], new_password())[0].get("replicas") == len(gates.gates),
             "the gates do not join up again", 10)


def verdicts(redis):
    """Returns the keys of verdicts and refusals."""
    return {key for key in redis.ask("KEYS", "*") if b":v:" in key or b":n:" in key}


class Values:
    """What an attacker knows: all values before a revocation, and the key of each verdict so far.

    `newest` is a verdict that lets somebody in, and is younger than the revocation.
    """

    def __init__(self, redis, monitor):
        self.dumps = {key: dump for key in redis.ask("KEYS", "*") if (dump := redis.ask("DUMP", key)) is not None}
        # Those of wrong tokens too, which have a key for a verdict and no verdict.
        self.keys = set(re.findall(rb"moorgate:\{\w+\}:[nv]:\w+", b"".join(monitor.lines)))
        self.newest = None


def of_each_value(change):
    """Returns the tampering that changes the value of each key, whatever its type is."""
    def tamper(redis, _):
        for key in redis.ask("KEYS", "*"):
            kind = redis.ask("TYPE", key)
            if kind == b"string":
                redis.ask("SET", key, change(redis.ask("GET", key) or b""), "KEEPTTL")
            elif kind == b"hash":
                fields = redis.ask("HGETALL", key)
                for field, value in zip(fields[::2], fields[1::2]):
                    redis.ask("HSET", key, field, change(value))
            elif kind == b"stream":
                # An entry cannot be changed, so each is replaced under its id, and added once more.
                changed = [(at, [change(field) if number % 2 else field for number, field in enumerate(fields)])
                           for at, fields in redis.ask("XRANGE", key, "-", "+")]
                added = [("XADD", key, at, *fields) for at, fields in changed]
                added += [("XADD", key, "*", *fields) for _, fields in changed]
                redis.at_once(("DEL", key), *added, ("EXPIRE", key, 600))
            elif kind == b"zset":
                members = redis.ask("ZRANGE", key, 0, -1)
                redis.ask("ZADD", key, *[word for member in members for word in (9e15, change(member))])
    return tamper


def with_another_type(redis, _):
    for key in redis.ask("KEYS", "*"):
        kind = redis.ask("TYPE", key)
        redis.ask("DEL", key)
        if kind == b"string":
            redis.ask("HSET", key, "v", "1")
        else:
            redis.ask("SET", key, "1")
        redis.ask("EXPIRE", key, 600)


def of_another_key(redis, _):
    """Each key gets the value of the next key of its kind."""
    kinds = collections.defaultdict(list)
    for key in redis.ask("KEYS", "*"):
        kinds[redis.ask("TYPE", key), kind_of(key)].append(key)
    for keys in kinds.values():
        dumps = [redis.ask("DUMP", key) for key in keys]
        for key, value in zip(keys, dumps[1:] + dumps[:1]):
            if value is not None:
                redis.ask("RESTORE", key, 600_000, value, "REPLACE")


def kind_of(key):
    parts = key.split(b":")
    return b":".join(part for part in parts if len(part) < 16 and b"{" not in part)


def good_everywhere(redis, values):
    """Each verdict and each refusal becomes a verdict that lets somebody in."""
    check(any(b":v:" in key for key in values.keys - verdicts(redis)), "no key of a wrong token is known")
    for key in values.keys:
        redis.ask("SET", key, values.newest, "PX", 600_000)


def put_back(redis, values):
    """Everything becomes what it was before the revocation, the stream and the epoch included."""
    redis.ask("FLUSHALL")
    for key, dump in values.dumps.items():
        redis.ask("RESTORE", key, 600_000, dump, "REPLACE")


def deleted(redis, _):
    redis.ask("FLUSHALL")


def flipped(value):
    middle = len(value) // 2
    return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1:] if value else b"?"


TAMPERING = {
    "the verdict of another token": good_everywhere,
    "values of other keys": of_another_key,
    "what was there before a revocation": put_back,
    "one bit of each value": of_each_value(flipped),
    "random bytes": of_each_value(lambda value: os.urandom(len(value) or 8)),
    "empty values": of_each_value(lambda _: b""),
    "values of other types": with_another_type,
    "huge values": of_each_value(lambda _: b"9" * HUGE),
    "nothing": deleted,
}


def put_back_after_its_time(gates, redis, monitor):
    """A token that GitLab no longer knows, and of which no operator has told the gates."""
    questions, address = gates.questions, "192.0.2.99"
    token = questions.new_token()
    before = verdicts(redis)
    check(login(gates.gates[0], "tampering", token, address) == 200, "the caller is not let in")
    wait_for(lambda: verdicts(redis) - before, "Redis has no verdict", 5)
    asked = time.monotonic()
    values = Values(redis, monitor)
    questions.revoke(token)
    check(login(gates.gates[1], "tampering", token, address) == 200, "the verdict was not shared")
    time.sleep(max(0, asked + TTL + 0.1 - time.monotonic()))  # its time must pass
    for gate in gates.gates:
        put_back(redis, values)
        got = login(gate, "tampering", token, address)
        check(got == 401, f"{gate.name} answers {got} to a token that was revoked")
