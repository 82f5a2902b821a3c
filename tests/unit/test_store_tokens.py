"""Tokens in the store: the schema's upgrade, looking up, claims, revocations, eviction, damage."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import TIME_MAX_S
from lite.store import Store, restore, schema, sql
from lite.store.tokens import EXPIRED_KEPT_S
from lite.ucan.delegation import Delegation
from lite.ucan.revocation import Revocation
from tests.store_support import START, FakeClock, instruction, receipt, traced
from tests.ucan_support import LAPTOP, PHONE, PI, delegation, three_links

DAY = 86_400
NEVER = TIME_MAX_S


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(home: Path, clock: FakeClock):
    with Store.open(home, clock=clock) as opened:
        yield opened


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
        assert store.check(deep=True)[0].code == "missing-block"  # the named one was never put
        assert len(store.check(deep=True)) == 1
    (backup,) = (home / "backups").iterdir()
    restore(backup, home)
    with Store.open(home) as again:
        assert again.receipts.count() == 1
        assert list(again.tokens.delegations()) == []


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
    found = list(store.tokens.given_to(LAPTOP.did, PI.did))
    assert found == [kept[1], kept[2], kept[0]]


def test_looking_up_what_was_given_uses_the_index(store: Store) -> None:
    query = f"EXPLAIN QUERY PLAN {sql.DELEGATIONS_GIVEN}"
    steps = [row[3] for row in store._database.rows(query, ("a", "s", 0, "a", 0, 9))]
    searches = [step for step in steps if step.startswith(("SEARCH", "SCAN"))]
    assert len(searches) == 2
    assert all("USING INDEX delegations_given" in step for step in searches)


def test_a_revocation_counts_before_its_delegation_comes(store: Store) -> None:
    link = lasting(DAY)
    store.tokens.add(revocations=[(revocation(link), [PI.did])])
    assert store.tokens.revoked_by(link.cid, [LAPTOP.did, PI.did]) == PI.did
    assert store.tokens.revoked_by(link.cid, [LAPTOP.did]) is None
    assert store.tokens.revoked_by(lasting(2 * DAY).cid, [PI.did]) is None


def test_an_invocation_is_claimed_once_also_after_a_restart(home: Path, store: Store) -> None:
    cid = lasting(1).cid
    assert store.tokens.claim(cid, None)
    assert not store.tokens.claim(cid, None)
    with Store.open(home) as again:
        assert not again.tokens.claim(cid, START)


def test_a_claim_that_led_to_nothing_can_be_made_again_and_an_answered_one_cannot(
    store: Store,
) -> None:
    cid, asked = lasting(1).cid, instruction(1)
    store.tokens.claim(cid, START + 60)
    store.tokens.release(cid)
    assert store.tokens.claim(cid, START + 60)
    assert store.tokens.receipt_of(cid) is None
    store.commit_run(asked, receipt(asked), [], claim=cid)
    store.tokens.release(cid)
    assert not store.tokens.claim(cid, START + 60)
    assert store.tokens.receipt_of(cid) == receipt(asked)


def test_claims_go_some_time_after_they_could_be_used(store: Store, clock: FakeClock) -> None:
    old, young = lasting(1).cid, lasting(2).cid
    store.tokens.claim(old, START)
    store.tokens.claim(young, None)
    signed_at(store, clock, START + DAY)
    store.tokens.claim(lasting(3).cid, None)
    rows = store._database.rows("SELECT cid FROM invocations ORDER BY cid")
    assert {raw for (raw,) in rows} == {young.raw, lasting(3).cid.raw}


def test_gc_evicts_what_has_long_expired_with_its_revocation(
    store: Store, clock: FakeClock
) -> None:
    gone, stays, unknown = lasting(0), lasting(DAY), lasting(None, nonce=b"elsewhere...")
    store.tokens.add([gone, stays], [(revocation(one), [PI.did]) for one in (gone, stays, unknown)])
    signed_at(store, clock, START + EXPIRED_KEPT_S + 1)
    store.gc(dry_run=True)
    assert store.stats().delegations == 2
    store.gc()
    assert list(store.tokens.delegations()) == [stays]
    assert {one.revoked for one in store.tokens.revocations()} == {stays.cid, unknown.cid}
    assert store.tokens.revoked_by(gone.cid, [PI.did]) is None
    assert store.tokens.revoked_by(unknown.cid, [PI.did]) == PI.did


def test_a_clock_that_runs_ahead_makes_gc_forget_no_revocation(
    store: Store, clock: FakeClock
) -> None:
    link = lasting(DAY)
    store.tokens.add([link], [(revocation(link), [PI.did])])
    store.tokens.claim(link.cid, START)
    clock.seconds = START + 100 * 365 * DAY
    store.gc()
    assert store.tokens.revoked_by(link.cid, [PI.did]) == PI.did
    assert not store.tokens.claim(link.cid, START)


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
    assert "signature" in problems[0].text
    assert "not an invocation" in problems[1].text
    store.check(deep=True, repair=True)
    assert store.check(deep=True) == []
    assert store.stats().delegations == 2
    assert store.tokens.revoked_by(links[0].cid, [PI.did]) == PI.did


def test_a_backup_holds_the_tokens(home: Path, tmp_path: Path, store: Store) -> None:
    store.tokens.add(three_links())
    store.backup(tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "other")
    with closing(Store.open(tmp_path / "other")) as other:
        assert list(other.tokens.delegations()) == three_links()
