"""What is built for a run."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def binary():
    """The binary under test: $MOORGATE, or what a release build makes."""
    if "MOORGATE" in os.environ:
        return pathlib.Path(os.environ["MOORGATE"]).resolve()
    cargo_build("--release")
    return target() / "release" / "moorgate"


def stand_ins_binary():
    """The stand-ins for identity providers, which are not under test: a debug build is made sooner."""
    cargo_build("--example", "stand_ins")
    return target() / "debug" / "examples" / "stand_ins"


def tools():
    """The folders of the clients that are built from source, for PATH; empty where they cannot be built."""
    if not shutil.which("go"):
        return ""
    built = subprocess.run([ROOT / "tests/e2e/tools"], stdout=subprocess.PIPE, text=True, check=False)
    if built.returncode != 0:
        print("the clients that tests/e2e/tools builds are not all there", file=sys.stderr)
    return built.stdout.strip()


def cargo_build(*arguments):
    subprocess.run(["cargo", "build", "--locked", *arguments], cwd=ROOT, check=True)


def target():
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
