"""What Redis sees: commands, keys and values."""

import base64
import re
import time

import load
from questions import OURS
from redis_servers import check_monitored
from report import check
from shared_gates import PERSON, get

# Commands of the gates and of their scripts. Managed services allow all of them.
ALLOWED = set("""AUTH EVAL EVALSHA PING XREAD ASKING CLUSTER
    TIME GET SET DEL EXISTS PTTL PEXPIRE HGETALL HMGET HSET HDEL XADD
    ZADD ZREM ZRANGE ZRANGEBYSCORE ZCARD ZREMRANGEBYSCORE ZREMRANGEBYRANK""".split())

CACHED = 1000


class Kept:
    """What one server has kept at the end of its cells, and the commands that it has seen."""

    def __init__(self, name, server, monitor, prefix, of_others):
        self.name, self.prefix = name, prefix.encode() + b":"
        self.of_gates, self.of_scripts = set(monitor.of_gates) - of_others, set(monitor.of_scripts)
        self.lines = list(monitor.lines)
        self.texts, self.expiries = {}, {}
        for key in server.ask("KEYS", "*"):
            value, left = content(server, key), server.ask("PTTL", key)
            if left != -2:  # it has not expired meanwhile
                self.texts[key], self.expiries[key] = key + b"\n" + flat(value), left


def keep(common, name, server, monitor, prefix="moorgate", of_others=frozenset()):
    """Keeps all of it for the last cells. `of_others` are commands of programs beside the gates."""
    with common.run.report.cell("shared", name, "what the server has kept is looked at"):
        check_monitored(monitor)
        common.seen.append(Kept(name, server, monitor, prefix, of_others))


def content(server, key):
    """Returns the value of a key of any type."""
    kind = server.ask("TYPE", key)
    question = {b"string": ["GET", key], b"hash": ["HGETALL", key], b"stream": ["XRANGE", key, "-", "+"],
                b"zset": ["ZRANGE", key, 0, -1, "WITHSCORES"], b"none": ["GET", key]}.get(kind)
    check(question, f"{key} is a {kind}")
    return server.ask(*question)


def flat(value):
    if isinstance(value, list):
        return b"\n".join(map(flat, value))
    return value if isinstance(value, bytes) else str(value).encode()


def cached_requests_ask_nothing(gates, server):
    """The commands of the gates do not grow with requests about what is cached."""
    run = gates.common.run
    with run.report.cell("shared", gates.name, f"{CACHED} cached requests", "send no command"):
        token = gates.questions.new_token()
        requests = [get(gates.gates[number % len(gates.gates)], "cached", token, "192.0.2.40")
                    for number in range(CACHED)]
        statuses = {outcome.status for outcome in load.at_once(requests[:30])}
        check(statuses == {200}, f"statuses: {statuses}")
        time.sleep(1)  # the answers and guards of these are written
        begun, before = time.monotonic(), calls(server)
        time.sleep(2)
        idle = (calls(server) - before) / (time.monotonic() - begun)
        begun, before = time.monotonic(), calls(server)
        statuses = {outcome.status for outcome in load.at_once(requests)}
        took, sent = time.monotonic() - begun, calls(server) - before
        print(f"      {sent} calls in {took:.2f} s, {idle:.0f} a second without requests", flush=True)
        check(statuses == {200}, f"statuses: {statuses}")
        # A beat is a script with several calls, and may come just before the end.
        check(sent <= idle * (took + 1.5), f"{sent} calls")


def calls(server):
    """Returns the number of calls so far, without those of the run."""
    statistics = server.info("commandstats")
    own = {"cmdstat_info", "cmdstat_ping"}
    return sum(int(re.match(r"calls=(\d+)", text).group(1)) for name, text in statistics.items() if name not in own)


def says_nothing(common):
    """The last cells: no secret in clear, an expiry of every key, and no command that is forbidden."""
    report = common.run.report
    with report.cell("shared", "Redis", "gets commands that managed services allow"):
        check(common.seen, "no server was looked at")
        of_gates = set().union(*(kept.of_gates for kept in common.seen))
        of_scripts = set().union(*(kept.of_scripts for kept in common.seen))
        print(f"      of gates: {' '.join(sorted(of_gates))}; of scripts: {' '.join(sorted(of_scripts))}", flush=True)
        check(of_gates | of_scripts <= ALLOWED, f"not expected: {(of_gates | of_scripts) - ALLOWED}")
    with report.cell("shared", "Redis", "every key has the prefix and an expiry"):
        for kept in common.seen:
            print(f"      {kept.name}: {len(kept.texts)} keys", flush=True)
            others = [key for key in kept.texts if not key.startswith(kept.prefix)]
            check(not others, f"{kept.name}: keys without the prefix: {others[:5]}")
            forever = [key for key, left in kept.expiries.items() if left == -1]
            check(not forever, f"{kept.name}: keys without an expiry: {forever[:5]}")
    with report.cell("shared", "Redis", "sees no secret, name, repository or address"):
        for kept in common.seen:
            text = b"\n".join([*kept.texts.values(), *kept.lines])
            for word in secret_words(common):
                found = text.find(word)
                check(found < 0, f"{kept.name}: {word} is in {text[max(0, found - 100):found + 100]}")


def secret_words(common):
    """Returns parts of all that the gates were shown."""
    users = {user for user, _ in common.questions.asked}
    check(all(user.startswith((PERSON, "alice")) for user in users), f"other user names: {users}")
    addresses = [b"192.0.2.", b"198.51.100.", b"203.0.113."]
    in_basic = base64.b64encode(PERSON.encode())[:9]
    return [PERSON.encode(), in_basic, b"alice", OURS.encode(), b"glpat-", b"demo/", b"manifests", b"v2/", *addresses,
            common.operator.encode(), common.key_file.read_bytes().strip()]
