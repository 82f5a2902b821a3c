"""Make a virtual environment from requirements.lock; called by scripts/setup and scripts/test.

Needs nothing but the standard library. A stamp inside the environment says what it was made from:
when that still holds, nothing is done and nothing is downloaded. While work goes on the stamp says
so, and the next run starts such an environment anew.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LOCK = ROOT / "requirements.lock"
SECTIONS = ("runtime", "build", "dev", "full")
STAMP = "ipvm-setup.json"
WORKING: dict[str, object] = {"state": "interrupted"}
CAN_MAKE_VENV = "import venv, ensurepip; ensurepip.version()"


class SetupError(Exception):
    """Why no environment could be made, in one line."""


def sections(text: str) -> dict[str, str]:
    """Split the lock at its `# [name]` lines; what stands before the first one is its heading."""
    parts: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if line.startswith("# ["):
            name = line[3 : line.index("]")]
        elif name:
            parts[name] = parts.get(name, "") + line
    if tuple(parts) != SECTIONS:
        raise SetupError(f"{LOCK.name} should have the sections {SECTIONS}, it has {tuple(parts)}")
    return parts


def made_from(wanted: set[str]) -> dict[str, object]:
    """What an environment depends on: a change in any of it means work."""
    digest = hashlib.sha256()
    for path in (LOCK, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(path.read_bytes())
    inputs = digest.hexdigest()
    return {"state": "complete", "root": str(ROOT), "inputs": inputs, "has": sorted(wanted)}


def read_stamp(venv: Path) -> dict[str, object]:
    try:
        stamp = json.loads((venv / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(venv: Path, stamp: dict[str, object]) -> None:
    venv.mkdir(exist_ok=True)
    fresh = venv / f"{STAMP}.new"
    fresh.write_text(json.dumps(stamp))
    fresh.replace(venv / STAMP)


def has(venv: Path) -> set[str]:
    """The sections of the lock that are installed there."""
    found = read_stamp(venv).get("has")
    return set(found) if isinstance(found, list) else set()


def is_current(venv: Path, wanted: set[str]) -> bool:
    """Whether it was made from today's files and has at least these sections."""
    if not (venv / "bin" / "ipvm").exists() or not wanted <= has(venv):
        return False
    return read_stamp(venv) == made_from(has(venv))


def runs(*command: str | Path) -> bool:
    """Whether the command can be started and succeeds."""
    try:
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0


def find_uv() -> str | None:
    uv = shutil.which("uv")
    return uv if uv is not None and runs(uv, "--version") else None


def may_keep(venv: Path) -> bool:
    """Whether packages can be put into what is there: whole, made here, and its Python runs."""
    stamp = read_stamp(venv)
    if stamp and (stamp.get("state") != "complete" or stamp.get("root") != str(ROOT)):
        return False
    suits = "import sys; sys.exit(sys.prefix == sys.base_prefix or sys.version_info < (3, 10))"
    return runs(venv / "bin" / "python", "-Ic", suits)


def without_venv_line() -> str:
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"{sys.executable} cannot make virtual environments: its venv package is missing; "
        f"on Debian or Ubuntu: apt install {name}-venv"
    )


def create(venv: Path, uv: str | None) -> None:
    """An empty environment, marked as unfinished before its first file exists."""
    if venv.exists():
        shutil.rmtree(venv)
    write_stamp(venv, WORKING)
    if uv is not None:
        call(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, venv)
    elif not runs(sys.executable, "-Ic", CAN_MAKE_VENV):
        raise SetupError(without_venv_line())
    else:
        call(sys.executable, "-Im", "venv", venv)


def call(*command: str | Path) -> None:
    unwanted = ("PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in unwanted}
    done = subprocess.run(command, cwd=ROOT, env=env)
    if done.returncode != 0:
        raise SetupError(
            f"'{' '.join(map(str, command[:4]))} …' failed, see above; "
            "the first setup needs a network, later ones do not"
        )


def install(venv: Path, uv: str | None, requirements: Path) -> None:
    """Every package exactly as locked, then the project itself, linked and built offline."""
    python = venv / "bin" / "python"
    if uv is None and not runs(python, "-Im", "pip", "--version"):
        call(python, "-Im", "ensurepip")
    command: tuple[str | Path, ...] = (python, "-Im", "pip", "install", "-qq", "--no-deps")
    offline = "--no-index"
    if uv is not None:
        command = (uv, "pip", "install", "-q", "--no-deps", "--python", python)
        command += ("--compile-bytecode",)
        offline = "--offline"
    call(*command, "--require-hashes", "-r", requirements)
    call(*command, offline, "--no-build-isolation", "-e", ROOT)


def make_with(uv: str | None, venv: Path, text: str) -> None:
    say(f"making {venv.name} with {'uv' if uv else 'pip'}")
    if not may_keep(venv):
        create(venv, uv)
    write_stamp(venv, WORKING)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", prefix="ipvm-lock-") as requirements:
        requirements.write(text)
        requirements.flush()
        install(venv, uv, Path(requirements.name))


def make(venv: Path, wanted: set[str]) -> None:
    """With uv where there is one; with pip where there is none, or where it fails."""
    wanted = wanted | has(venv)
    parts = sections(LOCK.read_text())
    requirements = "".join(parts[name] for name in SECTIONS if name in wanted)
    uv = find_uv()
    try:
        make_with(uv, venv, requirements)
    except SetupError as error:
        if uv is None or not runs(sys.executable, "-Ic", CAN_MAKE_VENV):
            raise
        say(str(error))
        make_with(None, venv, requirements)
    write_stamp(venv, made_from(wanted))
    say(f"done; run {venv / 'bin' / 'ipvm'}")


def say(line: str) -> None:
    print(f"setup: {line}", file=sys.stderr, flush=True)


@contextmanager
def alone(venv: Path) -> Iterator[None]:
    """Two setups at once take turns; the kernel frees the lock of one that dies."""
    folder = ROOT / ".cache"
    folder.mkdir(exist_ok=True)
    with (folder / f"setup{venv.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def main() -> int:
    parser = argparse.ArgumentParser(prog="setup", description="Make .venv with ipvm in it.")
    parser.add_argument("--dev", action="store_true", help="also what tests and checks need")
    parser.add_argument("--full", action="store_true", help="also what is large")
    parser.add_argument("--venv", default=".venv", help="its name under the root (.venv)")
    options = parser.parse_args()
    venv, wanted = ROOT / options.venv, {"runtime", "build"}
    wanted |= {name for name in ("dev", "full") if getattr(options, name)}
    try:
        with alone(venv):
            if not is_current(venv, wanted):
                make(venv, wanted)
    except (SetupError, OSError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next run starts anew")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
