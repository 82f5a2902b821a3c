"""Tokens that the disk changed: named by the CID asked for, no decision rests on them, and the
same bytes of a file stand in for them and mend them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from lite import Node
from lite.errors import HashMismatch
from lite.ipld.cid import CID
from lite.parcel import Parcel
from lite.store.home import DATABASE
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.refusals import NoProofs, WrongProof
from lite.ucan.revocation import Revocation
from tests.authority_support import add, ask, give
from tests.integration.conftest import Ended, Ipvm
from tests.integration.test_cli_ucan import At, did, home, ok
from tests.ucan_support import LAPTOP, PHONE, PI, STRANGER, delegation

Change = Callable[[bytes], bytes]

CHANGES: dict[str, Change] = {
    "the first byte": lambda data: b"\xff" + data[1:],
    "a letter of iss": lambda data: _letter(data, b"ciss"),
    "a letter of sub": lambda data: _letter(data, b"csub"),
    "a byte of the signature": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "the end": lambda data: data[:-7],
}


def _letter(data: bytes, field: bytes) -> bytes:
    """The bytes with another letter in a DID."""
    at = data.index(field) + 40
    return data[:at] + (b"4" if data[at : at + 1] != b"4" else b"5") + data[at + 1 :]


def damage(folder: Path, change: Change, table: str = "delegations") -> None:
    """Let the disk change the tokens of a home."""
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        for raw, data in database.execute(f"SELECT cid, data FROM {table}").fetchall():
            statement = f"UPDATE {table} SET data = ? WHERE cid = ?"
            assert database.execute(statement, (change(data), raw)).rowcount == 1


def of_disk(ended: Ended, cid: str) -> None:
    """It ended with 7 and named the token and what to do, nobody else."""
    assert (ended.status, ended.out) == (7, b"")
    said, hint = ended.err.splitlines()
    assert f"{cid} changed on the disk" in said
    assert "ipvm doctor --deep --repair" in hint


@pytest.fixture
def at_pi(ipvm: Ipvm, here: Path) -> At:
    (here / "homes").mkdir()
    return home(ipvm, "pi")


@pytest.fixture
def kept(at_pi: At, here: Path) -> str:
    """The CID of a delegation of the Pi; `x.ucan` has it as well."""
    (here / "x.ucan").write_text(ok(at_pi("ucan", "delegate", "--to", LAPTOP.did, "--cmd", "/x")))
    (row,) = at_pi("ucan", "list", "--json").json["tokens"]
    return str(row["cid"])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_damaged_delegation_is_named_by_every_verb_that_is_asked_for_it(
    at_pi: At, kept: str, here: Path, change: Change
) -> None:
    damage(here / "homes/pi", change)
    for verb in ("verify", "inspect", "revoke"):
        of_disk(at_pi("ucan", verb, kept), kept)
        of_disk(at_pi("ucan", verb, kept[-8:]), kept)
    failed = at_pi("ucan", "verify", kept, "--json")
    assert failed.json["error"]["code"] == "hash-mismatch"
    listed = at_pi("ucan", "list")
    assert (listed.status, kept in listed.err) == (7, True)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_delegation_whose_row_is_damaged_is_revoked_by_its_file(
    at_pi: At, kept: str, here: Path, change: Change
) -> None:
    damage(here / "homes/pi", change)
    (data,) = container.read(ok(at_pi("ucan", "revoke", "x.ucan")).encode())
    revocation = Revocation.parse(data)
    assert str(revocation.revoked) == kept
    assert revocation.invocation.subject == revocation.invocation.issuer == did(at_pi)
    assert {row["code"] for row in at_pi("ucan", "list", "--json").json["tokens"]} == {
        "ucan-revoked", None
    }  # fmt: skip
    assert at_pi("doctor", "--deep").status == 0


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_import_mends_what_the_disk_changed(
    at_pi: At, kept: str, here: Path, change: Change
) -> None:
    (here / "r.ucan").write_text(ok(at_pi("ucan", "revoke", kept)))
    (taken_back,) = container.read((here / "r.ucan").read_bytes())
    revocation = Revocation.parse(taken_back).cid
    damage(here / "homes/pi", change)
    damage(here / "homes/pi", change, "revocations")
    of_disk(at_pi("ucan", "verify", str(revocation)), str(revocation))
    assert at_pi("doctor", "--deep").status != 0
    assert ok(at_pi("ucan", "import", "x.ucan")).startswith(kept)
    assert ok(at_pi("ucan", "import", "r.ucan")).startswith(str(revocation))
    assert at_pi("ucan", "list").status == 0
    assert at_pi("ucan", "verify", kept, "--json").json["error"]["code"] == "ucan-revoked"
    assert at_pi("ucan", "verify", str(revocation)).status == 0
    assert at_pi("doctor", "--deep").status == 0


def test_a_damaged_delegation_is_forgotten_by_its_cid(at_pi: At, kept: str, here: Path) -> None:
    damage(here / "homes/pi", CHANGES["the first byte"])
    assert at_pi("ucan", "forget", kept).err == f"ipvm: forgot {kept}\n"
    assert at_pi("ucan", "list").text == ""


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_revocation_in_force_counts_whatever_the_disk_made_of_its_delegation(
    at_pi: At, kept: str, here: Path, change: Change
) -> None:
    (here / "r.ucan").write_text(ok(at_pi("ucan", "revoke", kept)))
    (data,) = container.read((here / "r.ucan").read_bytes())
    revocation = str(Revocation.parse(data).cid)
    damage(here / "homes/pi", change)
    assert at_pi("ucan", "verify", "x.ucan", "--json").json["error"]["code"] == "ucan-revoked"
    for told in ("r.ucan", revocation):
        said = ok(at_pi("ucan", "verify", told))
        assert said.startswith("✓ the revocation counts; the stored bytes of the delegation")
        assert f"{kept} changed on the disk" in said
        assert "now     it counts; the stored bytes of" in ok(at_pi("ucan", "inspect", told))
    listed = at_pi("ucan", "list", "--json").json["tokens"]
    assert {row["kind"]: row["holds"] for row in listed} == {"broken": False, "revocation": True}
    both = container.read((here / "r.ucan").read_bytes()) + container.read(
        (here / "x.ucan").read_bytes()
    )
    (here / "both.ucan").write_bytes(container.write(both))
    rows = at_pi("ucan", "inspect", "both.ucan", "--json").json["tokens"]
    assert {(row["kind"], row["holds"]) for row in rows} == {
        ("delegation", False), ("revocation", True)
    }  # fmt: skip


def test_a_revocation_by_a_stranger_counts_no_more_for_damage_of_its_delegation(
    at_pi: At, kept: str, here: Path
) -> None:
    by_stranger = Revocation.issue(STRANGER, revoked=CID.parse(kept), subject=STRANGER.did)
    (here / "s.ucan").write_bytes(container.write([by_stranger.data]))
    ok(at_pi("ucan", "import", "s.ucan"))
    assert at_pi("ucan", "verify", "s.ucan").status == 4
    damage(here / "homes/pi", CHANGES["a letter of iss"])
    of_disk(at_pi("ucan", "verify", "s.ucan"), kept)


def test_a_root_that_the_disk_changed_is_named_when_a_leaf_without_it_is_verified(
    at_pi: At, kept: str, here: Path
) -> None:
    leaf = delegation(LAPTOP, PHONE, subject=did(at_pi), command="/x", expires_at=None)
    (here / "leaf.ucan").write_bytes(leaf.data)
    ok(at_pi("ucan", "verify", "leaf.ucan"))
    damage(here / "homes/pi", CHANGES["a letter of sub"])
    failed = at_pi("ucan", "verify", "leaf.ucan")
    assert failed.status == 4
    assert f"{kept} changed on the disk; import it again" in failed.err


# Of a node.


def damaged(node: Node, cid: CID) -> None:
    """Let the disk change one delegation of an open node."""
    execute = node.store._database.connection.execute
    (data,) = execute("SELECT data FROM delegations WHERE cid = ?", (cid.raw,)).fetchone()
    values = (CHANGES["a letter of iss"](data), cid.raw)
    execute("UPDATE delegations SET data = ? WHERE cid = ?", values)


def test_a_damaged_proof_is_refused_and_the_one_that_comes_along_counts(
    pi: Node, phone: Node
) -> None:
    """The node's own fault is not told as that of the invoker."""
    cid = give(pi, phone)
    job = add(pi)
    whole = ask(phone, pi, job)
    (alone,) = Parcel.read(whole).invocations
    damaged(pi, cid)
    with pytest.raises(WrongProof, match="the bytes at hand do not hash to its CID") as told:
        pi.run_invocation(alone)
    assert (told.value.token, told.value.step) == (cid, "7a")
    assert "import it again" in str(told.value.hint)
    pi.run_invocation(whole)
    assert pi.store.tokens.delegation(cid) is not None  # mended by what came along


def test_what_cannot_be_revoked_or_passed_on_may_be_for_damage_elsewhere(
    pi: Node, laptop: Node
) -> None:
    above = give(pi, laptop)
    own = laptop.authority.delegate(PHONE.did, "/wasm/run", expires_in_s=60, subject=pi.did)
    below = delegation(PHONE, STRANGER, subject=pi.did, expires_at=None)
    laptop.authority.import_(below.data)
    damaged(laptop, own.token.cid)
    with pytest.raises(NoProofs, match="as far as is known here") as told:
        laptop.authority.revoke(below.cid)
    assert f"{own.token.cid} changed on the disk; import it again" in str(told.value.hint)
    laptop.authority.import_(own.token.data)
    assert laptop.authority.revoke(below.cid).revoked == below.cid
    damaged(laptop, above)
    with pytest.raises(NoProofs, match="no delegation here") as told:
        laptop.authority.delegate(PHONE.did, "/wasm/run", expires_in_s=60, subject=pi.did)
    assert f"{above} changed on the disk; import it again" in str(told.value.hint)


def test_a_revocation_that_comes_along_counts_whatever_became_of_the_row(
    pi: Node, phone: Node
) -> None:
    """Of two copies of a delegation the whole one says who may revoke it, and the revocation is
    kept although the row is damaged."""
    cid = give(pi, phone)
    tokens = Parcel.read(ask(phone, pi, add(pi)))
    issued = tokens.delegations[cid]
    revocation = Revocation.issue(pi.key, revoked=cid, subject=pi.did)
    damaged(pi, cid)
    parcel = Parcel.of([*tokens.invocations, issued, revocation.data])
    pi.authority.keep(pi.authority.heeded(parcel), parcel)
    assert pi.store.tokens.revokers(cid) == {pi.did}
    alone = Parcel.of([*tokens.invocations, revocation.data])
    pi.authority.keep(pi.authority.heeded(alone), alone)  # nothing is new


def test_a_container_of_stored_tokens_is_whole_or_none(pi: Node) -> None:
    cid = pi.authority.delegate(LAPTOP.did, "/x", expires_in_s=60).token.cid
    damaged(pi, cid)
    with pytest.raises(HashMismatch, match=str(cid)):
        pi.authority.container([cid])


def test_what_no_check_reads_is_revoked_by_its_file_when_its_row_is_damaged(
    pi: Node,
) -> None:
    """The bytes of the file are those that were kept once, so nothing of them is judged again."""
    from lite.ucan.envelope import TAG_DELEGATION, sign

    payload = {
        "iss": pi.did, "aud": LAPTOP.did, "sub": pi.did, "cmd": "/x", "nonce": b"", "exp": None,
        "pol": [["==", ".a", [0] * 5000]],
    }  # fmt: skip
    token = sign(TAG_DELEGATION, payload, pi.key)
    pi.store.tokens.add([Delegation.of(token)])
    damaged(pi, token.cid)
    revoked = pi.authority.revoke(token.cid, Parcel.of([token.data]))
    assert (revoked.revoked, revoked.invocation.subject) == (token.cid, pi.did)


def test_a_damaged_letter_is_really_another(pi: Node) -> None:
    """The changes of these tests leave canonical bytes where they are to be such."""
    data = delegation(PI, LAPTOP).data
    assert Delegation.parse(CHANGES["a letter of iss"](data)).issuer != PI.did
    assert Delegation.parse(CHANGES["a letter of sub"](data)).subject != PI.did
