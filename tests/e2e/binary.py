"""Builds the programs for a run."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def binary():
    """Returns the binary under test: $MOORGATE, or else the result of a release build."""
    if "MOORGATE" in os.environ:
        return pathlib.Path(os.environ["MOORGATE"]).resolve()
    cargo_build("--release")
    return target() / "release" / "moorgate"


def stand_ins_binary():
    """Returns the stand-ins for providers: a debug build, which takes less time."""
    cargo_build("--example", "stand_ins")
    return target() / "debug" / "examples" / "stand_ins"


def tools():
    """Returns the folders of the clients that are built from source, for PATH; empty without Go."""
    if not shutil.which("go"):
        return ""
    built = subprocess.run([ROOT / "tests/e2e/tools"], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        print("tests/e2e/tools could not build all clients", file=sys.stderr)
    return built.stdout.strip()


def cargo_build(*arguments):
    subprocess.run(["cargo", "build", "--locked", *arguments], cwd=ROOT, check=True)


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
