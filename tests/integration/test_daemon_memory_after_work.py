"""What two real daemons hold after a burst of work: nearly what they held before."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from lite.identity import KEY_FILE
from lite.keys import Key
from lite.store import Store
from tests.integration.conftest import NUMBERS
from tests.meeting_support import Home, befriend, homes, start
from tests.peering_support import receipts
from tests.waiting_support import until
from tests.wat_guests import wat

RECEIPTS = 6_000
MORE_BYTES_MAX = 5_500_000  # 2.6 and 4.2 MB were measured; with all statements kept 6.1 and 7.3 MB
QUIET_S = 75.0  # five looks

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]


def rss(home: Home) -> int:
    pages = Path(f"/proc/{home.running.child.pid}/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()


def test_after_thousands_of_receipts_an_idle_daemon_holds_little_more_than_before(
    tmp_path: Path,
) -> None:
    with homes(tmp_path, wat(NUMBERS), "a", "b") as (a, b):
        start([a, b])
        befriend([a, b])
        assert a.sync()["in_sync"]
        before = {home: rss(home) for home in (a, b)}
        made = receipts(Key.load(a.path / KEY_FILE), RECEIPTS)
        with Store.open(a.path, durability="normal") as store:
            for one in made:
                store.receipts.add(one)
        assert a.sync()["in_sync"]
        for home in (a, b):
            until(lambda home=home: rss(home) - before[home] <= MORE_BYTES_MAX, QUIET_S)
