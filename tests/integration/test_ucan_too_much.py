"""What no node reads is not signed, what is kept can be taken back, and both are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.errors import LimitError
from lite.ipld import dag_cbor, dag_json, multibase
from lite.ipld.cid import CID, DAG_CBOR
from lite.ucan import container
from lite.ucan.refusals import NoProofs, TooManyItems
from lite.ucan.revocation import Revocation
from tests.authority_support import give
from tests.integration.conftest import Ipvm
from tests.integration.test_cli_ucan import At, did, given, home, ok, refused
from tests.ucan_support import LAPTOP, NONCE, PHONE, PI, delegation, foreign_delegation

RUN = "/wasm/run"
MUCH = [["!=", ".zz?", [0] * 2_600]]
FAR_TOO_MUCH = [["!=", ".zz?", [0] * 4_300]]


def branches(number: int) -> list[Any]:
    return [["or", [["==", ".input.args[0]", n] for n in range(number)]]]


@pytest.fixture
def at_pi(ipvm: Ipvm, here: Path) -> At:
    (here / "homes").mkdir()
    return home(ipvm, "pi")


@pytest.fixture
def at_laptop(ipvm: Ipvm, at_pi: At) -> At:
    return home(ipvm, "laptop")


# In the library.


def test_a_delegation_that_nobody_reads_is_not_signed(pi: Node, laptop: Node) -> None:
    with pytest.raises(LimitError, match="over 4096 values"):
        pi.authority.delegate(laptop.did, RUN, policy=FAR_TOO_MUCH, expires_in_s=60)
    assert pi.authority.tokens() == []


@pytest.mark.parametrize("policy", [MUCH, branches(250)])
def test_a_link_below_which_nothing_would_be_let_in_is_not_signed(
    pi: Node, laptop: Node, phone: Node, policy: Any
) -> None:
    give(pi, laptop, policy=policy)
    with pytest.raises(TooManyItems, match="read for one check"):
        laptop.authority.delegate(phone.did, RUN, policy=policy, expires_in_s=60, subject=pi.did)
    assert len(laptop.authority.tokens()) == 1
    give(laptop, phone, policy=[["==", ".x", 1]], subject=pi.did)


def test_a_link_is_added_to_the_chain_that_it_fits(pi: Node, laptop: Node, phone: Node) -> None:
    """The shorter one is too much together with it."""
    give(pi, laptop, policy=MUCH)
    give(pi, phone)
    give(phone, laptop, subject=pi.did)
    issued = laptop.authority.delegate(PHONE.did, RUN, policy=MUCH, expires_in_s=60, subject=pi.did)
    assert len(issued.chain) == 3
    assert pi.authority.verify(container.write(one.data for one in issued.chain)).holds


def test_an_invocation_that_nobody_would_let_in_is_not_signed(pi: Node, laptop: Node) -> None:
    give(pi, laptop, policy=MUCH)
    with pytest.raises(TooManyItems):
        laptop.authority.invoke(pi.did, RUN, {"rsc": "ipfs://x", "input": {"args": [1] * 2_600}})
    with pytest.raises(LimitError, match="over 4096 values"):
        laptop.authority.invoke(pi.did, RUN, {"rsc": "ipfs://x", "input": {"args": [1] * 4_300}})
    laptop.authority.invoke(pi.did, RUN, {"rsc": "ipfs://x", "input": {"args": [1] * 2_000}})


def test_what_is_kept_can_be_taken_back_by_its_cid_whatever_it_holds(pi: Node) -> None:
    for number, policy in enumerate((FAR_TOO_MUCH, MUCH)):
        kept = foreign_delegation(
            pi.key, LAPTOP, sub=pi.did, pol=policy, nonce=bytes([number] * 12)
        )
        pi.store.tokens.add([kept])
        assert pi.authority.revoke(kept.cid).revoked == kept.cid
        assert pi.store.tokens.revokers(kept.cid) == {pi.did}


def test_what_cannot_be_taken_back_is_not_kept_either(pi: Node) -> None:
    from lite.parcel import Parcel

    stranger = delegation(LAPTOP, PHONE, subject=LAPTOP.did, expires_at=None)
    with pytest.raises(NoProofs):
        pi.authority.revoke(stranger.cid, Parcel.of([stranger.data]))
    assert pi.authority.tokens() == []


def test_what_shows_that_it_can_be_taken_back_is_kept(pi: Node) -> None:
    from lite.parcel import Parcel

    first = delegation(pi.key, LAPTOP, subject=pi.did, expires_at=None)
    second = delegation(LAPTOP, PHONE, subject=pi.did, expires_at=None)
    junk = delegation(LAPTOP, PHONE, subject=LAPTOP.did, expires_at=None)
    parcel = Parcel.of([first.data, second.data, junk.data])
    revocation = pi.authority.revoke(second.cid, parcel)
    assert revocation.path == (first.cid, second.cid)
    assert {one.cid for one in pi.authority.tokens()} == {first.cid, second.cid, revocation.cid}


# On the command line.


def test_delegate_says_what_is_too_much_and_keeps_nothing(
    at_pi: At, at_laptop: At, here: Path
) -> None:
    (here / "big.json").write_bytes(dag_json.encode(FAR_TOO_MUCH))
    ended = at_pi("ucan", "delegate", "--to", did(at_laptop), "--cmd", RUN, "--policy", "@big.json")
    assert (ended.status, ended.text) == (8, "")
    assert "over 4096 values" in ended.err
    assert at_pi("ucan", "list", "--json").json["tokens"] == []


def test_verify_and_inspect_say_what_an_invocation_would_be_told(at_pi: At, here: Path) -> None:
    chain = [
        delegation(PI, LAPTOP, policy=branches(250), expires_at=None),
        delegation(LAPTOP, PHONE, policy=branches(250), expires_at=None),
    ]
    (here / "two.ucan").write_bytes(container.write(one.data for one in chain))
    did(at_pi)
    refused(at_pi("ucan", "verify", "two.ucan"), "read for one check (step 7b)")
    first, second = at_pi("ucan", "inspect", "two.ucan", "--json").json["tokens"]
    assert (first["holds"], second["holds"]) == (True, False)
    assert second["code"] == "ucan-items-too-many"


def test_revoke_by_a_piece_of_a_cid_reads_nothing_of_the_token(at_pi: At, here: Path) -> None:
    did(at_pi)
    with Node.open(here / "homes" / "pi") as node:
        kept = foreign_delegation(node.key, LAPTOP, sub=node.did, pol=FAR_TOO_MUCH, exp=None)
        node.store.tokens.add([kept])
    (here / "kept.ucan").write_bytes(kept.data)
    for name in (str(kept.cid)[-8:], str(kept.cid), "kept.ucan"):
        (data,) = container.read(ok(at_pi("ucan", "revoke", name)).encode())
        assert Revocation.parse(data).revoked == kept.cid


def test_revoke_keeps_nothing_of_a_stranger(at_pi: At, at_laptop: At, here: Path) -> None:
    one = delegation(LAPTOP, PHONE, subject=LAPTOP.did, expires_at=None)
    (here / "theirs.ucan").write_bytes(one.data)
    ended = at_pi("ucan", "revoke", "theirs.ucan")
    assert ended.status == 4, ended.err
    assert at_pi("ucan", "list", "--json").json["tokens"] == []


@pytest.mark.parametrize(
    ("prefix", "header", "size"),
    [("8524", "3401852412800271", 256), ("8524", "3401852412800271", 512),
     ("8124", "3401ec0181242071", 96)],
)  # fmt: skip
def test_a_token_of_another_algorithm_is_shown_and_refused_for_that(
    at_pi: At, here: Path, prefix: str, header: str, size: int
) -> None:
    issuer = f"did:key:{multibase.encode(bytes.fromhex(prefix) + bytes(49), 'base58btc')}"
    payload = {
        "iss": issuer, "aud": LAPTOP.did, "sub": issuer, "cmd": RUN, "pol": [], "nonce": NONCE,
        "exp": None,
    }  # fmt: skip
    signed = {"h": bytes.fromhex(header), "ucan/dlg@1.0.0-rc.1": payload}
    data = dag_cbor.encode([bytes(size), signed])
    (here / "other.ucan").write_bytes(data)
    ended = at_pi("ucan", "verify", "other.ucan", "--json")
    assert ended.status == 4
    assert (ended.json["error"]["code"], ended.json["error"]["step"]) == (
        "ucan-signature-algorithm",
        "7c",
    )
    (shown,) = at_pi("ucan", "inspect", "other.ucan", "--json").json["tokens"]
    assert (shown["kind"], shown["iss"], shown["cid"]) == (
        "delegation", issuer, str(CID.of(data, DAG_CBOR)),
    )  # fmt: skip
    assert shown["code"] == "ucan-signature-algorithm"
    assert f"to      {LAPTOP.did}" in at_pi("ucan", "inspect", "other.ucan").text


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ('["==", ".x", null]', "there is a null in it"),
        ('["==", ".x", [{"a": null}]]', "there is a null in it"),
        ('["==", ".x", {"/": "bafkqaaa"}]', "bafkqaaa is a link"),
    ],
)
def test_a_link_or_a_null_in_a_policy_is_noted(
    at_pi: At, at_laptop: At, policy: str, said: str
) -> None:
    ended = at_pi("ucan", "delegate", "--to", did(at_laptop), "--cmd", RUN, "--policy", policy)
    assert ended.status == 0
    assert f"{said}; some others refuse such a token" in ended.err


def test_a_link_in_the_arguments_of_an_invocation_is_noted(
    at_pi: At, at_laptop: At, here: Path
) -> None:
    ok(at_laptop("ucan", "import", given(at_pi, at_laptop)))
    (here / "blob").write_bytes(bytes(100_000))
    ended = at_laptop("ucan", "invoke", "--subject", did(at_pi), "typed.wasm:echo", "@blob")
    assert ended.status == 0, ended.err
    assert "is a link; some others refuse such a token" in ended.err
