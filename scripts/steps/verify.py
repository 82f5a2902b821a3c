"""Run the checks, the wasmer leg and the tests; called by scripts/test and scripts/check.

Each part prints its own output. The tests come last, so that the closing line is theirs. The exit
status is 0 when everything held, else that of the first part that did not.

The leg is set up while the checks run, and while Python compiles the tests once for all processes
that will run them; with `--full`, where times are measured, one thing comes after the other.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
LEG = ROOT / ".venv-3.10"
LEG_TESTS = "tests/integration/test_wasmer.py"
NO_TESTS = 5  # what pytest ends with when it found none
ALONE = "alone"  # the mark of tests that a run with the full numbers measures by themselves
AT_ONCE = min(8, (os.cpu_count() or 1) + 2)  # two more than cores: many tests wait for processes
IS_310 = "import sys; sys.exit(sys.version_info[:2] != (3, 10))"


_told = threading.Lock()  # what one part prints stands together


def run(title: str, *command: str | Path, live: bool = False, quiet: bool = False) -> int:
    """Run one part from the root.

    Args:
        live: show what it prints at once; else when it has ended, so that others can run beside it.
        quiet: show it only when the part failed.
    """
    started = time.monotonic()
    if live:
        print(f"── {title}", flush=True)
    into = (None, None) if live else (subprocess.PIPE, subprocess.STDOUT)
    done = subprocess.run(command, cwd=ROOT, stdout=into[0], stderr=into[1])
    status = done.returncode
    outcome = "ok" if status == 0 else f"FAILED (exit status {status})"
    with _told:
        if done.stdout and (status or not quiet):
            print(done.stdout.decode(errors="replace").rstrip("\n"))
        print(f"── {title}: {outcome}, {time.monotonic() - started:.1f} s", flush=True)
    return status


def checks() -> list[int]:
    return [
        run("lint", BIN / "ruff", "check", "--quiet"),
        run("formatting", BIN / "ruff", "format", "--check", "--quiet"),
        run("types", BIN / "mypy"),
        run("imports", BIN / "lint-imports"),
    ]


def python_310() -> str | None:
    """A Python 3.10 that really starts; a shim that only complains is none."""
    candidates: list[str] = [sys.executable, "python3.10"]
    if shutil.which("uv"):
        command = ["uv", "python", "find", "--no-project", "--no-python-downloads", "3.10"]
        found = subprocess.run(command, capture_output=True, text=True)
        candidates += found.stdout.split()
    candidates += map(str, sorted(Path.home().glob(".pyenv/versions/3.10.*/bin/python")))
    for candidate in candidates:
        try:
            done = subprocess.run([candidate, "-c", IS_310], capture_output=True)
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    return None


def wasmer_leg(full: bool) -> list[int]:
    """The second engine's tests, in an environment of its own, or one line on why not."""
    python = python_310()
    reason = ""
    if platform.machine() not in ("x86_64", "AMD64"):
        reason = f"wasmer 1.1.0 has no build for {platform.machine()}"
    elif python is None:
        reason = "no Python 3.10 found (python3.10, uv, ~/.pyenv), and wasmer 1.1.0 needs one"
    if python is None or reason:
        print(f"── wasmer leg: skipped, {reason}", flush=True)
        return []
    install = ROOT / "scripts" / "steps" / "install.py"
    made = run("wasmer leg, setup", python, install, "--dev", "--venv", LEG.name, live=full)
    if made != 0:
        return [made]
    tests = "tests" if full else LEG_TESTS
    return [
        run("wasmer leg, command line", LEG / "bin" / "ipvm", "version"),
        run("wasmer leg, tests", LEG / "bin" / "python", "-m", "pytest", "-q", tests, live=full),
    ]


def find_tests() -> int:
    """Let Python find all tests once, and keep what it compiled."""
    command = [BIN / "python", "-m", "pytest", "--collect-only", "-qq"]
    return run("finding the tests", *command, quiet=True)


def main(arguments: list[str]) -> int:
    """The exit status of the first part that failed, else 0."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if "--only-checks" in arguments:
        return first_bad(checks())
    paths = [word for word in arguments if (ROOT / word.partition("::")[0]).exists()]
    if "--full" in arguments:
        statuses, leg = checks(), wasmer_leg(full=True)
    else:
        with ThreadPoolExecutor(1) as beside:
            other = beside.submit(wasmer_leg, full=False)
            statuses = [*checks(), *([] if arguments else [find_tests()])]
            leg = other.result()
    only_leg = bool(paths) and all(word.startswith(LEG_TESTS) for word in paths)
    tests = run_tests(arguments, only_leg and leg[-1:] == [0])
    return first_bad([*statuses, *leg, tests])


def first_bad(statuses: list[int]) -> int:
    return next((status for status in statuses if status != 0), 0)


def run_tests(arguments: list[str], passed_elsewhere: bool) -> int:
    """pytest itself, whose closing line is the last one printed when all parts held.

    Args:
        passed_elsewhere: only tests of the leg were asked for, and it ran them.
    """
    command = [str(BIN / "python"), "-m", "pytest", "-q"]
    beside = ["-n", str(AT_ONCE)]
    first = 0
    if "--full" in arguments and "-m" not in arguments:
        first = run("tests with bounds in time", *command, *arguments, "-m", ALONE, live=True)
        beside += ["-m", f"not {ALONE}"]
    status = subprocess.run([*command, *beside, *arguments], cwd=ROOT).returncode
    if status == NO_TESTS and passed_elsewhere:
        print("── none of these tests is for this Python; the wasmer leg ran its own", flush=True)
        return 0
    return status if first in (0, NO_TESTS) else first


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
