"""The binary under test."""

import os
import pathlib
import subprocess


def binary():
    """$MOORGATE, or what a release build makes."""
    if "MOORGATE" in os.environ:
        return pathlib.Path(os.environ["MOORGATE"]).resolve()
    root = pathlib.Path(__file__).resolve().parents[2]
    subprocess.run(["cargo", "build", "--release", "--locked"], cwd=root, check=True)
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", root / "target")).resolve() / "release" / "moorgate"
