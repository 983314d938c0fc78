"""Cells and their outcomes: one line for each cell, and all output of a cell that fails."""

import subprocess
import time
import traceback
from contextlib import contextmanager


class Skip(Exception):
    """A program that the cell needs is missing on this machine."""


class Failed(Exception):
    """A check of a cell failed."""


class Result:
    def __init__(self, code, output):
        self.code = code
        self.output = output


class Report:
    """Runs cells and counts their outcomes. With `no_skip`, a skip is a failure."""

    def __init__(self, no_skip):
        self.no_skip = no_skip
        self.passed = self.failed = self.skipped = 0
        self.gates = []
        self.transcript = []

    @contextmanager
    def cell(self, *words):
        """Runs one cell. Its body raises an exception to fail. Prints the line at the end."""
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
        except Exception:  # an error in one cell must not end the run
            outcome, why = "FAIL", f":\n{traceback.format_exc()}"
        took = time.monotonic() - start
        print(f"{outcome}  {' / '.join(words)} ({took:.1f} s){why}", flush=True)
        self.count(outcome)
        if outcome == "FAIL":
            self.explain(marks)

    @contextmanager
    def watching(self, gate):
        """In this context, a failing cell prints the log of this gate too."""
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
        """Prints the output of the clients, and what the gates logged during the cell."""
        for line in self.transcript:
            print(f"    {line}")
        time.sleep(0.3)  # the gate writes its lines a moment after the answer
        for gate, size in marks:
            for line in gate.log_text(size).splitlines():
                print(f"    {gate.name}: {line}")
        print(flush=True)

    def run(self, arguments, *, env=None, stdin=None, timeout=120, cwd=None):
        """Runs a client and keeps its output, with any exit code."""
        self.transcript.append("$ " + " ".join(map(str, arguments)))
        done = subprocess.run(
            list(map(str, arguments)), env=env, cwd=cwd, timeout=timeout, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}))
        self.transcript += done.stdout.splitlines()
        self.transcript.append(f"(exit {done.returncode})")
        return Result(done.returncode, done.stdout)

    def ok(self, arguments, **options):
        """Runs a client that must succeed, and returns its output."""
        result = self.run(arguments, **options)
        check(result.code == 0, f"{arguments[0]} exited with {result.code}")
        return result.output

    def refused(self, arguments, **options):
        """Runs a client that must fail, and returns its output."""
        result = self.run(arguments, **options)
        check(result.code != 0, f"{arguments[0]} was not refused")
        return result.output

    def summary(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed else 0


def check(condition, what):
    if not condition:
        raise Failed(what)
