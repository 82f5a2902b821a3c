"""Run the checks, the wasmer leg and the tests; called by scripts/test and scripts/check.

Each part prints its own output. The tests come last, so that the closing line is theirs. The exit
status is 0 when everything held, else that of the first part that did not.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
BIN = Path(sys.executable).parent
LEG = ROOT / ".venv-3.10"
LEG_TESTS = "tests/integration/test_wasmer.py"
NO_TESTS = 5  # what pytest ends with when it found none
ALONE = "alone"  # the mark of tests that a run with the full numbers measures by themselves
AT_ONCE = min(8, (os.cpu_count() or 1) + 1)  # one more than cores: many tests wait for processes
IS_310 = "import sys; sys.exit(sys.version_info[:2] != (3, 10))"


def run(title: str, *command: str | Path) -> int:
    """Run one part from the root, with its title above and the time it took below."""
    print(f"── {title}", flush=True)
    started = time.monotonic()
    status = subprocess.run(command, cwd=ROOT).returncode
    outcome = "ok" if status == 0 else f"FAILED (exit status {status})"
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
    made = run("wasmer leg, setup", python, install, "--dev", "--venv", LEG.name)
    if made != 0:
        return [made]
    tests = "tests" if full else LEG_TESTS
    return [
        run("wasmer leg, command line", LEG / "bin" / "ipvm", "version"),
        run("wasmer leg, tests", LEG / "bin" / "python", "-m", "pytest", "-q", tests),
    ]


def main(arguments: list[str]) -> int:
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    statuses = checks()
    if "--only-checks" not in arguments:
        leg = wasmer_leg("--full" in arguments)
        paths = [word for word in arguments if (ROOT / word.partition("::")[0]).exists()]
        only_leg = bool(paths) and all(word.startswith(LEG_TESTS) for word in paths)
        statuses += [*leg, run_tests(arguments, only_leg and leg[-1:] == [0])]
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
        first = run("tests with bounds in time", *command, *arguments, "-m", ALONE)
        beside += ["-m", f"not {ALONE}"]
    status = subprocess.run([*command, *beside, *arguments], cwd=ROOT).returncode
    if status == NO_TESTS and passed_elsewhere:
        print("── none of these tests is for this Python; the wasmer leg ran its own", flush=True)
        return 0
    return status if first in (0, NO_TESTS) else first


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
