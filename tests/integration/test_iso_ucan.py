"""The same tokens in two implementations: ours and iso-ucan 0.5.0 under node.

Skipped where node, npm or the package is missing. `pytest --full` installs the package once, into
.cache; what is there is used by every run.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest

from lite.keys import Key
from lite.ucan import chains, proofs
from lite.ucan.authorised import Authorised
from lite.ucan.delegation import Delegation
from lite.ucan.invocation import Invocation
from lite.ucan.refusals import Refusal
from lite.ucan.revocation import Revocations
from tests.ucan_support import LAPTOP, PHONE, PI, TABLET, cid_of

VERSION = "0.5.0"
SCRIPT = Path(__file__).with_name("iso_ucan.mjs")
YEAR_2100 = 4_102_444_800
NOW = YEAR_2100 - 3600
ARGS = {"rsc": "ipfs://bafy", "input": {"func": "add", "args": [1, 2]}, "limits": {"fuel": 1000}}
POLICY = [["like", ".rsc", "ipfs://*"], ["<=", ".limits.fuel", 100_000]]


@pytest.fixture(scope="module")
def iso(root: Path, full: bool) -> Path:
    """The folder in which node finds iso-ucan."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are needed to try tokens with iso-ucan")
    folder = root / ".cache" / "iso-ucan"
    package = folder / "node_modules" / "iso-ucan" / "package.json"
    if not package.exists() and full:
        install(folder)
    if not package.exists() or json.loads(package.read_text())["version"] != VERSION:
        pytest.skip(f"iso-ucan {VERSION} is not in .cache: a run with --full installs it")
    return folder


def install(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    words = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", f"iso-ucan@{VERSION}"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=110)
    if done.returncode:
        pytest.skip(f"npm could not install iso-ucan: {done.stderr.strip()[-200:]}")


def ask(folder: Path, question: dict[str, Any]) -> list[Any]:
    done = subprocess.run(
        ["node", "--input-type=module", "-e", SCRIPT.read_text()],
        cwd=folder,
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answer: list[Any] = json.loads(done.stdout)
    return answer


def judged(folder: Path, *cases: tuple[Invocation, list[Delegation]]) -> list[str | None]:
    """What iso-ucan says to each invocation with its chain: None, or its reason to refuse."""
    question = [
        {
            "invocation": b64encode(asked.data).decode(),
            "proofs": [b64encode(link.data).decode() for link in chain],
            "executor": asked.executor,
        }
        for asked, chain in cases
    ]
    return ask(folder, {"judge": question})


def first_link(**fields: Any) -> Delegation:
    told: dict[str, Any] = {
        "audience": LAPTOP.did,
        "subject": PI.did,
        "command": "/wasm",
        "policy": POLICY,
        "expires_at": YEAR_2100,
        **fields,
    }
    return Delegation.issue(PI, **told)


def ours(
    invoker: Key, chain: list[Delegation], **fields: Any
) -> tuple[Invocation, list[Delegation]]:
    told: dict[str, Any] = {
        "subject": PI.did,
        "command": "/wasm/run",
        "args": ARGS,
        "expires_at": YEAR_2100,
        "proofs": [link.cid for link in chain],
        **fields,
    }
    return Invocation.issue(invoker, **told), chain


def test_tokens_minted_here_are_accepted_there(iso: Path) -> None:
    one = [first_link()]
    two = [*one, chains.extend(one, LAPTOP, audience=PHONE.did, command="/wasm/run")]
    line = [*one, first_powerline()]
    cases = [
        ours(LAPTOP, one),
        ours(PHONE, two),
        ours(TABLET, line),
        ours(PI, []),
        ours(LAPTOP, one, executor=PI.did, issued_at=NOW, meta={"job": 1}),
        ours(LAPTOP, one, nonce=b""),
        ours(LAPTOP, [first_link(not_before=1_600_000_000, expires_at=None)]),
    ]
    assert judged(iso, *cases) == [None] * len(cases)


def first_powerline() -> Delegation:
    """The command is said again, as implementations that compare neighbours want it."""
    return Delegation.issue(
        LAPTOP, audience=TABLET.did, subject=None, command="/wasm", expires_at=YEAR_2100
    )


def test_what_is_refused_here_is_refused_there(iso: Path) -> None:
    one = [first_link()]
    skipping = [*one, Delegation.issue(
        PHONE, audience=TABLET.did, subject=PI.did, command="/wasm", expires_at=YEAR_2100
    )]  # fmt: skip
    cases = [
        ours(PHONE, one),
        ours(LAPTOP, one, command="/crud"),
        ours(LAPTOP, one, args={**ARGS, "limits": {"fuel": 10**9}}),
        ours(LAPTOP, one, args={"rsc": "ipfs://x"}),
        ours(LAPTOP, [first_link(expires_at=1_600_000_000)]),
        ours(TABLET, skipping),
        ours(LAPTOP, []),
    ]
    assert all(judged(iso, *cases))
    for asked, chain in cases:
        with pytest.raises(Refusal):
            check(asked.data, [link.data for link in chain])


def check(data: bytes, held: list[bytes]) -> Authorised:
    tokens = {cid_of(token): token for token in held}
    return proofs.check(
        data,
        executor=PI.did,
        now=NOW,
        resolve=tokens.get,
        revoked_by=Revocations().revoked_by,
        claim=None,
    )


def seed(key: Key) -> str:
    return {PI: 1, LAPTOP: 2, PHONE: 3}[key].to_bytes(1, "big").hex() * 32


def test_tokens_minted_there_are_accepted_here(iso: Path) -> None:
    first = {"from": seed(PI), "to": LAPTOP.did, "subject": PI.did, "command": "/wasm"}
    second = {"from": seed(LAPTOP), "to": PHONE.did, "subject": PI.did, "command": "/wasm/run"}
    line = {**second, "subject": None}
    cases = [
        {"chain": chain, "invoker": invoker}
        for chain, invoker in (
            ([{**first, "policy": POLICY}], seed(LAPTOP)),
            ([{**first, "policy": POLICY}, {**second, "policy": []}], seed(PHONE)),
            ([{**first, "policy": []}, {**line, "policy": POLICY}], seed(PHONE)),
            ([], seed(PI)),
        )
    ]
    asked = {"subject": PI.did, "command": "/wasm/run", "args": ARGS}
    for minted in ask(iso, {"mint": [{**case, **asked} for case in cases]}):
        held = [b64decode(proof) for proof in minted["proofs"]]
        allowed = check(b64decode(minted["invocation"]), held)
        assert allowed.invocation.args == ARGS
        assert [link.data for link in allowed.chain] == held
