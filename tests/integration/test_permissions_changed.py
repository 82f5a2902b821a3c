"""Files and folders whose permissions somebody took away, for a while or for good."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite.errors import StoreError, UsageError
from lite.files import add_source, left_out
from lite.ipld.unixfs import UNIXFS_V1_2025
from lite.store import Store
from lite.store.home import DATABASE
from tests.integration.conftest import Ipvm
from tests.store_support import keep, raw_block
from tests.unprivileged_support import ended, without_privileges


@pytest.fixture
def used(ipvm: Ipvm, home: Path) -> Path:
    """A home with something in it."""
    assert ipvm("add", "numbers.wasm").status == 0
    return home


@pytest.fixture
def photos(here: Path) -> Iterator[Path]:
    """A folder with one inside that can be locked."""
    locked = here / "photos" / "locked"
    locked.mkdir(parents=True)
    (locked / "a.jpg").write_bytes(b"a")
    yield here / "photos"
    locked.chmod(0o700)


def test_a_database_that_could_only_be_read_for_a_while_can_be_written_again(used: Path) -> None:
    def look() -> None:
        (used / DATABASE).chmod(0o400)
        assert ended("receipt", "list")[0] == 0
        left = used / f"{DATABASE}-shm"
        assert stat.S_IMODE(left.stat().st_mode) == 0o400
        (used / DATABASE).chmod(0o600)
        status, out, err = ended("add", "typed.wasm")
        assert (status, err) == (0, ""), out
        assert not left.exists()
        assert ended("doctor", "--deep")[0] == 0

    without_privileges(look)


def test_a_file_beside_the_database_that_is_anothers_is_named(used: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs to be root, to give a file away")
    left = used / f"{DATABASE}-shm"
    left.write_bytes(b"")
    left.chmod(0o400)
    os.chown(left, 65_534, -1)

    def look() -> None:
        for words in (["add", "typed.wasm"], ["status"]):
            status, _, err = ended(*words)
            assert (status, f"{left} cannot be written, though" in err) == (6, True), err
        status, out, _ = ended("doctor", "--deep", "--repair")
        assert (status, f"✗ store     {left} cannot be written" in out) == (6, True), out
        with pytest.raises(StoreError, match="-shm cannot be written"):
            Store.open(used)

    without_privileges(look)
    left.chmod(0o666)
    with Store.open(used) as store:
        keep(store, raw_block("again"))


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_a_folder_that_may_not_be_entered_is_named(
    ipvm: Ipvm, photos: Path, here: Path, mode: int
) -> None:
    assert ipvm("id").status == 0
    (here / "w.json").write_text('{"steps": {"a": {"run": "photos/locked/a.jpg:f"}}}')
    (photos / "locked").chmod(mode)

    def look() -> None:
        for path in ("photos", "photos/locked"):
            status, out, err = ended("add", path)
            assert (status, out) == (2, "")
            assert err == "ipvm: cannot read photos/locked: Permission denied\n"
        with pytest.raises(UsageError, match="cannot read photos/locked: Permission denied"):
            add_source("photos", lambda _: None, UNIXFS_V1_2025)
        for words in (
            ["add", "photos/locked/a.jpg"],
            ["import", "photos/locked/a.jpg"],
            ["run", "numbers.wasm:add", 1, 2, "--out", "photos/locked/b"],
            ["backup", "photos/locked/b"],
            ["restore", "photos/locked/a.jpg"],
            ["run", "photos/locked/a.jpg"],
            ["run", "photos/locked/a.jpg:f", 1],
            ["inspect", "photos/locked/a.jpg:f"],
            ["workflow", "run", "photos/locked/a.jpg"],
            ["workflow", "run", "photos/locked/w.yaml"],
            ["receipt", "verify", "photos/locked/a.jpg"],
            ["workflow", "run", "w.json"],
            ["ucan", "inspect", "photos/locked/a.jpg"],
            ["run", "typed.wasm:swap", "@photos/locked/a.jpg"],
        ):
            status, _, err = ended(*words)
            assert (status, err.count("\n"), "Permission denied" in err) == (2, 1, True), err
        _, _, err = ended("receipt", "verify", "photos/locked")
        assert err == "ipvm: photos/locked is a folder, not a file\n"

    without_privileges(look)
    (photos / "locked").chmod(0o700)
    assert ipvm("add", "photos").status == 0
    assert left_out(photos) == (0, 0)


def test_doctor_has_a_line_for_a_home_that_may_not_be_entered(used: Path) -> None:
    used.chmod(0)
    try:

        def look() -> None:
            status, out, err = ended("doctor")
            assert (status, err) == (6, "")
            assert f"✗ home      {used} cannot be written" in out
            assert "✗ store" in out

        without_privileges(look)
    finally:
        used.chmod(0o700)
