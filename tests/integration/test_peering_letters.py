"""Letters: what one node signed for another reaches it by itself, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite.authority import Authority
from lite.invocations import args_of
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.model.instruction import wasm
from lite.peering.letters import LetterStore, LetterVerifier, asked
from lite.peering.names import CAPABILITIES, letters_between
from lite.store import Store
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.revocation import Revocation
from sync.base import CONTROL, ITEM_BYTES_MAX, Item
from sync.errors import ItemInvalid, ItemUnwanted
from sync.wall import SystemClock
from tests.peering_support import PeerNode, befriend, key_of, meeting

CLOCK = SystemClock()
A, B, C = key_of("a"), key_of("b"), key_of("c")
RUN = "/wasm/run"
JOB = wasm(CID.of(b"module", RAW), "f", 1)


def authority(node: PeerNode) -> Authority:
    return Authority(node.store, node.key, CLOCK)


def test_a_delegation_arrives_with_its_chain_and_holds_there(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        root = Delegation.issue(
            C, audience=a.did, subject=C.did, command=RUN, policy=[], expires_at=None
        )
        a.store.tokens.add([root])
        befriend(a, b)
        issued = authority(a).delegate(b.did, RUN, expires_in_s=600, subject=C.did)
        a.peering.changed()
        await b.until(lambda: "letter" in b.kinds())
        held = {one.cid for one in b.store.tokens.delegations()}
        assert held == {root.cid, issued.token.cid}
        chain = authority(b).find_chain(subject=C.did, audience=b.did, command=RUN)
        assert [one.cid for one in chain or []] == [root.cid, issued.token.cid]
        (event,) = [one for one in b.events if one.kind == "letter"]
        assert set(event.data["delegations"]) == {str(cid) for cid in held}

    meeting(story, tmp_path, "a", "b")


def test_what_is_for_another_stays_away(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b)
        authority(a).delegate(C.did, RUN, expires_in_s=600)
        mine = authority(a).delegate(b.did, "/crud/read", expires_in_s=600)
        a.peering.changed()
        await b.until(lambda: "letter" in b.kinds())
        assert [one.cid for one in b.store.tokens.delegations()] == [mine.token.cid]

    meeting(story, tmp_path, "a", "b")


def test_what_was_signed_before_they_met_arrives_when_they_do(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        early = authority(a).delegate(b.did, RUN, expires_in_s=600)
        a.peering.changed()
        befriend(a, b, rights=["run"])
        await b.until(lambda: "letter" in b.kinds())
        assert b.store.tokens.delegation(early.token.cid) is not None
        await a.in_sync_with(b)

    meeting(story, tmp_path, "a", "b")


def test_what_is_taken_back_is_told_to_a_peer_that_may_not_read(tmp_path: Path) -> None:
    async def story(a: PeerNode, b: PeerNode) -> None:
        befriend(a, b, rights=["run"])
        mine = authority(a).delegate(b.did, RUN, expires_in_s=600).token
        a.peering.changed()
        await b.until(lambda: b.store.tokens.delegation(mine.cid) is not None)
        below = authority(b).delegate(C.did, RUN, expires_in_s=60, subject=a.did).token
        a.store.tokens.add([below])  # as an invocation of C brings it
        b.peering.changed()
        authority(a).revoke(mine.cid)
        authority(b).revoke(below.cid)
        a.peering.changed()
        b.peering.changed()
        await b.until(lambda: b.store.tokens.revokers(mine.cid) == {a.did})
        await a.until(lambda: b.did in a.store.tokens.revokers(below.cid))
        await a.in_sync_with(b)
        for node in (a, b):
            names = {one.set for one in node.peering.health().peers[0].sets}
            assert names == {letters_between(a.did, b.did), CAPABILITIES}

    meeting(story, tmp_path, "a", "b")


def revocation_letter(about: Delegation, key: Key = A) -> bytes:
    revocation = Revocation.issue(key, revoked=about.cid, subject=key.did)
    return container.write([revocation.data, about.data], "raw")


def test_revocations_that_concern_neither_are_not_wanted(tmp_path: Path) -> None:
    foreign = Delegation.issue(
        C, audience=key_of("d").did, subject=C.did, command=RUN, policy=[], expires_at=None
    )
    ours = Delegation.issue(
        C, audience=B.did, subject=C.did, command=RUN, policy=[], expires_at=None
    )
    with Store.open(tmp_path / "home") as store:
        verifier = LetterVerifier(LetterStore(store, A.did, B.did, CLOCK), A.did, B.did)
        with pytest.raises(ItemUnwanted, match="somebody else"):
            verifier.verify(bytes(32), revocation_letter(foreign, C), B.did)
        accepted = verifier.verify(bytes(32), revocation_letter(ours, C), B.did)
        assert accepted.lane == CONTROL


def invocation_letter(subject: str = A.did) -> bytes:
    right = Delegation.issue(
        A, audience=B.did, subject=A.did, command=RUN, policy=[], expires_at=None
    )
    invocation = Invocation.issue(
        B, subject=subject, command=RUN, args=args_of(JOB), expires_at=None, proofs=[right.cid],
        issued_at=1_800_000_000,
    )  # fmt: skip
    return container.write([right.data, invocation.data], "raw")


def test_invocations_are_kept_and_listed_and_not_done(tmp_path: Path) -> None:
    raw = invocation_letter()
    with Store.open(tmp_path / "home") as store:
        letters = LetterStore(store, A.did, B.did, CLOCK)
        id = CID.of(raw, RAW).digest
        accepted = LetterVerifier(letters, A.did, B.did).verify(id, raw, B.did)
        assert (accepted.lane, accepted.time) == (CONTROL, 1_800_000_000)
        letters.put([Item(id, raw, accepted.time, accepted.lane)], B.did, None)
        (found,) = asked(store)
        assert (found.command, found.peer, found.letter) == (RUN, B.did, raw)
        assert store.receipts.count() == 0
        assert letters.read([id]) == {id: raw}


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"@",
        b"junk",
        container.write([b"junk"], "raw"),
        invocation_letter()[1:],
        b"B" + invocation_letter()[1:],
        invocation_letter() + b"\0",
        (letter := invocation_letter())[:-1] + bytes([letter[-1] ^ 1]),
    ],
)
def test_what_is_no_letter_is_the_fault_of_its_sender(tmp_path: Path, raw: bytes) -> None:
    with Store.open(tmp_path / "home") as store:
        verifier = LetterVerifier(LetterStore(store, A.did, B.did, CLOCK), A.did, B.did)
        with pytest.raises(ItemInvalid):
            verifier.verify(bytes(32), raw, B.did)


def test_letters_to_others_and_too_many_are_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = Delegation.issue(
        A, audience=C.did, subject=A.did, command=RUN, policy=[], expires_at=None
    )
    with Store.open(tmp_path / "home") as store:
        letters = LetterStore(store, A.did, B.did, CLOCK)
        verifier = LetterVerifier(letters, A.did, B.did)
        with pytest.raises(ItemUnwanted, match="somebody else"):
            verifier.verify(bytes(32), container.write([foreign.data], "raw"), B.did)
        monkeypatch.setattr("lite.peering.letters.LETTERS_MAX", 0)
        with pytest.raises(ItemUnwanted, match="wait"):
            verifier.verify(bytes(32), invocation_letter(), B.did)


def test_both_call_their_set_the_same() -> None:
    assert letters_between(A.did, B.did) == letters_between(B.did, A.did)
    assert letters_between(A.did, B.did) != letters_between(A.did, C.did)
    assert len(invocation_letter()) <= ITEM_BYTES_MAX
