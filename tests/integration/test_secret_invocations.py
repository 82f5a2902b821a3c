"""What was marked secret is not computed with for others, and no answer lets it out."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from lite import Node, wasm
from lite.errors import AuthorityError
from lite.store import Finished
from tests.authority_support import add, ask, give


@pytest.fixture
def ipvm_at() -> Callable[..., CompletedProcess[str]]:
    """Runs the command line on the home of a node."""

    def run(node: Node, *words: str) -> CompletedProcess[str]:
        command = [sys.executable, "-m", "lite", "--home", str(node.store.home), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    return run


def test_a_job_on_secret_code_is_refused_and_may_be_sent_again_later(pi: Node, phone: Node) -> None:
    give(pi, phone)
    job = add(pi)
    data = ask(phone, pi, job)
    assert job.module is not None
    pi.store.secrets.mark([job.module])
    with pytest.raises(AuthorityError, match="not here for others"):
        pi.run_invocation(data)
    assert pi.store.receipts.count() == 0
    pi.store.secrets.unmark([job.module])
    assert pi.run_invocation(data).out.unwrap() == 42


def test_the_owner_uses_secrets_and_what_comes_of_them_is_secret(pi: Node, phone: Node) -> None:
    give(pi, phone)
    job = add(pi)
    assert job.module is not None
    pi.store.secrets.mark([job.module])
    answer = pi.run(job)
    assert answer.out.unwrap() == 42
    assert pi.store.secrets.is_secret(answer.receipt.cid)
    pi.store.secrets.unmark([job.module])
    with pytest.raises(AuthorityError, match=str(job.cid)):
        pi.run_invocation(ask(phone, pi, job))
    with pytest.raises(AuthorityError, match="marked secret"):
        pi.export([answer.receipt.cid], io.BytesIO())
    assert pi.export([answer.receipt.cid], io.BytesIO(), with_secrets=True) > 0


def test_an_await_on_a_secret_result_is_refused(pi: Node, phone: Node) -> None:
    give(pi, phone)
    first = add(pi, 1, 2)
    own = pi.run(first)
    pi.store.commit_runs([Finished(first, own.receipt, secret=True)])
    assert first.module is not None
    waiting = wasm(first.module, "add", first.ok, 10)
    with pytest.raises(AuthorityError, match="not here for others"):
        pi.run_invocation(ask(phone, pi, waiting))
    assert pi.run(waiting).out.unwrap() == 13


def test_the_command_line_exports_secrets_only_when_told(
    pi: Node, tmp_path: Path, ipvm_at: Callable[..., CompletedProcess[str]]
) -> None:
    secret = pi.add(b"for me", name="diary")
    pi.store.secrets.mark([secret])
    refused = ipvm_at(pi, "export", "diary", "-o", str(tmp_path / "d.car"))
    assert refused.returncode == 4
    assert str(secret) in refused.stderr
    assert "--with-secrets" in refused.stderr
    assert not (tmp_path / "d.car").exists()
    told = ipvm_at(pi, "export", "diary", "-o", str(tmp_path / "d.car"), "--with-secrets")
    assert (told.returncode, (tmp_path / "d.car").exists()) == (0, True)
