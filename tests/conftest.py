"""Options and fixtures that every test may use.

`pytest --full` runs the seeded and long tests with their full numbers. Everything is
deterministic: hypothesis derives its examples from the test itself, so that a failure on one
machine is a failure on all. Bytecode is kept whatever the environment says: without it each of
the hundreds of processes that tests start would compile all that it imports.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lite.store import schema
from tests.disk_support import small_disk

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).resolve().parent.parent

SLOW_MACHINE = [HealthCheck.too_slow, HealthCheck.differing_executors]

settings.register_profile(
    "default",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=False,
    suppress_health_check=SLOW_MACHINE,
)
settings.register_profile("full", settings.get_profile("default"), max_examples=2_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--full",
        action="store_true",
        default=False,
        help="run seeded and long tests with their full numbers",
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("full" if config.getoption("--full") else "default")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    skip = pytest.mark.skip(reason="long: runs with --full")
    for item in items:
        if "full" in item.keywords:
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Thousands of collected tests live to the end; let no collection of garbage walk them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether this is a run with the full numbers."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def scaled(full: bool) -> Callable[[int, int], int]:
    """`scaled(n_default, n_full)` is how many rounds a loop makes in this run."""
    return lambda n_default, n_full: n_full if full else n_default


@pytest.fixture(scope="session", autouse=True)
def one_schema() -> Iterator[None]:
    """Of the thousands of stores that tests make in their own process the first is made as always,
    the others from a copy of its empty database: that takes a tenth of the time."""
    real, names = schema.migrate, schema.MIGRATIONS
    made: list[sqlite3.Connection] = []

    def migrate(connection: sqlite3.Connection, wanted: Sequence[str]) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version or wanted is not names:
            real(connection, wanted)
        elif made:
            made[0].backup(connection)
        else:
            real(connection, wanted)
            made.append(sqlite3.connect(":memory:", check_same_thread=False))
            connection.backup(made[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema, "migrate", migrate)
        yield
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The folder of other projects' test vectors; the test is skipped where it is absent."""
    told = os.environ.get("IPVM_VECTORS")
    folder = Path(told) if told else ROOT.parent / "shared" / "vectors"
    if not folder.is_dir():
        pytest.skip(f"no test vectors at {folder}: set IPVM_VECTORS to their folder")
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that does not exist yet; IPVM_HOME names it and no other IPVM_* setting is left."""
    for name in list(os.environ):
        if name.startswith("IPVM_") and name != "IPVM_VECTORS":
            monkeypatch.delenv(name)
    path = tmp_path / "home"
    monkeypatch.setenv("IPVM_HOME", str(path))
    return path


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small file system of its own; `DISK` of the test's module are the options of its mount."""
    with small_disk(tmp_path / "disk", request.module.DISK) as made:
        yield made
