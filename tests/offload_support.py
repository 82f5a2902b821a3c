"""Daemons of which one does steps for the other."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lite.clock import SystemClock
from lite.link import Card, Link
from lite.model.receipt import Receipt
from lite.peering.book import open_book
from lite.store import Store
from lite.store.outbox_rows import Item, Job
from sync.peers import RUN
from tests.daemon_support import ipvm
from tests.meeting_support import Home
from tests.waiting_support import until

KNOWN = ("read",)  # what a customer and its provider give each other beside delegations


WORK = """(module
  (memory (export "memory") 17)
  (global $free (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $at i32) (local $pages i32)
    global.get $free
    local.tee $at
    local.get 3
    i32.add
    global.set $free
    global.get $free
    i32.const 16
    i32.shr_u
    i32.const 4096
    i32.div_u
    drop
    (local.set $pages
      (i32.sub (i32.add (i32.shr_u (global.get $free) (i32.const 16)) (i32.const 1)) (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0))
      (then (drop (memory.grow (local.get $pages)))))
    local.get $at)
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "count") (param i32 i32) (result i32) local.get 1)
  (func (export "bytes") (param $length i32) (result i32)
    (i32.store (i32.const 16) (i32.const 1024))
    (i32.store (i32.const 20) (local.get $length))
    i32.const 16)
  (func (export "cabi_post_bytes") (param i32))
  (func (export "work") (param $rounds i32) (param $value i32) (result i32)
    (loop $more
      (local.set $rounds (i32.sub (local.get $rounds) (i32.const 1)))
      (br_if $more (local.get $rounds)))
    local.get $value))"""
"""`work` takes so many rounds and gives the value; `count` the length of bytes; `bytes` that
many, at most 1 MB."""


def enable(
    provider: Home, customer: Home, *words: str, address: str = "", op: str = "wasm/run"
) -> None:
    """The provider lets the customer have an operation, and both know each other.

    Args:
        address: where the customer finds the provider; default where that listens.
    """
    provider.trusts(customer, (*KNOWN, RUN), dial=False)
    customer.trusts(provider, KNOWN, dial=False)
    with Store.open(customer.path, durability="normal") as store:
        book = open_book(store, customer.did, SystemClock())
        book.add_static(provider.did, address or provider.address)
    ipvm(provider.path, "provider", "enable", "--op", op, "--for", customer.did, *words)
    customer.running.link.post("/v1/peers/poke", {})
    customer.sync()  # the delegation has come then


def where(home: Home) -> str:
    """Where its daemon listens; empty while none runs."""
    card = Card.read(home.path)
    return "" if card is None else card.listens[0]


def let_post(provider: Home, url: str) -> None:
    """Before the daemon of a provider starts: others may have it run a program that POSTs its
    argument to a server, which is a mutation."""
    code = (
        "import sys, urllib.request as r\n"
        f"r.urlopen(r.Request('{url}/acts/' + sys.argv[1], data=b'x'), timeout=20).read()"
    )
    argv = json.dumps([sys.executable, "-S", "-c", code])
    programs = provider.path / "programs.toml"
    programs.write_text(f'[post]\nargv = {argv}\nlevel = "mutation"\n')
    ipvm(provider.path, "config", "set", "ops.exec", programs)
    ipvm(provider.path, "config", "set", "ops.allowed_for_others", "wasm/run,exec/run")


def posting(provider: Home, name: str) -> dict[str, Any]:
    """A step that POSTs, which only the provider may do."""
    return {
        "op": "exec/run",
        "rsc": "exec:post",
        "input": {"args": [name]},
        "requires": {"affinity": {"did": provider.did}},
    }


def far_step(provider: Home, func: str, *args: Any, **more: Any) -> dict[str, Any]:
    """A step of a workflow file that only the provider may do."""
    requires = {"affinity": {"did": provider.did}}
    return {"run": f"numbers:{func}", "args": list(args), "requires": requires, **more}


def either(*providers: Home) -> dict[str, Any]:
    """What a step requires that only these may do."""
    return {"affinity": {"did": [provider.did for provider in providers]}}


def write(folder: Path, name: str, steps: dict[str, Any]) -> str:
    """A workflow file; its name."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"name": name, "steps": steps}))
    return str(path)


def queue(home: Home) -> list[Item]:
    """The items of a home, the oldest first."""
    with Store.open(home.path, durability="normal") as store:
        return list(reversed(store.outbox.newest()))


def jobs(home: Home) -> list[Job]:
    """All that was sent, the oldest item first."""
    with Store.open(home.path, durability="normal") as store:
        items = reversed(store.outbox.newest())
        return [job for item in items for job in store.outbox.jobs_of(item.id)]


def run_of(home: Home, run: str) -> dict[str, Any]:
    """A run with its steps and results, as the daemon tells it."""
    return Link(home.running.card).get(f"/v1/workflows/{run}")


def begin(home: Home, path: str, *words: str) -> str:
    """Run a workflow by the command, as far as that goes; the id of the run."""
    with Store.open(home.path, durability="normal") as store:
        before = {run.id for run in store.runs.list()}
    ipvm(home.path, "-q", "workflow", "run", path, *words, status=3)
    with Store.open(home.path, durability="normal") as store:
        return next(run.id for run in store.runs.list() if run.id not in before)


def done(home: Home, run: str, within_s: float = 70.0) -> dict[str, Any]:
    """The run once it is done."""
    going = ("queued", "running", "interrupted")  # the last: between two who work on it
    with Store.open(home.path, durability="normal") as store:
        until(lambda: store.runs.state_of(store.runs.find(run)) not in going, within_s)
    return run_of(home, run)


def values(run: dict[str, Any], labels: Sequence[str]) -> list[Any]:
    """The results of a run."""
    return [run["results"][label].get("value") for label in labels]


def own_receipts(home: Home) -> list[Receipt]:
    """What a home has signed itself."""
    with Store.open(home.path, durability="normal") as store:
        return [one for one in store.receipts.list(limit=10_000) if one.issuer == home.did]
