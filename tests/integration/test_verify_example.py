"""The independent checker in examples/verify, on files made here block by block."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.ipld import dag_cbor, unixfs
from lite.ipld.block import Block
from lite.ipld.car import write_car
from lite.ipld.cid import CID, DAG_CBOR, RAW
from lite.keys import Key
from lite.model.instruction import Instruction, wasm
from lite.model.receipt import Receipt
from lite.model.result import Result
from lite.ucan import envelope

Check = Callable[[bytes], str]

KEY = Key.from_seed(bytes(range(32)))
NOW = 1_700_000_000
TINY = unixfs.Profile("tiny", 40, 2)
CODE = Block.make(b"\0asm\1\0\0\0", RAW)
INPUT = Block.make(b"a photo", RAW)
CROP = wasm(CODE.cid, "crop", INPUT.cid, 0.5)
OTHER = wasm(CODE.cid, "grow", 2)


def token(receipt: Receipt) -> Block:
    return Block(receipt.cid, receipt.data)


def block(instruction: Instruction) -> Block:
    return Block(instruction.cid, instruction.data)


def car(blocks: Sequence[Block], roots: Sequence[CID] | None = None) -> bytes:
    out = io.BytesIO()
    write_car(out, [blocks[0].cid] if roots is None else roots, blocks)
    return out.getvalue()


def linked_output() -> tuple[Receipt, list[Block]]:
    """A receipt whose output is a file of 4 leaves under 3 nodes, and the file's blocks."""
    blocks: list[Block] = []
    data = random.Random(1).randbytes(150)
    root = unixfs.write_file(io.BytesIO(data), blocks.append, TINY)
    receipt = Receipt.issue(KEY, CROP, Result.of_ok(root), now=NOW, linked="file", nonce=bytes(12))
    return receipt, blocks


PLAIN = Receipt.issue(KEY, CROP, Result.of_ok(42), now=NOW, meta={"x": 1.5}, nonce=bytes(12))
LINKED, FILE = linked_output()
SMALL = [token(PLAIN), block(CROP)]
LARGE = [token(LINKED), block(CROP), *FILE, CODE, INPUT]


def version_0(data: bytes, *links: CID) -> Block:
    """A UnixFS file as IPFS tools made it for years: dag-pb, also its leaves, under `Qm…`."""

    def field(number: int, value: bytes) -> bytes:
        return bytes((number << 3 | 2, len(value))) + value

    node = b"".join(field(2, field(1, link.raw)) for link in links)
    node += field(1, b"\x08\2" + (b"" if links else field(2, data)) + bytes((0x18, len(data))))
    return Block(CID.from_bytes(b"\x12\x20" + hashlib.sha256(node).digest()), node)


@pytest.fixture(scope="module")
def script(root: Path) -> Path:
    return root / "examples" / "verify" / "verify.py"


@pytest.fixture(scope="module")
def check(script: Path) -> Check:
    spec = importlib.util.spec_from_file_location("verify_example", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Check = module.check
    return found


def refused(check: Check, data: bytes, problem: str = ".") -> None:
    with pytest.raises(Exception, match=problem):
        check(data)


def test_it_is_short_and_knows_nothing_of_this_package(script: Path) -> None:
    text = script.read_text()
    assert sum(1 for line in text.splitlines() if line.strip()) <= 60
    assert "import lite" not in text
    assert "from lite" not in text


@pytest.mark.parametrize(
    "blocks",
    [
        SMALL,
        [*SMALL, CODE],
        [*SMALL, INPUT],
        LARGE,
        [LARGE[0], *reversed(LARGE[1:])],
        [Block.make(PLAIN.data, DAG_CBOR), *SMALL[1:]],
    ],
)
def test_a_sound_file_says_who_what_and_out(check: Check, blocks: list[Block]) -> None:
    said = check(car(blocks)).splitlines()
    assert said[0] == f"who   {KEY.did}"
    assert said[1].startswith("what  {'op': 'wasm/run', 'nnc': '', 'rsc': 'ipfs://baf")
    assert said[2].startswith("out   {'ok': ")


def test_links_are_shown_as_the_text_of_their_cids(check: Check) -> None:
    said = check(car(LARGE)).splitlines()
    assert f"'args': ['{INPUT.cid}', 0.5]" in said[1]
    assert said[2] == f"out   {{'ok': '{LINKED.out.body}'}}"
    assert "CBORTag" not in "".join(said)


def test_an_input_of_version_0_is_checked_and_shown_as_such(check: Check) -> None:
    leaf = version_0(b"\x12 an old photo, in which \x12 stands as well")
    photo = version_0(b"of it all", leaf.cid, leaf.cid)
    crop = wasm(CODE.cid, "crop", photo.cid, 0.5)
    receipt = Receipt.issue(KEY, crop, Result.of_ok([photo.cid, INPUT.cid]), now=NOW)
    kept = [token(receipt), block(crop)]
    for blocks in ([], [photo, leaf], [leaf, INPUT, photo]):
        said = check(car([*kept, *blocks])).splitlines()
        assert f"'args': ['{photo.cid}', 0.5]" in said[1] and str(photo.cid).startswith("Qm")
        assert said[2] == f"out   {{'ok': ['{photo.cid}', '{INPUT.cid}']}}"
    refused(check, car([*kept, photo]), "a block is missing")
    refused(check, car([*kept, leaf]), "linked from nowhere")
    changed = car([*kept, photo, leaf]).replace(b"an old photo", b"an odd photo")
    refused(check, changed, "wrong hash")


def test_what_a_file_holds_is_no_link(check: Check) -> None:
    """An archive as the input, in one block of dag-pb: there are CIDs in it."""
    inside = version_0(b"\x0a\x22" + INPUT.cid.raw + CODE.cid.raw[:4] + bytes(32))
    crop = wasm(CODE.cid, "crop", inside.cid, 0.5)
    receipt = Receipt.issue(KEY, crop, Result.of_ok(1), now=NOW)
    assert check(car([token(receipt), block(crop), inside]))


def test_any_changed_byte_is_noticed(check: Check, scaled: Callable[[int, int], int]) -> None:
    data = car(LARGE)
    assert len(data) < 2500
    check(data)
    rng = random.Random(2)
    for at in range(len(data)):
        for flip in rng.sample(range(1, 256), scaled(8, 255)):
            changed = bytearray(data)
            changed[at] ^= flip
            refused(check, bytes(changed))


def test_any_cut_and_any_addition_is_noticed(check: Check) -> None:
    data = car(LARGE[: 2 + len(FILE)])
    check(data)
    for size in range(len(data)):
        refused(check, data[:size])
    for more in (b"\0", b"\1", b"\x80", b"\1\1", data):
        refused(check, data + more)


@pytest.mark.parametrize("missing", range(2 + len(FILE)))
def test_a_missing_block_is_noticed(check: Check, missing: int) -> None:
    blocks = LARGE[:missing] + LARGE[missing + 1 :]
    refused(check, car(blocks, [LARGE[0].cid]), "receipt is not|no instruction|block is missing")


def test_a_block_that_nothing_links_to_is_noticed(check: Check) -> None:
    refused(check, car([*SMALL, Block.make(b"stray", RAW)]), "linked from nowhere")
    refused(check, car([*SMALL, *FILE]), "linked from nowhere")


def test_a_root_that_is_no_receipt_is_refused(check: Check) -> None:
    refused(check, car(SMALL, [CROP.cid]))
    refused(check, car(SMALL, [PLAIN.cid, CROP.cid]))
    refused(check, car(SMALL, []), "not a CAR")


def test_several_receipts_in_one_file_are_all_checked(check: Check) -> None:
    other = Receipt.issue(KEY, OTHER, Result.of_ok(7), now=NOW)
    blocks = [*LARGE, token(PLAIN), token(other), block(OTHER)]
    said = check(car(blocks, [LINKED.cid, PLAIN.cid, other.cid])).splitlines()
    assert [line.split()[0] for line in said] == ["who", "what", "out"] * 3
    assert said[-1] == "out   {'ok': 7}"
    refused(check, car(blocks, [LINKED.cid, PLAIN.cid]), "linked from nowhere")
    refused(check, car(blocks[:-2], [LINKED.cid, PLAIN.cid, other.cid]), "receipt is not")
    refused(check, car(blocks[:-1], [LINKED.cid, PLAIN.cid, other.cid]), "no instruction")
    forged = signed(BODY, Key.from_seed(bytes(32)))
    refused(check, car([*SMALL, forged[0]], [PLAIN.cid, forged[0].cid]), "forged")


def test_any_changed_byte_of_the_header_is_noticed(
    check: Check, scaled: Callable[[int, int], int]
) -> None:
    other = Receipt.issue(KEY, CROP, Result.of_ok(7), now=NOW)
    data = car([*SMALL, token(other)], [PLAIN.cid, other.cid])
    check(data)
    rng = random.Random(3)
    for at in range(102):
        for flip in rng.sample(range(1, 256), scaled(64, 255)):
            refused(check, data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :])


def test_an_error_receipt_is_shown_as_well(check: Check) -> None:
    error = {"code": "unreachable", "message": "wasm trap"}
    receipt = Receipt.issue(KEY, CROP, Result.of_error(error), now=NOW)
    assert "'unreachable'" in check(car([token(receipt), block(CROP)])).splitlines()[2]


def signed(payload: dict[str, Any], key: Key = KEY, **envelope_changes: Any) -> list[Block]:
    """A file's blocks with a token of any payload and a sound signature."""
    tag = envelope_changes.pop("tag", envelope.TAG_INVOCATION)
    part = {"h": PLAIN.token.header, tag: payload, **envelope_changes}
    data = dag_cbor.encode([key.sign(dag_cbor.encode(part)), part])
    return [Block.make(data, DAG_CBOR), block(CROP)]


BODY = PLAIN.token.payload


@pytest.mark.parametrize(
    ("blocks", "problem"),
    [
        (signed(BODY, Key.from_seed(bytes(32))), "forged"),
        (signed({**BODY, "sub": "did:key:z6Mk"}), "not its own receipt"),
        (signed({**BODY, "cmd": "/ucan/revoke"}), "not its own receipt"),
        (signed({**BODY, "aud": KEY.did}), "no receipt"),
        (signed(BODY, tag=envelope.TAG_DELEGATION), "no receipt"),
        (signed(BODY, a=1), "not an Ed25519 UCAN"),
        (signed(BODY, h=b""), "not an Ed25519 UCAN"),
        (signed({**BODY, "iss": "did:web:z", "sub": "did:web:z"}), "."),
        (signed({**BODY, "args": {**BODY["args"], "ins": CODE.cid}}), "no instruction"),
        (signed({**BODY, "args": {**BODY["args"], "out": {"ok": 1, "error": 2}}}), "missing"),
    ],
)
def test_a_token_that_is_no_receipt_is_refused(
    check: Check, blocks: list[Block], problem: str
) -> None:
    refused(check, car(blocks), problem)


def test_a_signed_token_in_another_form_is_refused(check: Check) -> None:
    part = PLAIN.token.signed.replace(b"cexp\xf6ciat", b"ciat\xf6cexp", 1)
    unsorted = b"\x82\x58\x40" + KEY.sign(part) + part
    refused(check, car([Block.make(unsorted, DAG_CBOR), block(CROP)]), "not canonical")
    wide = PLAIN.token.signed.replace(b"bok\x18\x2a", b"bok\x19\x00\x2a", 1)
    assert wide != PLAIN.token.signed
    longer = b"\x82\x58\x40" + KEY.sign(wide) + wide
    refused(check, car([Block.make(longer, DAG_CBOR), block(CROP)]), "not canonical")


def test_the_final_tag_is_read(check: Check) -> None:
    check(car(signed(BODY, tag="ucan/inv@1.0.0")))


def test_a_file_that_a_node_exported_is_sound(check: Check, root: Path, tmp_path: Path) -> None:
    with Node.open(tmp_path / "home") as node:
        code = node.add(root / "examples" / "wat" / "add.wasm")
        receipt = node.run(wasm(code, "add", 2, 40)).receipt
        for with_code in (False, True):
            out = io.BytesIO()
            node.export([receipt.cid], out, with_code=with_code, with_inputs=True)
            assert check(out.getvalue()).endswith("out   {'ok': 42}")


def test_the_script_ends_with_0_and_three_lines_or_with_1_and_one(
    script: Path, tmp_path: Path
) -> None:
    file = tmp_path / "receipt.car"

    def run(data: bytes) -> subprocess.CompletedProcess[str]:
        file.write_bytes(data)
        return subprocess.run(
            [sys.executable, str(script), str(file)], capture_output=True, text=True, timeout=60
        )

    good = run(car(SMALL))
    assert (good.returncode, good.stderr) == (0, "")
    assert [line.split()[0] for line in good.stdout.splitlines()] == ["who", "what", "out"]
    for data in (car(SMALL)[:-1], b"", b"not a CAR at all"):
        bad = run(data)
        assert (bad.returncode, bad.stdout) == (1, "")
        assert bad.stderr.startswith("NOT VALID: ")
        assert bad.stderr.count("\n") == 1
