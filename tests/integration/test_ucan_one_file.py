"""Tokens judged by all that is in the same file, in whatever order, and revocations among them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest

from lite import Node
from lite.ipld import dag_cbor
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import NoProofs, Revoked
from lite.ucan.revocation import Revocation
from tests.authority_support import add, ask, give
from tests.integration.test_cli_ucan import At
from tests.integration.test_cli_ucan_forms import pi as at_pi  # noqa: F401
from tests.ucan_support import LAPTOP, PHONE, PI, STRANGER, delegation


def link(giver: Any, taker: Any, **told: Any) -> Delegation:
    return delegation(giver, taker, **{"expires_at": None, **told})


def in_order(tokens: Sequence[bytes]) -> bytes:
    """A container of the tokens in this order, as others may write it."""
    return b"@" + dag_cbor.encode({"ctn-v1": list(tokens)})


LEAF = link(LAPTOP, PHONE)
ROOT = link(PI, LAPTOP)
OF_LEAF = Revocation.issue(PI, revoked=LEAF.cid, subject=PI.did)
OTHERS = {
    "one that expired": link(PI, LAPTOP, expires_at=1_700_000_000),
    "one for something else": link(PI, LAPTOP, command="/crud"),
    "one by a stranger": link(STRANGER, LAPTOP),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_holds_by_any_giver_in_the_file_holds_in_every_order(
    at_pi: At,  # noqa: F811
    here: Path,
    name: str,
) -> None:
    for number, tokens in enumerate(permutations([OTHERS[name], ROOT, LEAF])):
        file = here / f"{number}.ucan"
        file.write_bytes(in_order([one.data for one in tokens]))
        rows = at_pi("ucan", "inspect", file.name, "--json").json["tokens"]
        (leaf,) = [row for row in rows if row["cid"] == str(LEAF.cid)]
        assert (leaf["holds"], leaf["above"]) == (True, [str(ROOT.cid)])
        assert at_pi("ucan", "verify", file.name).status == 0


def test_the_last_delegation_of_a_file_is_the_same_for_revoke(pi: Node, phone: Node) -> None:
    """Where the laptop was given two rights and passed on one."""
    roots = [pi.authority.delegate(LAPTOP.did, cmd, expires_in_s=None) for cmd in ("/a", "/wasm")]
    leaf = link(LAPTOP, PHONE, subject=pi.did, command="/wasm/run")
    data = container.write([*(one.token.data for one in roots), leaf.data])
    assert [one.cid for one in pi.authority.verify(data).chain] == [roots[1].token.cid, leaf.cid]


@pytest.mark.parametrize("order", [1, -1])
def test_a_revocation_in_the_file_is_heeded(at_pi: At, here: Path, order: int) -> None:  # noqa: F811
    tokens = [ROOT.data, LEAF.data, OF_LEAF.data][::order]
    (here / "x.ucan").write_bytes(in_order(tokens))
    rows = {row["cid"]: row for row in at_pi("ucan", "inspect", "x.ucan", "--json").json["tokens"]}
    assert rows[str(LEAF.cid)]["code"] == "ucan-revoked"
    assert rows[str(ROOT.cid)]["holds"]
    assert rows[str(OF_LEAF.cid)]["holds"]
    ended = at_pi("ucan", "verify", "x.ucan", "--json")
    assert (ended.status, ended.json["error"]["code"]) == (4, "ucan-revoked")


def test_a_revocation_that_counts_for_nothing_stops_nothing(pi: Node) -> None:
    root = pi.authority.delegate(LAPTOP.did, "/wasm/run", expires_in_s=None).token
    forged = bytearray(Revocation.issue(LAPTOP, revoked=root.cid, subject=pi.did).data)
    forged[10] ^= 1
    asked = Invocation.issue(
        LAPTOP, subject=pi.did, command="/wasm/run", args={}, expires_at=None, proofs=[root.cid]
    )
    by_stranger = Revocation.issue(STRANGER, revoked=root.cid, subject=STRANGER.did)
    for bad in (bytes(forged), by_stranger.data):
        assert pi.authority.verify(container.write([asked.data, root.data, bad])).holds
        assert not pi.authority.verify(container.write([root.data, bad])).holds


def test_an_invocation_that_comes_with_its_revocation_is_refused_and_that_is_kept(
    pi: Node, phone: Node
) -> None:
    root = pi.authority.delegate(LAPTOP.did, "/wasm/run", expires_in_s=None).token
    leaf = Delegation.issue(
        LAPTOP, audience=phone.did, subject=pi.did, command="/wasm/run", expires_at=None
    )
    phone.authority.import_(container.write([root.data, leaf.data]))
    data = ask(phone, pi, add(pi))
    revocation = Revocation.issue(LAPTOP, revoked=leaf.cid, subject=pi.did)
    junk = [
        Revocation.issue(STRANGER, revoked=one.cid, subject=STRANGER.did).data
        for one in (root, leaf, ROOT)
    ]
    with pytest.raises(Revoked):
        pi.run_invocation(container.write([*container.read(data), revocation.data, *junk]))
    with pytest.raises(Revoked):
        pi.run_invocation(data)
    kept = [one.cid for one in pi.authority.tokens() if one.kind == "revocation"]
    assert kept == [revocation.cid]


def test_a_revocation_that_came_with_an_invocation_of_something_else_is_kept_too(
    pi: Node, phone: Node
) -> None:
    give(pi, phone)
    other = pi.authority.delegate(LAPTOP.did, "/wasm/run", expires_in_s=None).token
    revocation = Revocation.issue(pi.key, revoked=other.cid, subject=pi.did)
    data = ask(phone, pi, add(pi))
    done = pi.run_invocation(container.write([*container.read(data), revocation.data]))
    assert done.out.unwrap() == 42
    assert isinstance(pi.authority.verify(other.data).refusal, Revoked)


def test_the_root_issuer_revokes_a_powerline_below_it(pi: Node) -> None:
    """Also one that hangs by another powerline."""
    root = pi.authority.delegate(LAPTOP.did, "/wasm/run", expires_in_s=None).token
    line = link(LAPTOP, PHONE, subject=None)
    second = link(PHONE, STRANGER, subject=None)
    pi.authority.import_(container.write([line.data, second.data]))
    for one in (second, line):
        revocation = pi.authority.revoke(one.cid)
        assert revocation.invocation.subject == pi.did
        assert (revocation.path[0], revocation.path[-1]) == (root.cid, one.cid)
        assert pi.authority.verify(revocation.data).holds
    asked = Invocation.issue(
        PHONE,
        subject=pi.did,
        command="/wasm/run",
        args={},
        expires_at=None,
        proofs=[root.cid, line.cid],
    )
    assert isinstance(pi.authority.verify(asked.data).refusal, Revoked)


def test_a_powerline_that_hangs_by_two_subjects_is_not_one_s_own_to_revoke(pi: Node) -> None:
    """A row of links about different subjects is no chain."""
    pi.authority.delegate(LAPTOP.did, "/wasm/run", expires_in_s=None)
    about_other = link(LAPTOP, PHONE, subject=STRANGER.did)
    line = link(PHONE, STRANGER, subject=None)
    pi.authority.import_(container.write([about_other.data, line.data]))
    with pytest.raises(NoProofs, match="nothing above it"):
        pi.authority.revoke(line.cid)


def test_a_right_given_to_oneself_is_judged_like_any_other(pi: Node) -> None:
    alone = link(LAPTOP, LAPTOP, subject=pi.did)
    refusal = pi.authority.verify(alone.data).refusal
    assert refusal is not None
    assert "no chain from" in str(refusal)
    assert pi.authority.verify(link(LAPTOP, LAPTOP, subject=None).data).holds
    root = pi.authority.delegate(LAPTOP.did, "/wasm/run", expires_in_s=None).token
    assert pi.authority.verify(container.write([root.data, alone.data])).holds


def test_a_chain_of_twice_too_many_links_is_called_that(pi: Node) -> None:
    from lite.keys import Key

    people = [pi.key, *(Key.from_seed(bytes([n]) * 32) for n in range(50, 84))]
    row = [link(giver, taker, subject=pi.did) for giver, taker in pairwise(people)]
    refusal = pi.authority.verify(container.write(one.data for one in row)).refusal
    assert refusal is not None
    assert "34 proofs, at most 16" in str(refusal)
