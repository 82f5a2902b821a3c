"""Tokens in the store: the schema's upgrade, looking up, claims, revocations, eviction, damage."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from lite.errors import HashMismatch, QuotaError
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import TIME_MAX_S
from lite.store import Store, restore, schema, sql, tokens
from lite.store.tokens import EXPIRED_KEPT_S
from lite.ucan import command as commands
from lite.ucan.delegation import Delegation
from lite.ucan.revocation import Revocation
from tests.store_support import START, FakeClock, instruction, receipt, traced
from tests.ucan_support import LAPTOP, PHONE, PI, delegation, three_links

DAY = 86_400
NEVER = TIME_MAX_S


def lasting(seconds: int | None, **fields: object) -> Delegation:
    ends = None if seconds is None else START + seconds
    return delegation(PI, LAPTOP, expires_at=ends, **fields)


def revocation(of: Delegation) -> Revocation:
    return Revocation.issue(PI, revoked=of.cid, subject=PI.did)


def signed_at(store: Store, clock: FakeClock, now: int) -> None:
    """This node signs a receipt at a time."""
    clock.seconds = now
    from lite.model.receipt import Receipt
    from lite.model.result import Result

    asked = instruction(now)
    store.commit_run(asked, Receipt.issue(PI, asked, Result.of_ok(1), now=now), [])


def test_a_store_of_the_first_schema_is_upgraded_after_a_backup(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", ("0001_store",))
        with Store.open(home, clock=FakeClock()) as old:
            old.receipts.add(receipt(instruction(1)))
            old.names.set("one", instruction(1).cid)
    with Store.open(home, clock=FakeClock()) as store:
        assert not store.created
        assert store.receipts.list() == [receipt(instruction(1))]
        assert store.names.get("one") == instruction(1).cid
        assert store.tokens.latest().signed_at == START
        assert store.tokens.latest().receipt == receipt(instruction(1)).cid
        store.tokens.add([lasting(DAY)])
        assert store.check(deep=True)[0].code == "absent-root"  # the named one was never put
        assert len(store.check(deep=True)) == 1
    (backup,) = (home / "backups").iterdir()
    restore(backup, home)
    with Store.open(home) as again:
        assert again.receipts.count() == 1
        assert list(again.tokens.delegations()) == []


FORMER = schema.MIGRATIONS[:2]
FORMER_ADD = """
INSERT INTO delegations (cid, audience, subject, ends_at, added_at, data) VALUES (?, ?, ?, ?, ?, ?)
"""


def test_the_commands_of_delegations_are_filled_in_when_a_store_is_upgraded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = [lasting(DAY), lasting(DAY, command="/crud/read"), lasting(None, command="/")]
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", FORMER)
        with Store.open(home, clock=FakeClock()) as old:
            execute = old._database.connection.execute
            for one in held:
                audience, subject, _, ends_at, _ = tokens.columns(one)
                values = (one.cid.raw, audience, subject, ends_at, START, one.data)
                execute(FORMER_ADD, values)
            execute(FORMER_ADD, (b"\x01", LAPTOP.did, PI.did, NEVER, START, b"damaged"))
            execute("INSERT INTO invocations VALUES (?, ?, NULL)", (held[0].cid.raw, START))
    with Store.open(home, clock=FakeClock()) as store:
        rows = store._database.rows("SELECT command FROM delegations ORDER BY rowid")
        assert [command for (command,) in rows] == ["/wasm/run", "/crud/read", "/", ""]
        found = list(store.tokens.given_to(LAPTOP.did, PI.did, "/wasm/run", None))
        assert found == [held[2], held[0]]
        assert store.tokens.claim(held[0].cid, START) == "open"
        assert [one.code for one in store.check(deep=True)] == ["damaged-token"]
    assert len(list((home / "backups").iterdir())) == 1


def test_tokens_come_back_as_they_were_signed_and_are_counted(store: Store) -> None:
    links = three_links()
    store.tokens.add(links, [(revocation(links[0]), [PI.did])])
    store.tokens.add(links)
    assert list(store.tokens.delegations()) == links
    assert list(store.tokens.revocations()) == [revocation(links[0])]
    assert store.tokens.get(links[1].cid) == links[1].data
    assert store.tokens.get(revocation(links[0]).cid) == revocation(links[0]).data
    assert store.tokens.get(CID.of(b"", DAG_CBOR)) is None
    stats = store.stats()
    assert (stats.delegations, stats.revocations) == (3, 1)


def test_those_that_last_longest_are_found_first_and_the_expired_not_at_all(store: Store) -> None:
    kept = [lasting(DAY), lasting(None), lasting(2 * DAY, subject=None), lasting(-61)]
    others = [lasting(DAY, subject=PHONE.did), delegation(PI, PHONE, expires_at=None)]
    store.tokens.add([*kept, *others])
    found = list(store.tokens.given_to(LAPTOP.did, PI.did, "/wasm/run", None))
    assert found == [kept[1], kept[2], kept[0]]
    assert list(store.tokens.all_given_to(LAPTOP.did, PI.did, None)) == found


def test_only_what_covers_a_command_is_found_and_nothing_hides_it(store: Store) -> None:
    others = [
        lasting(None, command=f"/{name}/run", nonce=bytes([number, kind] * 6), subject=subject)
        for number in range(150)
        for kind, name, subject in ((0, "crud", PI.did), (1, "wasmedge", None))
    ]
    wide = [lasting(DAY - n, command=c) for n, c in enumerate(commands.above("/wasm/run"))]
    powerline = lasting(1, subject=None)
    store.tokens.add([*others, *wide, powerline, lasting(DAY, command="/wasm/run/fast")])
    given = list(store.tokens.given_to(LAPTOP.did, PI.did, "/wasm/run", None))
    assert given == [*wide, powerline]
    assert [one.command for one in wide] == ["/", "/wasm", "/wasm/run"]
    assert list(store.tokens.given_to(LAPTOP.did, PI.did, "/", None)) == wide[:1]


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (sql.DELEGATIONS_TO, ("a", "s", 0, 9, None)),
        (
            sql.DELEGATIONS_GIVEN.format("(?),(?)"),
            ("/", "/c", "a", "s", 0, "[]", "[]", "a", 0, "[]", "[]", 9, 0),
        ),
    ],
)
def test_looking_up_what_was_given_uses_the_index(
    store: Store, query: str, values: tuple[str | int | None, ...]
) -> None:
    steps = [row[3] for row in store._database.rows(f"EXPLAIN QUERY PLAN {query}", values)]
    searches = [step for step in steps if "delegations" in step or step.startswith("SEARCH d ")]
    assert len(searches) == 2
    assert all("USING INDEX delegations_" in step and "(audience=" in step for step in searches)
    if "wanted" in query:
        assert all("command=?" in step for step in searches)


def test_a_revocation_counts_before_its_delegation_comes(store: Store) -> None:
    link = lasting(DAY)
    store.tokens.add(revocations=[(revocation(link), [PI.did])])
    assert store.tokens.revoked_by(link.cid, [LAPTOP.did, PI.did]) == PI.did
    assert store.tokens.revoked_by(link.cid, [LAPTOP.did]) is None
    assert store.tokens.revoked_by(lasting(2 * DAY).cid, [PI.did]) is None


def test_an_invocation_is_claimed_once_also_after_a_restart(home: Path, store: Store) -> None:
    cid = lasting(1).cid
    assert store.tokens.claim(cid, None) == "new"
    assert store.tokens.claim(cid, None) == "open"
    with Store.open(home) as again:
        assert again.tokens.claim(cid, START) == "open"


def test_a_claim_that_led_to_nothing_can_be_made_again_and_an_answered_one_cannot(
    store: Store,
) -> None:
    cid, asked = lasting(1).cid, instruction(1)
    store.tokens.claim(cid, START + 60)
    store.tokens.release(cid)
    assert store.tokens.claim(cid, START + 60) == "new"
    assert store.tokens.receipt_of(cid) is None
    store.commit_run(asked, receipt(asked), [], claim=cid)
    store.tokens.release(cid)
    assert store.tokens.claim(cid, START + 60) == "answered"
    assert store.tokens.receipt_of(cid) == receipt(asked)


def cids(count: int) -> list[CID]:
    return [CID.of(bytes([number]), DAG_CBOR) for number in range(count)]


def test_of_too_many_claims_the_first_to_end_go_and_are_not_accepted_again(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "CLAIMS_KEPT", 3)
    *timed, lasting_one, late = cids(6)
    for number, cid in enumerate(timed):
        store.tokens.claim(cid, START + number)
    store.tokens.claim(lasting_one, None)
    signed_at(store, clock, START + DAY)
    store.gc()
    # Whatever the clock shows from now on.
    clock.seconds = START
    found = [store.tokens.claim(cid, START + number) for number, cid in enumerate(timed)]
    assert found == ["forgotten", "forgotten", "open", "open"]
    assert store.tokens.claim(lasting_one, None) == "open"
    assert store.tokens.claim(late, START + 1) == "forgotten"
    assert store.tokens.claim(late, START + 2) == "new"


def test_claims_of_what_may_still_come_stay_however_many_they_are(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "CLAIMS_KEPT", 1)
    signed_at(store, clock, START + DAY)
    for cid in cids(3):
        store.tokens.claim(cid, START + DAY)
    store.gc()
    assert [store.tokens.claim(cid, START + DAY) for cid in cids(3)] == ["open"] * 3


def test_of_too_many_delegations_the_first_that_expired_go_and_their_revocations_stay(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "DELEGATIONS_KEPT", 2)
    gone, expired, stays = lasting(0), lasting(1), lasting(DAY)
    links = [gone, expired, stays]
    store.tokens.add(links, [(revocation(one), [PI.did]) for one in links])
    signed_at(store, clock, START + EXPIRED_KEPT_S + DAY)
    store.gc(dry_run=True)
    assert store.stats().delegations == 3
    store.gc()
    assert list(store.tokens.delegations()) == [expired, stays]
    assert {one.revoked for one in store.tokens.revocations()} == {one.cid for one in links}
    assert store.tokens.revoked_by(gone.cid, [PI.did]) == PI.did


def test_a_clock_that_was_years_ahead_makes_nothing_be_accepted_again(
    store: Store, clock: FakeClock
) -> None:
    link, used = lasting(DAY), cids(1)[0]
    store.tokens.add([link], [(revocation(link), [PI.did])])
    store.tokens.claim(used, START + 60)
    signed_at(store, clock, START + 100 * 365 * DAY)
    store.gc()
    store.tokens.claim(CID.of(b"another", DAG_CBOR), None)
    # The clock is set right, and the mark is lowered.
    clock.seconds = START
    wrong = store.tokens.latest().receipt
    assert wrong is not None
    store.receipts.forget(wrong)
    store.tokens.add([link])
    assert store.tokens.revoked_by(link.cid, [PI.did]) == PI.did
    assert store.tokens.claim(used, START + 60) == "open"


def test_with_very_many_revocations_only_those_of_known_delegations_are_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "REVOCATIONS_EARLY_MAX", 1)
    known, unknown, another = lasting(DAY), lasting(1), lasting(2)
    store.tokens.add(revocations=[(revocation(unknown), [PI.did])])
    with pytest.raises(QuotaError, match="1 revocations are here") as refused:
        store.tokens.add([known], [(revocation(another), [PI.did])])
    assert str(another.cid) in (refused.value.hint or "")
    assert store.stats().delegations == 0
    store.tokens.add([known], [(revocation(known), [PI.did]), (revocation(unknown), [PI.did])])
    assert store.stats().revocations == 2


def test_the_latest_time_is_written_once_a_minute_and_never_goes_back(
    store: Store, clock: FakeClock
) -> None:
    signed_at(store, clock, START)
    seen = traced(store)
    signed_at(store, clock, START + 59)
    assert not any("latest" in statement for statement in seen)
    assert store.tokens.latest().signed_at == START
    signed_at(store, clock, START + 60)
    signed_at(store, clock, 0)
    assert store.tokens.latest().signed_at == START + 60


def test_forgetting_a_receipt_of_a_wrong_time_heals_the_latest_time(
    store: Store, clock: FakeClock
) -> None:
    signed_at(store, clock, START)
    signed_at(store, clock, START + 100 * 365 * DAY)
    wrong = store.tokens.latest().receipt
    assert wrong is not None
    store.receipts.forget(wrong)
    assert store.tokens.latest().signed_at == START
    signed_at(store, clock, START + 60)
    assert store.tokens.latest().signed_at == START + 60


def test_a_deep_check_names_damaged_tokens_and_repair_drops_them_but_revokes_on(
    store: Store,
) -> None:
    links = three_links()
    store.tokens.add(links, [(revocation(links[0]), [PI.did])])
    assert store.check(deep=True) == []
    forged = bytearray(links[1].data)
    forged[10] ^= 1
    execute = store._database.connection.execute
    execute("UPDATE delegations SET data = ? WHERE cid = ?", (bytes(forged), links[1].cid.raw))
    execute("UPDATE revocations SET data = ?", (links[2].data,))
    assert store.check() == []
    problems = store.check(deep=True)
    assert [one.code for one in problems] == ["damaged-token", "damaged-token"]
    assert str(links[1].cid) in problems[0].text
    assert all("its bytes hash to another CID" in one.text for one in problems)
    store.check(deep=True, repair=True)
    assert store.check(deep=True) == []
    assert store.stats().delegations == 2
    assert store.tokens.revoked_by(links[0].cid, [PI.did]) == PI.did


def damage(store: Store, statement: str, *values: object) -> None:
    store._database.connection.execute(statement, values)


def flipped(data: bytes, at: int = 90) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_bytes_that_the_disk_changed_are_not_given_out_and_named(store: Store) -> None:
    one, other = lasting(DAY), lasting(2 * DAY)
    taken_back = revocation(other)
    store.tokens.add([one, other], [(taken_back, [PI.did])])
    damage(store, "UPDATE delegations SET data = ? WHERE cid = ?", flipped(one.data), one.cid.raw)
    damage(store, "UPDATE revocations SET data = ?", flipped(taken_back.data))
    assert (store.tokens.delegation(one.cid), store.tokens.has_delegation(one.cid)) == (None, True)
    assert store.tokens.delegation(other.cid) == other.data
    assert store.tokens.damaged_delegation() == one.cid
    for cid in (one.cid, taken_back.cid):
        with pytest.raises(HashMismatch, match=str(cid)):
            store.tokens.get(cid)


def test_what_the_disk_changed_is_mended_when_it_comes_again(store: Store) -> None:
    one, taken_back = lasting(DAY), revocation(lasting(DAY))
    everything = ([one], [(taken_back, [PI.did])])
    store.tokens.add(*everything)
    damages = (
        ("UPDATE delegations SET data = ?", flipped(one.data)),
        ("UPDATE delegations SET audience = ?", "x"),
        ("UPDATE delegations SET subject = ?", None),
        ("UPDATE delegations SET (command, ends_at, issuer) = (?, 1, '')", "/"),
        ("UPDATE revocations SET data = ?", flipped(taken_back.data)),
        ("UPDATE revocations SET revoked = ?", b""),
    )
    for statement, value in damages:
        damage(store, statement, value)
        assert store.check(deep=True) != []
        store.tokens.add(*everything)
        assert store.check(deep=True) == []
    assert store.tokens.get(one.cid) == one.data
    assert store.tokens.get(taken_back.cid) == taken_back.data


def test_a_damaged_revocation_stops_no_delegation_that_comes(store: Store) -> None:
    """One whose proofs may have arrived is judged again, but not one that the disk changed."""
    given = delegation(LAPTOP, PHONE, subject=LAPTOP.did, command="/ucan/revoke", expires_at=None)
    by_proof = Revocation.issue(
        PHONE, revoked=lasting(DAY).cid, subject=LAPTOP.did, proofs=[given.cid]
    )
    store.tokens.add([], [(by_proof, [PHONE.did])])
    damage(store, "UPDATE revocations SET data = ?", b"\xff" + by_proof.data[1:])
    store.tokens.add([given])
    assert store.tokens.revokers(by_proof.revoked) == {PHONE.did}
    store.tokens.forget([given.cid])
    store.tokens.add([], [(by_proof, [PHONE.did])])
    store.tokens.add([given])
    assert store.tokens.revokers(by_proof.revoked) == {PHONE.did, LAPTOP.did}


def test_a_deep_check_compares_how_tokens_are_filed_and_repair_files_them_again(
    store: Store,
) -> None:
    links = three_links()
    by_right = delegation(PI, PHONE, command="/ucan/revoke", expires_at=None)
    for_pi = Revocation.issue(PHONE, revoked=links[1].cid, subject=PI.did, proofs=[by_right.cid])
    revoked = [(revocation(links[0]), [PI.did]), (for_pi, [PHONE.did, PI.did])]
    store.tokens.add([*links, by_right], revoked)
    assert store.check(deep=True) == []
    execute = store._database.connection.execute
    execute("UPDATE delegations SET audience = 'x', ends_at = 1 WHERE cid = ?", (links[0].cid.raw,))
    execute("UPDATE delegations SET subject = NULL WHERE cid = ?", (links[1].cid.raw,))
    execute("UPDATE delegations SET command = '/', issuer = 'x' WHERE cid = ?", (links[2].cid.raw,))
    execute("UPDATE revocations SET revoked = x'00' WHERE cid = ?", (revoked[0][0].cid.raw,))
    execute("DELETE FROM revokers WHERE revoker = ?", (PI.did,))
    assert store.check() == []
    texts = [one.text for one in store.check(deep=True)]
    assert all(one.code == "damaged-token" for one in store.check(deep=True))
    assert [text.rpartition(": ")[2] for text in texts[:3]] == [
        "is filed under another audience and end",
        "is filed under another subject",
        "is filed under another command and issuer",
    ]
    assert sorted("as revoking something else" in text for text in texts[3:]) == [
        False,
        False,
        True,
    ]
    assert sorted(f"revoked by {PI.did}" in text for text in texts[3:]) == [False, True, True]
    store.check(deep=True, repair=True)
    assert store.check(deep=True) == []
    assert store.tokens.revoked_by(links[0].cid, [PI.did]) == PI.did
    assert store.tokens.revoked_by(links[1].cid, [PI.did]) == PI.did
    query = "SELECT audience, subject, command, ends_at, issuer FROM delegations ORDER BY rowid"
    rows = store._database.rows(query)
    assert rows == [tokens.columns(one) for one in [*links, by_right]]


def test_a_backup_holds_the_tokens(home: Path, tmp_path: Path, store: Store) -> None:
    store.tokens.add(three_links())
    store.backup(tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "other")
    with closing(Store.open(tmp_path / "other")) as other:
        assert list(other.tokens.delegations()) == three_links()
