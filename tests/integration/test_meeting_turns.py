"""A daemon that starts while `ipvm sync` of its home waits: to its peers a node is one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from lite.clock import SystemClock
from lite.keys import Key
from lite.peering.book import open_book
from lite.store import Store
from tests.daemon_support import environment
from tests.integration.conftest import NUMBERS
from tests.meeting_support import FRIEND, befriend, homes, start
from tests.waiting_support import WITHIN_S, until
from tests.wat_guests import wat


def test_the_daemon_takes_over_what_sync_had_begun(tmp_path: Path) -> None:
    with homes(tmp_path, wat(NUMBERS), "here", "there") as (here, there), socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # nobody listens: sync waits for who should be there
        start([there])
        befriend([here, there])
        with Store.open(here.path, durability="normal") as store:
            book = open_book(store, here.did, SystemClock())
            away = Key.from_seed(bytes([7]) * 32).did
            book.trust(away, FRIEND, "away")
            book.add_static(away, f"127.0.0.1:{deaf.getsockname()[1]}")
        pipe = subprocess.PIPE
        with subprocess.Popen(
            [sys.executable, "-m", "lite", "--json", "sync", "--within", "4s"],
            env=environment(here.path),
            stdout=pipe,
            stderr=pipe,
        ) as syncing:
            until(lambda: _connected(there.running.link.get("/v1/peers")))
            start([here])
            out, err = syncing.communicate(timeout=WITHIN_S)
        assert syncing.returncode == 1, err
        found = {one["did"]: one for one in json.loads(out)["peers"]}
        assert found[there.did]["in_sync"], found
        assert not found[away]["in_sync"]
        assert "busy" not in json.dumps(here.running.link.get("/v1/peers"))


def _connected(told: dict[str, Any]) -> bool:
    return any(one["link"] == "connected" for one in told["peers"])
