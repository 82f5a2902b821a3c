"""What doctor says of a database that can be opened, and not read on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Ipvm

PAGE_BYTES = 4096
PAGES_CHANGED = 3
EACH = 4  # pages of the database, from the second on; the first opens it


@pytest.mark.parametrize("how", [(), ("--deep",), ("--deep", "--repair")], ids=" ".join)
def test_doctor_goes_on_past_pages_that_cannot_be_read(
    ipvm: Ipvm, home: Path, how: tuple[str, ...]
) -> None:
    assert ipvm("run", "numbers.wasm:add", 1, 1).status == 0
    assert ipvm("doctor", "--deep").status == 0
    path = home / "ipvm.db"
    assert not (home / "ipvm.db-wal").exists()
    whole, seen = path.read_bytes(), set[str]()
    for page in range(1, len(whole) // PAGE_BYTES - PAGES_CHANGED, EACH):
        at, end = page * PAGE_BYTES, (page + PAGES_CHANGED) * PAGE_BYTES
        path.write_bytes(whole[:at] + b"x\n" * ((end - at) // 2) + whole[end:])
        ended = ipvm("doctor", "--json", *how)
        assert ended.status == 7, page
        checks = ended.json["checks"]
        failed = {c["name"]: c["hint"] for c in checks if c["state"] == "failed"}
        opened = any(c["name"] == "clock" for c in checks)
        assert ("--repair" if opened else "ipvm restore") in failed["store"], page
        assert "✗ store" in ipvm("doctor", *how).text
        seen |= failed.keys() if opened else set()
    assert seen == {"store", "clock", "rights"}
