"""Files of a hostile sender on the command line: refused with a code, never a bug."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from lite.ipld import dag_cbor
from lite.ucan import container
from lite.ucan.envelope import TAG_DELEGATION
from tests.integration.conftest import Ipvm
from tests.ucan_support import LAPTOP, NONCE, PI, unsized

TOKEN = unsized(
    PI,
    TAG_DELEGATION,
    {
        "iss": PI.did,
        "aud": LAPTOP.did,
        "sub": PI.did,
        "cmd": "/wasm/run",
        "pol": [],
        "exp": None,
        "nonce": NONCE,
    },
)
TEXT = container.write([TOKEN])
RANDOM = random.Random(11).randbytes(400)
FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "ucan-malformed"),
    "white space": (b" \n", "ucan-malformed"),
    "random": (b"\xff" + RANDOM, "ucan-malformed"),
    "truncated": (TOKEN[:100], "ucan-malformed"),
    "trailing": (TOKEN + b"\0", "ucan-malformed"),
    "two texts": (TEXT + b"\n" + TEXT, "ucan-malformed"),
    "UTF-16": (TEXT.decode().encode("utf-16"), "ucan-malformed"),
    "too large": (bytes(9_000_000), "usage"),
    "a later version": (TOKEN.replace(b"dlg@1.0.0-rc.1", b"dlg@9.0.0-rc.1"), "ucan-unknown-tag"),
    "a large token": (b"\x82" + bytes(1_000_000), "ucan-token-too-large"),
    "nesting": (b"\x82" * 100_000, "ucan-too-deep"),
    "many tokens": (
        b"M" + gzip.compress(b"\xa1\x66ctn-v1\x9a\0\x3d\x09\0" + b"\x40" * 4_000_000),
        "ucan-tokens-too-many",
    ),
    "a large container": (
        b"M" + gzip.compress(dag_cbor.encode({"ctn-v1": [bytes(4_000_000)]})),
        "ucan-container-too-large",
    ),
    **{f"{chr(at)} and junk": (bytes([at]) + RANDOM, "ucan-malformed") for at in b"@BCMOPDEF"},
}


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_refused_by_its_code(ipvm: Ipvm, here: Path, name: str) -> None:
    data, code = FILES[name]
    (here / "token").write_bytes(data)
    for source, stdin in (("token", b""), ("-", data)):
        ended = ipvm("ucan", "verify", source, "--json", stdin=stdin)
        assert ended.json["error"]["code"] == code
        assert ended.status == (2 if code == "usage" else 4)
        run = ipvm("ucan", "run", source, "--json", stdin=stdin)
        assert run.json["error"]["code"] in (code, "usage")  # a delegation is nothing to run
        assert run.status in (2, 4)


@pytest.mark.parametrize("name", FILES)
def test_to_look_into_a_hostile_file_does_no_harm(ipvm: Ipvm, here: Path, name: str) -> None:
    """A token that is broken is shown as such, beside others perhaps; no container is refused."""
    data, code = FILES[name]
    (here / "token").write_bytes(data)
    ended = ipvm("ucan", "inspect", "token", "--json")
    if ended.status:
        assert ended.json["error"]["code"] == code
    else:
        assert [token["kind"] for token in ended.json["tokens"]] == ["broken"]
        assert ended.json["tokens"][0]["reason"]


@pytest.mark.parametrize("path", [".", "/dev/zero", "nowhere", "B" * 70, "é" * 70])
def test_what_is_no_file_of_tokens_is_refused(ipvm: Ipvm, here: Path, path: str) -> None:
    for verb in ("verify", "inspect", "import", "run"):
        ended = ipvm("ucan", verb, path)
        assert ended.status in (2, 4, 5)
        assert ended.err.startswith("ipvm: ")
