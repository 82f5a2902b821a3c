"""House rules that a reader would otherwise have to check by eye."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

TOP_LEVEL = {
    "CHANGELOG.md", "LICENSE", "README.md", "examples", "lite", "pyproject.toml",
    "requirements.lock", "scripts", "sync", "tests",
}  # fmt: skip

# Where the time of day, randomness and the environment may be read, and why there.
ALLOWED = {
    "lite/clock.py": {"time.time": "it is the wall clock"},
    "lite/daemon/lean.py": {"os.environ": "OpenSSL finds no roots while aiohttp is loaded"},
    "lite/daemon/place.py": {"os.urandom": "the token of a daemon, and the epoch of its events"},
    "lite/engine/cache.py": {"os.urandom": "the secret that marks this node's own files"},
    "lite/environment.py": {"os.environ": "it is the one reader of variables"},
    "lite/keys.py": {"os.urandom": "keys and nonces are random by design"},
    "lite/store/runs.py": {"os.urandom": "ids of runs, unlike those of any other home"},
    "sync/keys.py": {"os.urandom": "keys and nonces are random by design"},
    "sync/wall.py": {"time.time": "it is the wall clock of the parts that meet the world"},
}

WORLD = re.compile(
    r"^(time\.(time|time_ns)"
    r"|datetime\.(datetime\.|date\.)?(now|utcnow|today)"
    r"|random|random\..*|secrets|secrets\..*|uuid\.uuid.*"
    r"|os\.(environ|environb|getenv|putenv|urandom|getrandom)"
    r"|nacl\.utils\.random)$"
)

# These read the wall clock when they get no time to work on: name, arguments that are enough.
CONVERSIONS = {"time.gmtime": 1, "time.localtime": 1, "time.ctime": 1, "time.strftime": 2}

# Written in pieces, so that this file does not hold them.
UNWANTED = re.compile(
    r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b"
    r"|(?i:\bfor n" + r"ow\b|\bplace" + r"holder\b|\bassist" + r"ant\b|\bissue #?\d)"
    r"|/wo" + r"rk/|/ro" + r"ot/|\bpypi\.o" + r"rg|pythonho" + r"sted|registry\.npm"
    r"|(?i:\b(this|next|last|previous|our|my) sess" + r"ion\b)"
)


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def facts(path: Path) -> tuple[list[str], set[str]]:
    """Long functions, and names that read the world; the tree itself is not kept."""
    tree = ast.parse(path.read_text())
    return list(long_functions(tree)), set(world_names(tree))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def texts() -> Iterator[tuple[str, str]]:
    """Every text file that belongs to the project."""
    tops = [ROOT / entry for entry in sorted(TOP_LEVEL)] + [ROOT / ".ci", ROOT / ".gitignore"]
    for top in tops:
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts:
                try:
                    yield name(path), path.read_text("utf-8")
                except UnicodeDecodeError:
                    continue


def dotted(node: ast.expr) -> str:
    """`os.environ` for the expression that says so, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def world_names(tree: ast.Module) -> Iterator[str]:
    """Names in a module that read the time of day, randomness or the environment."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and WORLD.match(dotted(node)):
            yield dotted(node)
        elif isinstance(node, ast.Call) and (called := dotted(node.func)) in CONVERSIONS:
            if len(node.args) < CONVERSIONS[called]:
                yield called
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if WORLD.match(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (text for text in full if WORLD.match(text))


def long_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name}: {lines} lines"


def test_no_file_is_longer_than_the_limit() -> None:
    lengths = {
        name(path): len(path.read_text().splitlines())
        for path in python_files("lite", "sync", "scripts", "tests", "examples")
    }
    assert {file: lines for file, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


@pytest.mark.parametrize("folder", ["lite", "sync", "scripts"])
def test_no_function_is_longer_than_the_limit(folder: str) -> None:
    found = {name(path): long for path in python_files(folder) if (long := facts(path)[0])}
    assert found == {}


def test_time_of_day_randomness_and_environment_are_read_in_known_places() -> None:
    found = {
        f"{name(path)}: {world}"
        for path in python_files("lite", "sync")
        for world in facts(path)[1]
        if world not in ALLOWED.get(name(path), {})
    }
    assert found == set()


def test_what_is_allowed_somewhere_is_used_there() -> None:
    for file, names in ALLOWED.items():
        assert set(names) <= facts(ROOT / file)[1]


def test_no_unwanted_words() -> None:
    found = [
        f"{file}:{number}: {line.strip()[:80]}"
        for file, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if UNWANTED.search(line)
    ]
    assert found == []


def test_nothing_else_lies_at_the_top() -> None:
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    found = {
        path.name
        for path in ROOT.iterdir()
        if not path.name.startswith(".") and not any(fnmatch(path.name, one) for one in ignored)
    }
    assert found == TOP_LEVEL


def test_every_test_file_has_a_docstring() -> None:
    bare = [
        name(path)
        for path in python_files("lite", "sync", "tests", "scripts")
        if (text := path.read_text().strip()) and not text.startswith('"""')
    ]
    assert bare == []
