"""`ipvm queue` and what `status` says of it, without a daemon."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lite.store import Store
from tests.integration.conftest import Ipvm


@pytest.fixture
def queued(here: Path, ipvm: Ipvm) -> int:
    """The number of a step that waits for a GPU that nobody has."""
    ipvm("add", "numbers.wasm", "--name", "numbers")
    step = {"run": "numbers:add", "args": [1, 2], "requires": {"gpu": {"count": 900}}}
    (here / "heavy.json").write_text(json.dumps({"name": "heavy", "steps": {"heavy": step}}))
    assert ipvm("workflow", "run", "heavy.json").status == 3
    (item,) = ipvm("queue", "list", "--json").json["items"]
    return int(item["item"])


def items(ipvm: Ipvm, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ipvm("queue", "list", "--json", *words).json["items"]
    return found


def test_a_step_that_waits_is_listed_with_its_true_reason(queued: int, ipvm: Ipvm) -> None:
    line = ipvm("queue", "list").text
    assert line.split()[:3] == [str(queued), "heavy", "queued"]
    assert "needs 900 GPUs; this node has" in line
    assert "queue     1 step for other nodes" in ipvm("status").text
    (told,) = ipvm("status", "--json").json["queue"]
    assert (told["code"], told["label"], told["providers"]) == ("gpu", "heavy", [])


def test_show_says_all_of_one(queued: int, ipvm: Ipvm) -> None:
    text = ipvm("queue", "show", str(queued)).text
    assert "step      heavy of run " in text and "not here  needs 900 GPUs" in text
    assert ipvm("queue", "show", str(queued), "--json").json["jobs"] == []
    assert ipvm("queue", "show", "99").status == 5


def test_what_is_cancelled_stays_out_until_it_is_tried_again(
    queued: int, ipvm: Ipvm, home: Path
) -> None:
    assert ipvm("queue", "cancel", str(queued)).status == 0
    assert (items(ipvm), [one["state"] for one in items(ipvm, "--all")]) == ([], ["cancelled"])
    assert ipvm("queue", "cancel", str(queued)).status == 2
    assert ipvm("workflow", "run", "heavy.json").status == 3
    assert items(ipvm) == []
    assert ipvm("queue", "retry", str(queued)).status == 0
    assert [one["state"] for one in items(ipvm)] == ["queued"]


def test_a_step_is_queued_once_however_often_its_workflow_is_run(queued: int, ipvm: Ipvm) -> None:
    assert ipvm("workflow", "run", "heavy.json").status == 3
    assert [one["item"] for one in items(ipvm)] == [queued]


def sent(home: Path, item: str, job: str) -> None:
    """The step is a mutation, which a provider had: the states of both."""
    with Store.open(home) as store:
        store.database.run(f"UPDATE outbox SET level = 'mutation', state = '{item}'")
        store.database.run(
            "INSERT INTO outbox_jobs (invocation, item, provider, token, instruction, cargo, final,"
            " choice, state, lease_until, sent_at) SELECT instruction, id, 'did:key:z6MkX', x'00',"
            f" instruction, instruction, 1, '', '{job}', 1 << 40, 0 FROM outbox"
        )


def test_a_mutation_that_is_cancelled_after_it_was_begun_may_have_been_done(
    queued: int, ipvm: Ipvm, home: Path
) -> None:
    sent(home, "accepted", "accepted")
    cancelled = ipvm("queue", "cancel", str(queued))
    assert cancelled.status == 0
    assert "did:key:z6MkX may have done heavy already; `ipvm workflow resume" in cancelled.err
    assert "did:key:z6MkX may have done it already" in ipvm("queue", "show", str(queued)).text
    again = ipvm("workflow", "run", "heavy.json")
    assert again.status == 3 and "did:key:z6MkX may have done it already" in again.err


def test_what_may_have_acted_is_not_offered_again(queued: int, ipvm: Ipvm, home: Path) -> None:
    sent(home, "failed", "lost")
    refused = ipvm("queue", "retry", str(queued))
    assert refused.status == 2
    assert "did:key:z6MkX may have done heavy already" in refused.err
    assert "--redo heavy" in refused.err


@pytest.mark.parametrize("words", ["show", "retry", "cancel", "list --limit"])
def test_a_number_beyond_what_the_store_takes_is_no_number_of_ours(ipvm: Ipvm, words: str) -> None:
    assert ipvm("queue", *words.split(), str(2**63)).status == 2
