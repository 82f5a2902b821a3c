"""What `--json` says of the policy statement that failed, and tokens as editors leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID, DAG_CBOR
from lite.ucan import container
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from tests.integration.test_cli_ucan import At, did
from tests.integration.test_cli_ucan import pi as pi
from tests.ucan_support import LAPTOP, PI

LINK = CID.of(b"x", DAG_CBOR)
MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "value",
    [b"\0\xff", LINK, [LINK, b"x"], {"a": [b"x"]}, "\x1b[31m\u202e", 1.5, 2**60, None, {"/": 1}],
)
@pytest.mark.parametrize("verb", ["run", "verify"])
def test_the_failed_statement_is_dag_json(pi: At, here: Path, verb: str, value: Any) -> None:
    error = refused(pi, here, verb, value)
    assert error["code"] == "ucan-policy"
    statement = ["==", ".input.func", value]
    assert dag_json.decode(json.dumps(error["details"]["policy"])) == statement


@pytest.mark.parametrize("value", [{"/": str(LINK)}, {"/": {"bytes": "AA"}}])
@pytest.mark.parametrize("verb", ["run", "verify"])
def test_a_failed_statement_without_a_form_in_json_is_its_bytes(
    pi: At, here: Path, verb: str, value: Any
) -> None:
    shown = refused(pi, here, verb, value)["details"]["policy"][2]
    assert dag_cbor.decode(dag_json.decode(json.dumps(shown))) == value


def refused(pi: At, here: Path, verb: str, value: Any) -> dict[str, Any]:
    """The error of an invocation whose function is not the one that a policy wants."""
    policy = [["==", ".input.func", value]]
    told: dict[str, Any] = {"subject": did(pi), "command": "/wasm/run", "expires_at": None}
    given = pi("ucan", "delegate", "--to", LAPTOP.did, "--cmd", "/wasm/run")
    assert given.status == 0, given.err
    (first,) = container.read(given.out)
    narrow = Delegation.issue(LAPTOP, audience=PI.did, policy=policy, **told)
    args = {"rsc": f"ipfs://{LINK}", "input": {"func": "other", "args": []}}
    chain = [Delegation.parse(first).cid, narrow.cid]
    asked = Invocation.issue(PI, args=args, proofs=chain, **told)
    (here / "x.ucan").write_bytes(container.write([first, narrow.data, asked.data]))
    ended = pi("ucan", verb, "x.ucan", "--json")
    assert ended.status == 4, ended.err
    found: dict[str, Any] = ended.json["error"]
    return found


@pytest.mark.parametrize("front", [b"", MARK])
@pytest.mark.parametrize("behind", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "a\n"])
def test_a_token_by_itself_may_have_a_mark_in_front_and_a_line_end_behind(
    front: bytes, behind: bytes, end: str
) -> None:
    token = dag_cbor.encode([bytes(64), {"a": end}])
    assert token.endswith(end.encode())
    assert container.read_any(front + token + behind) == (token,)


def test_what_is_more_than_a_line_end_behind_a_token_is_not_dropped() -> None:
    token = dag_cbor.encode([bytes(64), {"a": 1}])
    for behind in (b" ", b"\n\n", b"\r", b"x\n", token):
        assert container.read_any(token + behind) == (token + behind,)
    for broken in (token[:-1] + b"\n", b"\x82" + b"\x81" * 400 + b"\n", b"\x82\xff\n"):
        assert container.read_any(broken) == (broken,)


def test_the_command_line_reads_a_token_as_an_editor_left_it(pi: At, here: Path) -> None:
    token = Delegation.issue(PI, audience=LAPTOP.did, subject=PI.did, command="/x", expires_at=None)
    for front, behind in ((MARK, b""), (b"", b"\n"), (MARK, b"\r\n")):
        (here / "x.ucan").write_bytes(front + token.data + behind)
        ended = pi("ucan", "verify", "x.ucan", "--json")
        assert ended.status == 0, ended.err
