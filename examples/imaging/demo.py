#!/usr/bin/env python3
"""The demonstration behind scripts/demo: two workflows that share work, and a crash between.

    scripts/demo               with a picture that is computed
    scripts/demo PHOTO.png     with yours (PNG, or binary PPM or PGM)

Everything happens through the command line, as a person would type it, in a fresh home under
.demo/ in the project's folder.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DEMO = ROOT / ".demo"
IPVM = Path(sysconfig.get_path("scripts")) / "ipvm"
STARTED = "DEMO_STARTED"  # seconds since 1970; scripts/demo says when the set-up began
CRASH_IN = "rotate90"

PNM_HEAD = re.compile(rb"P[56]\s+(?:#[^\n]*\n\s*)*(\d+)\s+(?:#[^\n]*\n\s*)*(\d+)\s")
CROP_ARGS = re.compile(r'\["\$\{picture\}".*?\]')


class Story:
    """Runs commands in the demo's home and shows them with their output."""

    def __init__(self) -> None:
        self.env = {**os.environ, "IPVM_HOME": str(DEMO / "home")}

    def say(self, text: str) -> None:
        print(f"\n{text}", flush=True)

    def run(self, *args: str, show: str | None = None) -> str:
        """One `ipvm` command; its standard output. Stops the demo when it fails."""
        print(f"$ ipvm {show or ' '.join(args)}", flush=True)
        done = subprocess.run(
            [IPVM, *args], env=self.env, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8"
        )
        print(done.stdout, end="", flush=True)
        self._check(done.returncode)
        return done.stdout

    def crash(self, *args: str) -> None:
        """Start a command, and kill it without warning as soon as it says that `CRASH_IN` runs."""
        print(f"$ ipvm {' '.join(args)}", flush=True)
        child = subprocess.Popen(
            [IPVM, *args], env=self.env, cwd=ROOT, stderr=subprocess.PIPE, encoding="utf-8"
        )
        assert child.stderr is not None
        with child.stderr as lines:
            for line in lines:
                print(line, end="", flush=True)
                if re.search(rf"\b{CRASH_IN}\s+running\b", line):
                    print(f"$ kill -9 {child.pid}", flush=True)
                    child.kill()
        status = child.wait()
        if status != -signal.SIGKILL:
            self._check(status)

    def ask(self, *args: str) -> dict[str, object]:
        """The JSON that a command prints, which is not shown."""
        done = subprocess.run(
            [IPVM, *args, "--json"], env=self.env, cwd=ROOT, check=True, stdout=subprocess.PIPE
        )
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def _check(self, status: int) -> None:
        if status:
            sys.exit(f"demo: that command ended with exit status {status}")


def size_of(photo: bytes) -> tuple[int, int]:
    """Width and height in pixels, from the beginning of a PNG, PPM or PGM file.

    Raises:
        ValueError: it is none of these.
    """
    if photo[:8] == b"\x89PNG\r\n\x1a\n" and len(photo) >= 24:
        width, height = struct.unpack_from(">II", photo, 16)
        return width, height
    found = PNM_HEAD.match(photo)
    if found is None:
        raise ValueError("neither a PNG nor a binary PPM or PGM picture")
    return int(found[1]), int(found[2])


def with_photo(text: str, name: str, size: tuple[int, int]) -> str:
    """The text of a workflow that takes a square out of the middle of a photo of one's own.

    Args:
        name: the photo, from the demo's folder.
        size: of the photo, in pixels.
    """
    width, height = size
    side = max(1, min(width, height) * 3 // 4)
    args = f'["@{name}", {(width - side) // 2}, {(height - side) // 2}, {side}, {side}]'
    lines = [line for line in text.splitlines(keepends=True) if "imaging.wasm:render" not in line]
    own = CROP_ARGS.sub(args, "".join(lines))
    return own.replace("imaging.wasm:", "../examples/imaging/imaging.wasm:")


def workflows(photo: Path | None) -> tuple[str, str]:
    """The files of workflow one and two, those of the project or made for the photo."""
    names = ("one.yaml", "two.yaml")
    if photo is None:
        return f"examples/imaging/{names[0]}", f"examples/imaging/{names[1]}"
    try:
        data = photo.read_bytes()
        size = size_of(data)
    except (OSError, ValueError) as error:
        sys.exit(f"demo: {photo}: {getattr(error, 'strerror', None) or error}")
    copy = f"photo{photo.suffix}"
    (DEMO / copy).write_bytes(data)
    for name in names:
        own = with_photo((HERE / name).read_text("utf-8"), copy, size)
        (DEMO / name).write_text(own, "utf-8")
    return f".demo/{names[0]}", f".demo/{names[1]}"


def tell(photo: Path | None) -> None:
    started = time.time()
    DEMO.mkdir(exist_ok=True)
    one, two = workflows(photo)
    shutil.rmtree(DEMO / "home", ignore_errors=True)
    story = Story()
    pictures = ["one.png", "two.png"]
    outs = ["--out", "blur=.demo/one.png"]

    if photo is None:
        story.say(
            "1. Workflow one renders a lake, then crop → rotate90 → blur. No network is used."
        )
        outs += ["--out", "picture=.demo/picture.png"]
        pictures.insert(0, "picture.png")
    else:
        story.say(f"1. Workflow one: crop → rotate90 → blur of {photo.name}. No network is used.")
    story.run("workflow", "check", one)
    crash_and_resume(story, one, outs)

    story.say(
        "3. Workflow two: crop → rotate90 → grayscale. Only what workflow one did not do runs."
    )
    story.run("workflow", "run", two, "--out", "grayscale=.demo/two.png")

    story.say("4. Again: every answer is known, nothing is computed.")
    value = story.run("workflow", "run", two).split()[1]

    story.say("5. Each result has a signed receipt, which anyone can check, anywhere, offline.")
    verify(story)

    story.say("6. Where does the last picture come from?")
    story.run("why", value)

    end(story, started, pictures)


def crash_and_resume(story: Story, one: str, outs: list[str]) -> None:
    """Crash in the middle of workflow one, then go on."""
    story.crash("workflow", "run", one, "--watch")
    runs = story.ask("workflow", "list")["runs"]
    assert isinstance(runs, list)
    if runs[0]["state"] == "done":  # faster than the kill
        story.say("2. A picture as small as this is done before anything can crash.")
    else:
        story.say(f"2. The process died in the middle of {CRASH_IN}. What was finished is kept:")
    story.run("workflow", "list")
    story.run("workflow", "resume", str(runs[0]["run"])[:8], *outs)


def verify(story: Story) -> None:
    listed = story.ask("receipt", "list")["receipts"]
    assert isinstance(listed, list)
    receipts = [str(entry["cid"]) for entry in listed]
    file = ".demo/receipts.car"
    story.run("export", *receipts, "-o", file,
              show=f"export <the {len(receipts)} receipts> -o {file}")  # fmt: skip
    story.run("receipt", "verify", file)


def end(story: Story, started: float, pictures: list[str]) -> None:
    now = time.time()
    set_up = max(0.0, started - float(os.environ.get(STARTED, started)))
    story.say(f"Done in {now - started:.1f} s, after {set_up:.0f} s of set-up. The pictures:")
    for name in pictures:
        print(f"  {DEMO / name}  {(DEMO / name).stat().st_size:,} bytes")
    home = shlex.quote(str(DEMO / "home"))
    print(f"The home with the receipts is {DEMO / 'home'}: ipvm --home {home} status")


def main(args: list[str]) -> None:
    if len(args) > 1 or args[:1] in (["-h"], ["--help"]):
        sys.exit(__doc__ if len(args) == 1 else "demo: one photo, please")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        tell(Path(args[0]) if args else None)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main(sys.argv[1:])
