"""What a node says of the space that it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite.config import Config
from lite.peering import means
from lite.peering.means import Means
from lite.peering.storing import ROOM_BYTES
from lite.store.reserve import RECEIPTS
from lite.store.room import LARGE_BYTES
from tests.store_support import FakeClock


@pytest.mark.parametrize(
    ("free", "full"), [(0, True), (LARGE_BYTES - 1, True), (LARGE_BYTES, False), (None, False)]
)
def test_a_disk_without_room_is_full_before_what_was_kept_back_is_used(
    home: Path, monkeypatch: pytest.MonkeyPatch, free: int | None, full: bool
) -> None:
    home.mkdir(exist_ok=True)
    found = Means(Config.defaults(home), FakeClock(), metered=False)
    found.keep()
    assert found.full == ""
    monkeypatch.setattr(means, "free_bytes", lambda _path: free)
    assert ("the disk is full" in found.full) == full
    assert [text for text in found.problems() if "full" in text] == [found.full] * full


@pytest.mark.parametrize(
    ("kept", "free", "said"),
    [
        (True, 0, "blocks of peers are refused, receipts have what is kept back"),
        (False, 0, "nothing is kept back for receipts of peers, and blocks of theirs are refused"),
        (False, ROOM_BYTES, "nothing is kept back for receipts of peers"),
    ],
)
def test_a_full_disk_says_what_is_kept_back_and_what_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, kept: bool, free: int, said: str
) -> None:
    """`kept`: no receipt has needed what is kept back, such as where no peer is connected."""
    home.mkdir(exist_ok=True)
    found = Means(Config.defaults(home), FakeClock(), metered=False)
    found.keep()
    if not kept:
        (home / RECEIPTS).unlink()
    monkeypatch.setattr(means, "free_bytes", lambda _path: free)
    assert found.full == f"the disk is full: {said}"


def test_a_home_that_is_gone_is_said_to_be(home: Path) -> None:
    found = Means(Config.defaults(home), FakeClock(), metered=False)
    assert found.full == f"the home {home} is not there any more"
