"""What an identity CID holds has no row in the store, and leads to secrets all the same."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from lite import Node, wasm
from lite.errors import AuthorityError
from lite.ipld import dag_cbor, varint
from lite.ipld.block import Block
from lite.ipld.cid import CID, DAG_CBOR, DAG_JSON, DAG_PB, IDENTITY, RAW
from lite.model.instruction import Instruction
from lite.model.workflow import Workflow
from lite.offload.holding import Holding
from lite.privacy import make_secret
from lite.provenance import descend
from lite.store.reach import through
from tests.authority_support import ask, give
from tests.guests import ADD
from tests.integration.conftest import Ipvm

SECRET = b"top secret words\n"


def pb(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + varint.encode(len(data)) + data


def file_of(part: CID, size: int) -> CID:
    """A file of one part, held in its CID."""
    link = pb(1, part.raw) + pb(2, b"") + b"\x18" + varint.encode(size)
    told = b"\x08\x02\x18" + varint.encode(size) + b"\x20" + varint.encode(size)
    return CID.of(pb(2, link) + pb(1, told), DAG_PB, IDENTITY)


def folder_of(entry: CID) -> CID:
    """A folder of one entry `m`, held in its CID."""
    link = pb(1, entry.raw) + pb(2, b"m") + b"\x18\x40"
    return CID.of(pb(2, link) + pb(1, b"\x08\x01"), DAG_PB, IDENTITY)


def value_of(cid: CID) -> CID:
    return CID.of(dag_cbor.encode([cid]), DAG_CBOR, IDENTITY)


def json_of(cid: CID) -> CID:
    return CID.of(b'{"see":{"/":"%s"}}' % str(cid).encode(), DAG_JSON, IDENTITY)


@pytest.fixture
def module(pi: Node, guests: Path) -> CID:
    return pi.add(guests / "typed.wasm")


def ways(secret: CID) -> dict[str, CID]:
    """Identity CIDs that lead to it."""
    inner = file_of(secret, len(SECRET))
    return {
        "file": inner,
        "folder": folder_of(secret),
        "value": value_of(secret),
        "JSON": json_of(secret),
        "within": value_of(inner),
    }


@pytest.mark.parametrize("how", ["file", "folder", "value", "JSON", "within"])
def test_a_stranger_reads_no_secret_through_an_identity_cid(
    pi: Node, phone: Node, module: CID, how: str
) -> None:
    give(pi, phone)
    secret = pi.add(SECRET)
    pi.store.secrets.mark([secret])
    link = ways(secret)[how]
    for job in (wasm(module, "echo", link), wasm(module, "echo", [{"x": link}])):
        with pytest.raises(AuthorityError, match="not here for others"):
            pi.run_invocation(ask(phone, pi, job))
    held = Block.make(dag_cbor.encode({"see": link}), DAG_CBOR)
    pi.store.blocks.put_many([held])  # a block of the store that holds the identity CID
    with pytest.raises(AuthorityError, match="not here for others"):
        pi.run_invocation(ask(phone, pi, wasm(module, "echo", held.cid)))
    assert pi.store.receipts.count() == 0


def test_a_stranger_runs_no_secret_code_through_an_identity_folder(pi: Node, phone: Node) -> None:
    give(pi, phone)
    secret = pi.add(ADD)
    job = Instruction(f"ipfs://{folder_of(secret)}/m", "wasm/run", {"func": "add", "args": [1, 2]})
    assert pi.run(job).out.unwrap() == 3
    pi.store.secrets.mark([secret])
    with pytest.raises(AuthorityError, match="not here for others"):
        pi.run_invocation(ask(phone, pi, job))


def test_what_the_owner_makes_of_a_secret_in_an_identity_cid_is_secret(
    pi: Node, guests: Path
) -> None:
    secret, count = pi.add(SECRET), pi.add(guests / "typed.wasm")
    pi.store.secrets.mark([secret])
    link = file_of(secret, len(SECRET))
    answer = pi.run(wasm(count, "greet", link))
    assert answer.out.unwrap() == SECRET.decode()
    assert pi.store.secrets.is_secret(answer.receipt.cid)
    with pytest.raises(AuthorityError, match="marked secret"):
        pi.export([link], io.BytesIO())
    assert not Holding(pi.store)(link)


@pytest.mark.parametrize("stored", [False, True])
def test_what_is_marked_later_takes_along_what_read_it_through_an_identity_cid(
    pi: Node, module: CID, stored: bool
) -> None:
    big = b"dear diary, " * 1_000  # so large that no instruction or receipt holds it
    secret = pi.add(big)
    link = file_of(secret, len(big))
    if stored:  # a stored file of the identity CID, in another identity CID
        size = varint.encode(len(big))
        part = pb(1, link.raw) + pb(2, b"") + b"\x18" + size
        held = Block.make(pb(2, part) + pb(1, b"\x08\x02\x18" + size + b"\x20" + size), DAG_PB)
        pi.store.blocks.put_many([held])
        link = file_of(held.cid, len(big))
    answer = pi.run(wasm(module, "greet", link)).receipt
    other = pi.run(wasm(module, "greet", "you")).receipt
    assert answer.out.is_ok
    assert answer.cid in make_secret(pi.store, [secret])
    assert pi.store.secrets.is_secret(answer.cid)
    assert not pi.store.secrets.is_secret(other.cid)


def test_code_marked_later_takes_along_who_ran_it_by_an_identity_folder(pi: Node) -> None:
    code, beside = pi.add(ADD), pi.add(b"beside the code")
    link = pb(1, beside.raw) + pb(2, b"a") + b"\x18\x0f"
    more = pb(1, code.raw) + pb(2, b"m") + b"\x18\x40"
    folder = CID.of(pb(2, link) + pb(2, more) + pb(1, b"\x08\x01"), DAG_PB, IDENTITY)
    job = Instruction(f"ipfs://{folder}/m", "wasm/run", {"func": "add", "args": [1, 2]})
    answer = pi.run(job).receipt
    make_secret(pi.store, [beside])  # in the same folder, and not used
    assert not pi.store.secrets.is_secret(answer.cid)
    make_secret(pi.store, [code])
    assert pi.store.secrets.is_secret(answer.cid)
    assert {below.cid for below in descend(pi.store, code, lambda _: None).children}


def test_marking_a_file_in_an_identity_cid_marks_its_parts(pi: Node) -> None:
    part = pi.add(SECRET)
    pi.store.secrets.mark([file_of(part, len(SECRET))])
    assert pi.store.secrets.is_secret(part)


def test_what_only_an_identity_cid_leads_to_is_kept_by_gc(pi: Node) -> None:
    part, lost = pi.add(SECRET), pi.add(b"nobody holds this")
    pi.store.names.set("held", file_of(part, len(SECRET)))
    pi.store.gc(grace_s=0)
    assert (pi.store.blocks.has(part), pi.store.blocks.has(lost)) == (True, False)
    assert pi.store.check() == []


def test_a_workflow_waits_for_consent_to_send_what_an_identity_cid_leads_to(pi: Node) -> None:
    secret = pi.add(SECRET)
    pi.store.secrets.mark([secret])
    link = file_of(secret, len(SECRET))
    tell = Workflow(tell=Instruction("http://127.0.0.1:9/x", "http/post", {"body": link}))
    outlook = pi.workflows.outlook
    assert outlook.telling(tell, outlook.graph(tell))
    ended = pi.workflows.begin(tell).go()
    assert (ended.state, pi.store.receipts.count()) == ("queued", 0)


def test_prefetch_looks_behind_identity_cids(ipvm: Ipvm, here: Path) -> None:
    (here / "part").write_bytes(SECRET)
    part = CID.parse(ipvm("add", "part", "--json").json["added"][0]["cid"])
    for cid, missing in ((part, []), (CID.of(b"absent", RAW), [str(CID.of(b"absent", RAW))])):
        link = {"/": str(file_of(cid, len(SECRET)))}
        steps = {"one": {"run": "typed.wasm:greet", "args": [link]}}
        (here / "w.json").write_text(json.dumps({"steps": steps}))
        ended = ipvm("workflow", "prefetch", "w.json", "--json")
        assert ended.json["steps"][0]["missing"] == missing


def test_an_identity_cid_of_broken_bytes_leads_nowhere() -> None:
    broken = [CID.of(b"\xff\xff", codec, IDENTITY) for codec in (DAG_PB, DAG_CBOR, DAG_JSON)]
    assert list(through(broken)) == broken
