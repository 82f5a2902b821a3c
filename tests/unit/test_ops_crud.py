"""crud/*: files below one folder, nothing outside of it, and nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lite.engine.base import GuestFailure, Outcome
from lite.engine.job import Content
from lite.errors import QueuedError
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.limits import Limits
from lite.ops import rooted
from lite.ops.arguments import Bytes
from lite.ops.base import is_transient
from lite.ops.crud import Destroy, Read, Update, path_of
from lite.ops.rooted import WRITING, Root
from tests.ops_support import config, ready

OPS = {"read": Read, "update": Update, "destroy": Destroy}
Call = Callable[..., Outcome]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    folder = tmp_path / "top"
    folder.mkdir()
    (tmp_path / "secret").write_text("outside")
    return folder


@pytest.fixture
def call(top: Path) -> Call:
    def ask(verb: str, path: str, given: dict[str, Any] | None = None, **more: Any) -> Outcome:
        op = OPS[verb](config(top.parent, crud_root=str(top)))
        return op.run(ready(f"file://{path}", op.name, given, **more))

    return ask


def code(outcome: Outcome) -> str:
    assert outcome.error is not None, outcome.ok
    return str(outcome.error["code"])


def test_a_file_is_written_read_and_removed(call: Call, top: Path) -> None:
    assert call("update", "/a/b/c.txt", {"body": "hello"}).ok == {"bytes": 5}
    assert (top / "a/b/c.txt").read_text() == "hello"
    assert call("read", "/a/b/c.txt").ok == b"hello"
    assert call("destroy", "/a/b/c.txt").ok == {}
    assert not (top / "a/b/c.txt").exists()
    assert code(call("read", "/a/b/c.txt")) == "no-such-file"
    assert list((top / WRITING).iterdir()) == []


def test_levels() -> None:
    assert [op.level for op in OPS.values()] == [
        "query",
        "idempotent-mutation",
        "idempotent-mutation",
    ]


def test_removing_what_is_not_there_is_no_error(call: Call) -> None:
    assert call("destroy", "/none").ok == {}
    assert call("destroy", "/none/below/none").ok == {}


def test_a_link_to_a_file_is_its_bytes(call: Call, top: Path, tmp_path: Path) -> None:
    file = CID.of(b"linked", RAW)
    call("update", "/f", {"body": file}, content={file: Content("file", b"linked")})
    assert (top / "f").read_bytes() == b"linked"
    large = tmp_path / "large"
    large.write_bytes(os.urandom(3 << 20))
    call("update", "/f", {"body": file}, content={file: Content("file", large)})
    assert (top / "f").read_bytes() == large.read_bytes()
    value = CID.of(b"\x01", DAG_CBOR)
    refused = call("update", "/f", {"body": value}, content={value: Content("value", b"\x01")})
    assert code(refused) == "bad-argument"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/a/../../secret",
        "/%2e%2e/secret",
        "/..%2fsecret",
        "/a%00b",
        "//secret",
        "/a//b",
        "/a/",
        "/",
        "/./a",
        "/a?x",
        "/a#x",
        "host/a",
        "/%ff",
        f"/{WRITING}/x",
        f"/{WRITING.upper()}/x",
        "/" + "x" * 256,
        "/a" * 65,
    ],
)
def test_a_path_that_is_not_plainly_below_is_refused(call: Call, top: Path, path: str) -> None:
    for verb in OPS:
        assert code(call(verb, path, {"body": b""} if verb == "update" else {})) == "bad-argument"
    assert (top.parent / "secret").read_text() == "outside"


@given(st.lists(st.sampled_from(["..", ".", "%2e", "%2E%2E", "%2f", "a", "", "%5c", "%252e"])))
def test_no_path_that_is_accepted_goes_up(parts: list[str]) -> None:
    try:
        found = path_of("file:///" + "/".join(parts))
    except GuestFailure:
        return
    assert found
    assert all(part not in ("", ".", "..") and "/" not in part for part in found)


def test_links_are_followed_nowhere(call: Call, top: Path) -> None:
    outside = top.parent / "outside"
    outside.mkdir()
    (outside / "f").write_text("outside")
    (top / "folder").symlink_to(outside)
    (top / "file").symlink_to(top.parent / "secret")
    (top / "inside").symlink_to(top)
    for path in ("/folder/f", "/file", "/inside/x"):
        assert code(call("read", path)) == "not-a-file"
        assert code(call("update", path, {"body": b"x"})) == "not-a-file"
        assert code(call("destroy", path)) == "not-a-file"
    assert (top.parent / "secret").read_text() == (outside / "f").read_text() == "outside"
    assert (top / "file").is_symlink()


def test_a_link_that_is_swapped_in_does_not_lead_out(top: Path) -> None:
    """One thread exchanges a folder and a link to the outside; no read ever sees the outside."""
    outside = top.parent / "outside"
    for folder, text in ((top / "real", "inside"), (outside, "outside")):
        folder.mkdir()
        (folder / "f").write_text(text)
    (top / "spare").symlink_to(outside)
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            (top / "real").rename(top / "was")
            (top / "spare").rename(top / "real")
            (top / "real").rename(top / "spare")
            (top / "was").rename(top / "real")

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(1000):
            try:
                seen.add(Root(top).read(("real", "f"), 100))
            except GuestFailure as failure:
                seen.add(failure.code.encode())
    finally:
        done.set()
        thread.join()
    assert b"outside" not in seen
    assert Root(top).read(("real", "f"), 100) == b"inside"


def test_a_link_in_the_place_of_a_folder_that_is_open_does_not_lead_out(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = top.parent / "outside"
    for folder, text in ((top / "real", "inside"), (outside, "outside")):
        folder.mkdir()
        (folder / "f").write_text(text)
    mode = rooted._mode

    def swap(parts: tuple[str, ...], parent: int) -> int | None:
        (top / "real").rename(top / "was")
        (top / "real").symlink_to(outside)
        return mode(parts, parent)

    monkeypatch.setattr(rooted, "_mode", swap)
    assert Root(top).read(("real", "f"), 100) == b"inside"
    (top / "real").unlink()
    (top / "was").rename(top / "real")
    Root(top).write(("real", "f"), Bytes.of(b"new"), "label")
    assert ((top / "was" / "f").read_text(), (outside / "f").read_text()) == ("new", "outside")


def test_only_regular_files_are_touched(call: Call, top: Path) -> None:
    os.mkfifo(top / "pipe")
    (top / "folder").mkdir()
    (top / "plain").write_text("")
    for path in ("/pipe", "/folder", "/plain/x"):
        for verb in OPS:
            given = {"body": b""} if verb == "update" else {}
            assert code(call(verb, path, given)) == "not-a-file"
    assert (top / "pipe").is_fifo()


def test_a_device_is_not_read(tmp_path: Path) -> None:
    op = Read(config(tmp_path, crud_root="/dev"))
    assert code(op.run(ready("file:///zero", op.name))) == "not-a-file"


def test_a_file_over_the_limit_is_not_read(call: Call, top: Path) -> None:
    (top / "f").write_bytes(bytes(1001))
    refused = call("read", "/f", limits=Limits(output_bytes=1000))
    assert (code(refused), refused.error["limit"]) == ("output-limit", 1000)  # type: ignore[index]
    assert call("read", "/f", limits=Limits(output_bytes=1001)).ok == bytes(1001)


def test_a_file_that_is_replaced_keeps_its_permissions(call: Call, top: Path) -> None:
    (top / "f").write_text("old")
    (top / "f").chmod(0o640)
    call("update", "/f", {"body": "new"})
    assert (top / "f").stat().st_mode & 0o777 == 0o640


def test_others_see_the_old_file_or_the_new_one(top: Path) -> None:
    root, sizes = Root(top), (100_000, 200_000)
    root.write(("f",), Bytes.of(b"x" * sizes[0]), "first")
    done = threading.Event()

    def write() -> None:
        for turn in range(60):
            root.write(("f",), Bytes.of(b"x" * sizes[turn % 2]), f"t{turn}")
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = set()
    while not done.is_set():
        seen.add(len(root.read(("f",), 1 << 20)))
    thread.join()
    assert seen <= set(sizes)


KILLED = """
import os, sys
from pathlib import Path
from lite.ops import rooted
from lite.ops import rooted
from lite.ops.arguments import Bytes

os.replace = lambda *_, **__: os._exit(9)
rooted.Root(Path(sys.argv[1])).write(("f",), Bytes.of(b"new"), "label")
"""


def test_what_a_killed_process_left_goes_with_the_next_write(top: Path, root: Path) -> None:
    (top / "f").write_text("old")
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", KILLED, str(top)], env=env, timeout=60)
    assert done.returncode == 9
    assert (top / "f").read_text() == "old"
    assert len(list((top / WRITING).iterdir())) == 1
    Root(top).write(("g",), Bytes.of(b"1"), "other")
    assert list((top / WRITING).iterdir()) == []


def test_a_file_that_is_being_written_is_left_alone(top: Path) -> None:
    inner = Root(top)
    seen: list[list[str]] = []

    class Slow(Bytes):  # type: ignore[misc]
        def chunks(self) -> Any:
            yield b"a"
            inner.write(("other",), Bytes.of(b""), "inner")
            seen.append([path.name for path in (top / WRITING).iterdir()])
            yield b"b"

    Root(top).write(("f",), Slow(b"", 2), "outer")
    assert (top / "f").read_text() == "ab"
    assert len(seen[0]) == 1


def test_without_a_folder_every_step_waits(tmp_path: Path) -> None:
    for kind in OPS.values():
        op = kind(config(tmp_path))
        asked = ready("file:///f", op.name)
        for method in (op.missing, op.run):
            with pytest.raises(QueuedError) as caught:
                method(asked)
            assert "ops.crud_root" in str(caught.value.hint)


def test_a_folder_that_is_gone_makes_it_wait_and_is_not_named(tmp_path: Path) -> None:
    op = Read(config(tmp_path, crud_root=str(tmp_path / "gone")))
    with pytest.raises(QueuedError) as caught:
        op.run(ready("file:///f", op.name))
    assert str(tmp_path) not in str(caught.value)


def test_a_full_disk_may_be_tried_again(call: Call, top: Path, monkeypatch: Any) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    (top / WRITING).mkdir()
    (top / "f").write_text("old")
    refused = call("update", "/f", {"body": "new"})
    assert code(refused) == "file-error"
    assert is_transient(refused.error or {})
    assert str(top) not in str(refused.error)
    assert (top / "f").read_text() == "old"
    assert list((top / WRITING).iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        ("read", {"body": b""}),
        ("update", {}),
        ("update", {"body": 1}),
        ("update", {"body": {"status": 200, "body": b""}}),
        ("destroy", {"force": True}),
    ],
)
def test_input_that_does_not_fit_is_named(call: Call, verb: str, given: dict[str, Any]) -> None:
    refused = call(verb, "/f", given)
    assert code(refused) == "bad-argument"
    assert (next(iter(given), "body")) in str(refused.error)


@pytest.mark.parametrize("verb", ["read", "update", "destroy"])
def test_what_belongs_to_the_node_is_closed_wherever_the_folder_is(
    top: Path, tmp_path: Path, verb: str
) -> None:
    """A folder around the home would hand out its key, and its settings to be rewritten."""
    home = top / "deep" / "home"
    home.mkdir(parents=True)
    (home / "key").write_text("key")
    (top / "alias").symlink_to(home)
    (top / "programs.toml").write_text("")
    settings = {"crud_root": str(top), "exec": str(top / "programs.toml")}
    settings["http_netrc"] = str(top / "not" / "there" / "yet")
    (top / "not" / "there").mkdir(parents=True)
    op = OPS[verb](config(home, **settings))
    given = {"body": b"x"} if verb == "update" else {}
    for path in ("deep/home/key", "deep/home", "alias/key", "programs.toml", "not/there/yet"):
        denied = op.run(ready(f"file:///{path}", op.name, given))
        assert code(denied) in ("file-denied", "not-a-file"), path
    assert (home / "key").read_text() == "key"
    assert (top / "programs.toml").read_text() == ""
    assert not (top / "not" / "there" / "yet").exists()
    (top / "deep" / "key").write_text("another")
    assert op.run(ready("file:///deep/key", op.name, given)).error is None
    for folder in (home, top / "alias"):
        inside = OPS[verb](config(home, crud_root=str(folder)))
        with pytest.raises(QueuedError, match="belongs to the node"):
            inside.run(ready("file:///key", inside.name, given))
