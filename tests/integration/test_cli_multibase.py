"""CIDs in base64, whose digits may be slashes, stand wherever a path or a CID may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lite.errors import UsageError
from lite.ipld import multibase
from lite.ipld.cid import CID, RAW, is_cid, root_and_path
from lite.model.instruction import Instruction
from tests.integration.conftest import Ipvm

BASES = ("base64", "base64pad")


def in_base64(cid: CID | str, base: str = "base64") -> str:
    return multibase.encode((CID.parse(cid) if isinstance(cid, str) else cid).raw, base)


def with_slash(base: str, file: Path, data: bytes = b"") -> str:
    """Make a file that in base64 has a slash in its CID; the CID. Behind the data stands white
    space of some length."""
    texts = (data + b"\n" * n for n in range(1, 99))
    found = next(text for text in texts if "/" in in_base64(CID.of(text, RAW), base))
    file.write_bytes(found)
    return in_base64(CID.of(found, RAW), base)


@pytest.mark.parametrize("base", BASES)
def test_a_cid_with_slashes_ends_where_it_says(base: str) -> None:
    texts = [in_base64(CID.of(b"%d" % n, RAW), base) for n in range(300)]
    assert sum("/" in text for text in texts) > 50
    for text in texts:
        assert root_and_path(text) == (text, "", "")
        assert root_and_path(f"{text}/a/b") == (text, "/", "a/b")
        assert root_and_path(f"{text}/") == (text, "/", "")
        assert is_cid(text) and not is_cid(f"{text}/a")
    for other in ("my/file", "m/", "M", "", "/m", "mAVUS/IHhw/x", "m" + "/" * 9_000):
        assert root_and_path(other) == other.partition("/")


@pytest.mark.parametrize("base", BASES)
def test_files_and_paths_are_read_by_such_cids(ipvm: Ipvm, here: Path, base: str) -> None:
    docs = here / "docs"
    docs.mkdir()
    cid = with_slash(base, docs / "note", b"some words")
    for n in range(99):
        (docs / "note2").write_text(f"{n}")
        folder = in_base64(ipvm("add", "docs").text.strip(), base)
        if "/" in folder:
            break
    assert "/" in folder
    for scheme in ("", "ipfs://"):
        for ref in (cid, f"{folder}/note"):
            assert ipvm("cat", scheme + ref).text.strip() == "some words"
    assert [row["name"] for row in ipvm("ls", folder, "--json").json["entries"]] == [
        "note",
        "note2",
    ]
    assert ipvm("name", "set", "note", cid).status == 0
    assert ipvm("cat", "note").text.strip() == "some words"


def test_modules_workflows_arguments_and_receipts_are_named_by_such_cids(
    ipvm: Ipvm, here: Path
) -> None:
    text = {"name": "w", "steps": {"a": {"run": "typed.wasm:length", "args": ["abc"]}}}
    file = with_slash("base64", here / "w.json", json.dumps(text).encode())
    ipvm("add", "w.json")
    (here / "w.json").unlink()
    module = ipvm("add", "typed.wasm", "--name", "typed.wasm").text.strip()
    assert ipvm("workflow", "run", file).status == 0
    ran = ipvm("run", f"{in_base64(module)}:length", "abc", "--json").json
    assert (ran["ok"], ran["value"]) == (True, 3)
    receipts = [
        ipvm("run", "typed.wasm:length", "x" * n, "--json").json["receipt"] for n in range(12)
    ]
    receipt = next(one for one in map(in_base64, receipts) if "/" in one)
    assert ipvm("receipt", "verify", receipt).status == 0
    assert ipvm("why", receipt).status == 0
    note = with_slash("base64", here / "note", b"[1, 2]")
    ipvm("add", "note")
    fed = ipvm("run", "typed.wasm:swap", note, "--json")
    assert "not a" not in fed.err and fed.json["error"]["code"] == "bad-argument"


def test_a_file_of_that_very_name_goes_first(ipvm: Ipvm, here: Path) -> None:
    cid = with_slash("base64", here / "note", b"no module")
    ipvm("add", "note")
    named = here / cid
    named.parent.mkdir(parents=True, exist_ok=True)
    named.write_bytes((here / "numbers.wasm").read_bytes())
    assert ipvm("run", f"{cid}:add", 1, 2).text == "3\n"
    named.unlink()
    assert "not WebAssembly" in ipvm("run", f"{cid}:add", 1, 2).err


def test_in_the_uri_of_an_instruction_a_slash_is_a_path() -> None:
    cid = next(c for c in (CID.of(b"%d" % n, RAW) for n in range(99)) if "/" in in_base64(c))
    with pytest.raises(UsageError, match="is not a CID"):
        Instruction(f"ipfs://{in_base64(cid)}", "wasm/run", {})
