"""A store and a node without guests, under a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.store import Store
from tests.scheduler_support import Lab
from tests.store_support import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(home: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(home, durability="normal", clock=clock) as opened:
        yield opened


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Its clock is the machine's."""
    made = Lab(tmp_path / "home")
    yield made
    made.close()
