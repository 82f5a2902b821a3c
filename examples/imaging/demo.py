#!/usr/bin/env python3
"""The demonstration behind scripts/demo: a picture, computed offline, once, with receipts.

Everything happens through the command line, as a person would type it, in a fresh home under
.demo/ in the project's folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / ".demo"
IPVM = Path(sysconfig.get_path("scripts")) / "ipvm"
SIZE = ("960", "640")


class Story:
    """Runs commands in the demo's home and shows them with their output."""

    def __init__(self) -> None:
        self.env = {**os.environ, "IPVM_HOME": str(DEMO / "home")}

    def say(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def run(self, *args: str, show: str | None = None) -> str:
        """One `ipvm` command; stops the demo when it fails."""
        print(f"$ ipvm {show or ' '.join(args)}", flush=True)
        done = subprocess.run(
            [IPVM, *args], env=self.env, cwd=DEMO, stdout=subprocess.PIPE, text=True
        )
        if done.stdout:
            print(done.stdout, end="", flush=True)
        if done.returncode:
            sys.exit(f"demo: that command ended with exit status {done.returncode}")
        return done.stdout

    def picture(self, out: str, func: str, *args: str) -> None:
        self.run("run", f"imaging:{func}", *args, "--out", out)


def tell() -> None:
    started = time.monotonic()
    shutil.rmtree(DEMO / "home", ignore_errors=True)
    DEMO.mkdir(exist_ok=True)
    story = Story()

    story.say("1. A home with a key is made on first use. The code is content, like everything.")
    story.run("add", str(ROOT / "examples/imaging/imaging.wasm"), "--name", "imaging",
              show="add examples/imaging/imaging.wasm --name imaging")  # fmt: skip

    story.say("2. Render a picture, then work on it. No network is used from here on.")
    story.picture("picture.png", "render", *SIZE, "7")
    steps = (
        ("blurred.png", "blur", "@picture.png", "6"),
        ("turned.png", "rotate90", "@picture.png"),
        ("grey.png", "grayscale", "@turned.png"),
    )
    for out, func, *args in steps:
        story.picture(out, func, *args)

    story.say("3. The same jobs again: every answer is known, nothing is computed.")
    for out, func, *args in steps:
        story.picture(out, func, *args)

    story.say("4. Each result has a signed receipt, which anyone can check, anywhere, offline.")
    listed = subprocess.run(
        [IPVM, "receipt", "list", "--json"], env=story.env, check=True, stdout=subprocess.PIPE
    )
    receipts = [entry["cid"] for entry in json.loads(listed.stdout)["receipts"]]
    story.run("export", *receipts, "-o", "receipts.car",
              show=f"export <the {len(receipts)} receipts> -o receipts.car")  # fmt: skip
    story.run("receipt", "verify", "receipts.car")

    took = time.monotonic() - started
    story.say(f"Done in {took:.1f} s. The pictures are in {DEMO}:")
    for name in ("picture.png", *(step[0] for step in steps)):
        print(f"  {DEMO / name}  {(DEMO / name).stat().st_size:,} bytes")
    print(f"The home with the receipts is {DEMO / 'home'}: IPVM_HOME={DEMO / 'home'} ipvm status")


if __name__ == "__main__":
    tell()
