"""What is in force stays so: revocations by a delegated right whatever their meta says, those whose
proofs ended or whose clock went back; invocations that end with their chain; and damage of one row
that hides no other."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.ipld.cid import CID
from lite.store import Store, schema
from lite.store.home import DATABASE
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import NoProofs, Revoked, TooEarly
from lite.ucan.revocation import COMMAND, Revocation
from tests.authority_support import DAY, add, ask, give, invocation_in
from tests.integration.conftest import Ipvm
from tests.integration.test_cli_ucan import At, did, given, home, ok
from tests.store_support import START, FakeClock
from tests.ucan_support import LAPTOP, PHONE, PI, delegation, invocation_token

GIVEN = delegation(PI, PHONE, expires_at=None)
RIGHT = delegation(PI, LAPTOP, command=COMMAND, expires_at=None)
METAS: dict[str, dict[str, Any]] = {
    "without meta": {},
    "with a note": {"note": "x"},
    "with an empty list of proofs in its meta": {"prf": []},
}


def by_right(meta: dict[str, Any], *proofs: Delegation) -> Invocation:
    """A revocation by the laptop, in the name of the Pi."""
    return Invocation.issue(
        LAPTOP, subject=PI.did, command=COMMAND, args={"revoke": GIVEN.cid}, expires_at=None,
        proofs=[one.cid for one in proofs or [RIGHT]], nonce=b"", meta=meta,
    )  # fmt: skip


@pytest.mark.parametrize("meta", METAS.values(), ids=METAS)
def test_a_revocation_by_right_counts_from_when_its_proof_comes(
    pi: Node, meta: dict[str, Any]
) -> None:
    revocation = by_right(meta)
    pi.authority.import_(container.write([GIVEN.data, revocation.data]))
    assert pi.authority.verify(GIVEN.data).holds
    pi.authority.import_(RIGHT.data)
    assert pi.store.tokens.revokers(GIVEN.cid) == {LAPTOP.did, PI.did}
    assert isinstance(pi.authority.verify(GIVEN.data).refusal, Revoked)
    assert [one.text for one in pi.store.check(deep=True) if one.code == "damaged-token"] == []


def test_what_revocations_name_as_proofs_is_filled_in_when_a_store_is_upgraded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revocation = Revocation.of(by_right({"prf": []}))
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:8])
        with Store.open(home, clock=FakeClock()) as old:
            execute = old._database.connection.execute
            values = (revocation.cid.raw, GIVEN.cid.raw, START, revocation.data)
            execute("INSERT INTO revocations VALUES (?, ?, ?, ?)", values)
            execute("INSERT INTO revocations VALUES (?, ?, ?, ?)", (b"\1", b"", 0, b"damaged"))
    with Store.open(home, clock=FakeClock()) as store:
        rows = store._database.rows("SELECT proof, revocation FROM revocation_proofs")
        assert rows == [(RIGHT.cid.raw, revocation.cid.raw)]
        store.tokens.add([RIGHT])
        assert store.tokens.revokers(GIVEN.cid) == {LAPTOP.did, PI.did}


def test_a_deep_check_sets_right_under_which_proofs_a_revocation_is_filed(pi: Node) -> None:
    pi.authority.import_(container.write([GIVEN.data, by_right({}).data]))
    execute = pi.store._database.connection.execute
    execute("UPDATE revocation_proofs SET proof = x'00'")
    (problem,) = pi.store.check(deep=True, repair=True)
    assert "is filed under other proofs than it names" in problem.text
    assert pi.store.check(deep=True) == []
    pi.authority.import_(RIGHT.data)
    assert PI.did in pi.store.tokens.revokers(GIVEN.cid)


def test_a_revocation_by_a_right_that_has_ended_since_is_said_to_count(
    pi: Node, clock: FakeClock
) -> None:
    """`import` found that it counts; that its proof ends later changes nothing of that."""
    right = delegation(PI, LAPTOP, command=COMMAND, expires_at=START + 60)
    revocation = by_right({}, right)
    pi.authority.import_(container.write([GIVEN.data, right.data, revocation.data]))
    clock.seconds += DAY
    assert isinstance(pi.authority.verify(GIVEN.data).refusal, Revoked)
    assert pi.authority.verify(revocation.data).holds


def test_a_strangers_revocation_does_not_come_to_count_by_that_of_another(pi: Node) -> None:
    """It names the Pi as its subject, and shows nothing; the Pi revokes as well."""
    pi.authority.import_(container.write([GIVEN.data, by_right({}).data]))
    own = Revocation.issue(PI, revoked=GIVEN.cid, subject=PI.did)
    pi.authority.import_(own.data)
    assert pi.authority.verify(own.data).holds
    refusal = pi.authority.verify(by_right({}).data).refusal
    assert isinstance(refusal, NoProofs)
    pi.authority.import_(RIGHT.data)
    assert pi.authority.verify(by_right({}).data).holds


def test_whether_a_revocation_counts_for_its_subject_is_kept_when_a_store_is_upgraded(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revocation = Revocation.of(by_right({}))
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:10])
        with Store.open(home, clock=FakeClock()) as old:
            execute = old._database.connection.execute
            values = (revocation.cid.raw, GIVEN.cid.raw, START, revocation.data)
            execute("INSERT INTO revocations VALUES (?, ?, ?, ?)", values)
            execute("INSERT INTO revocations VALUES (?, ?, ?, ?)", (b"\1", b"", 0, b"damaged"))
            for name in (LAPTOP.did, PI.did):
                execute("INSERT INTO revokers VALUES (?, ?)", (GIVEN.cid.raw, name))
    with Store.open(home, clock=FakeClock()) as store:
        assert store.tokens.counts_for_subject(revocation.cid)


def test_a_revocation_that_came_in_counts_when_the_clock_goes_back(
    pi: Node, clock: FakeClock
) -> None:
    early = invocation_token(
        PI, sub=PI.did, cmd=COMMAND, args={"revoke": GIVEN.cid}, prf=[], exp=None, nbf=START
    ).data
    clock.seconds = START - DAY
    assert isinstance(pi.authority.verify(early).refusal, TooEarly)
    clock.seconds = START
    pi.authority.import_(container.write([GIVEN.data, early]))
    clock.seconds = START - DAY
    assert isinstance(pi.authority.verify(GIVEN.data).refusal, Revoked)
    assert pi.authority.verify(early).holds


# Invocations end with their chain.


@pytest.mark.parametrize("wished", [None, 30 * DAY])
def test_an_invocation_ends_no_later_than_its_chain(
    pi: Node, phone: Node, wished: int | None
) -> None:
    give(pi, phone, expires_in_s=7 * DAY)
    data = ask(phone, pi, add(pi), expires_in_s=wished)
    assert invocation_in(data).expires_at == START + 7 * DAY
    assert pi.run_invocation(data).out.unwrap() == 42
    sooner = ask(phone, pi, add(pi), expires_in_s=60)
    assert invocation_in(sooner).expires_at == START + 60


@pytest.mark.parametrize("wished", ["30d", "never"])
def test_invoke_says_when_the_chain_ends_sooner_than_was_wished(
    ipvm: Ipvm, here: Path, wished: str
) -> None:
    (here / "homes").mkdir()
    pi, laptop = home(ipvm, "pi"), home(ipvm, "laptop")
    given(pi, laptop)
    asked = ("ucan", "invoke", "--subject", did(pi), "numbers.wasm:add", "1", "2", "--exp")
    ended = laptop(*asked, wished)
    assert f"not {wished}: a delegation above it ends then" in ended.err
    assert "to ask for more" in ended.err
    assert "a delegation above it" not in laptop(*asked, "1h").err


@pytest.mark.parametrize("verb", ["delegate --to {0} --cmd /x", "invoke --subject {0} x.wasm"])
def test_a_time_that_is_too_long_is_called_so(ipvm: Ipvm, here: Path, verb: str) -> None:
    ended = ipvm("ucan", *verb.format(LAPTOP.did).split(), "--exp", "999999999d")
    assert ended.status == 2
    assert "--exp: “999999999d” is too long" in ended.err
    assert "at most 36600d" in ended.err


# What an editor or the disk did.


@pytest.mark.parametrize("mark", ["\ufeff", "\udcef\udcbb\udcbf"], ids=["utf-8", "other locale"])
def test_a_token_given_as_text_may_have_a_byte_order_mark(
    ipvm: Ipvm, here: Path, mark: str
) -> None:
    text = ok(ipvm("ucan", "delegate", "--to", LAPTOP.did, "--cmd", "/x"))
    for verb in ("import", "verify", "inspect", "revoke"):
        assert ipvm("ucan", verb, mark + text).status == 0


@pytest.fixture
def at_pi(ipvm: Ipvm, here: Path) -> At:
    (here / "homes").mkdir()
    return home(ipvm, "pi")


def spoil(folder: Path, statement: str, values: Sequence[Any] = ()) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute("PRAGMA writable_schema = ON")  # tables become lenient without STRICT
        database.execute("UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')')")
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute(statement, values)
    with closing(sqlite3.connect(folder / DATABASE)) as database, database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(
            "UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE name IN "
            "('delegations', 'revocations', 'blocks', 'receipts')"
        )


@pytest.mark.parametrize("key", ["CAST(cid AS TEXT)", "x'00'"])
@pytest.mark.parametrize("table", ["delegations", "revocations"])
def test_a_row_whose_cid_the_disk_changed_hides_no_other_and_is_mended(
    at_pi: At, here: Path, table: str, key: str
) -> None:
    for command in ("/x", "/y"):
        text = ok(at_pi("ucan", "delegate", "--to", LAPTOP.did, "--cmd", command))
    revocation = ok(at_pi("ucan", "revoke", text))
    last = f"(SELECT max(rowid) FROM {table})"
    spoil(here / "homes/pi", f"UPDATE {table} SET cid = {key} WHERE rowid = {last}")
    listed = at_pi("ucan", "list")
    assert (listed.status, "/x, until" in listed.text) == (7, True)
    assert at_pi("ucan", "verify", text, "--json").json["error"]["code"] == "ucan-revoked"
    assert "its bytes hash to another CID" in at_pi("doctor", "--deep").text
    at_pi("doctor", "--deep", "--repair")
    assert at_pi("doctor", "--deep").status == 0
    for kept in (text, revocation):
        assert at_pi("ucan", "import", kept).status == 0
    assert at_pi("ucan", "list").status == 0


TURNED = {
    "bytes into text": "UPDATE delegations SET data = CAST(data AS TEXT) WHERE command = '/y'",
    "a letter of the issuer": "UPDATE delegations SET issuer = CAST(x'6469ff' AS TEXT) "
    "WHERE command = '/y'",
    "a letter of the audience": "UPDATE delegations SET audience = CAST(x'6469ff' AS TEXT) "
    "WHERE command = '/y'",
}


@pytest.mark.parametrize("statement", TURNED.values(), ids=TURNED)
def test_a_row_of_which_the_disk_made_another_type_is_damage_and_is_mended(
    at_pi: At, here: Path, statement: str
) -> None:
    for command in ("/x", "/y"):
        text = ok(at_pi("ucan", "delegate", "--to", LAPTOP.did, "--cmd", command))
    kept = CID.parse(at_pi("ucan", "inspect", text, "--json").json["tokens"][0]["cid"])
    spoil(here / "homes/pi", statement)
    listed = at_pi("ucan", "list")
    assert "/x, until" in listed.text
    assert "�" not in listed.err and "\\x" not in listed.err
    failed = at_pi("doctor", "--deep", "--json")
    assert any(str(kept) in str(one) for one in failed.json["checks"])
    at_pi("doctor", "--deep", "--repair")
    assert at_pi("doctor", "--deep").status == 0
    assert at_pi("ucan", "import", text).status == 0
    assert [row["holds"] for row in at_pi("ucan", "list", "--json").json["tokens"]] == [True, True]
    spoil(here / "homes/pi", statement)
    assert at_pi("ucan", "import", text).status == 0  # mends it as well
    assert at_pi("ucan", "list").status == 0
    spoil(here / "homes/pi", statement)
    assert at_pi("ucan", "revoke", text).status == 0


@pytest.mark.parametrize(
    ("table", "column"), [("blocks", "data"), ("blocks", "cid"), ("receipts", "cid")]
)
def test_a_block_or_receipt_of_which_the_disk_made_a_text_is_named_and_dropped(
    at_pi: At, here: Path, table: str, column: str
) -> None:
    assert ok(at_pi("run", "numbers.wasm:add", "1", "2")) == "3"
    last = f"(SELECT max(rowid) FROM {table})"
    changed = f"UPDATE {table} SET {column} = CAST(x'ff' || {column} AS TEXT) WHERE rowid = {last}"
    spoil(here / "homes/pi", changed)
    found = at_pi("doctor", "--deep")
    assert found.status == 7
    said = "are not its own" if table == "blocks" else "its bytes hash to another CID"
    assert said in found.text
    at_pi("doctor", "--deep", "--repair")
    assert ok(at_pi("run", "numbers.wasm:add", "1", "2")) == "3"
    assert at_pi("doctor", "--deep").status == 0
