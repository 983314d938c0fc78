"""Cells and their outcome: one line each, with everything that was said where one fails."""

import subprocess
import time
import traceback
from contextlib import contextmanager


class Skip(Exception):
    """Something is missing on this machine, so a cell proves nothing."""


class Failed(Exception):
    """What a cell expected did not happen."""


class Result:
    def __init__(self, code, output):
        self.code = code
        self.output = output


class Report:
    """Runs cells and counts them. A skip is a failure where `no_skip` says so."""

    def __init__(self, no_skip):
        self.no_skip = no_skip
        self.passed = self.failed = self.skipped = 0
        self.gates = []
        self.transcript = []

    @contextmanager
    def cell(self, *words):
        """One cell. Its body raises where it fails; the line is printed when it has ended."""
        self.transcript = []
        marks = [(gate, gate.log_size()) for gate in self.gates]
        start = time.monotonic()
        try:
            yield
            outcome, why = "PASS", ""
        except Skip as skip:
            outcome, why = ("FAIL" if self.no_skip else "SKIP"), f": skipped, {skip}"
        except (Failed, subprocess.TimeoutExpired) as failure:
            outcome, why = "FAIL", f": {failure}"
        except Exception:  # a cell that breaks must not end the others
            outcome, why = "FAIL", f":\n{traceback.format_exc()}"
        took = time.monotonic() - start
        print(f"{outcome}  {' / '.join(words)} ({took:.1f} s){why}", flush=True)
        self.count(outcome)
        if outcome == "FAIL":
            self.explain(marks)

    @contextmanager
    def watching(self, gate):
        """Meanwhile, what this gate logs is part of what is told of a cell that fails."""
        self.gates.append(gate)
        try:
            yield gate
        finally:
            self.gates.remove(gate)

    def count(self, outcome):
        self.passed += outcome == "PASS"
        self.failed += outcome == "FAIL"
        self.skipped += outcome == "SKIP"

    def explain(self, marks):
        """What the clients said, and what the gates logged meanwhile."""
        for line in self.transcript:
            print(f"    {line}")
        time.sleep(0.3)  # the gate writes its lines a moment after the answer
        for gate, size in marks:
            for line in gate.log_text(size).splitlines():
                print(f"    {gate.name}: {line}")
        print(flush=True)

    def run(self, arguments, *, env=None, stdin=None, timeout=120, cwd=None):
        """Runs a client and keeps what it says, whatever its exit code."""
        self.transcript.append("$ " + " ".join(map(str, arguments)))
        done = subprocess.run(
            list(map(str, arguments)), env=env, cwd=cwd, timeout=timeout, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}))
        self.transcript += done.stdout.splitlines()
        self.transcript.append(f"(exit {done.returncode})")
        return Result(done.returncode, done.stdout)

    def ok(self, arguments, **options):
        """Runs a client that must succeed, and returns what it said."""
        result = self.run(arguments, **options)
        check(result.code == 0, f"{arguments[0]} ended with {result.code}")
        return result.output

    def refused(self, arguments, **options):
        """Runs a client that must fail, and returns what it said."""
        result = self.run(arguments, **options)
        check(result.code != 0, f"{arguments[0]} was not refused")
        return result.output

    def summary(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


def check(condition, what):
    if not condition:
        raise Failed(what)
