"""What an idle daemon has not loaded, since it would keep it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.daemon_support import WITHIN_S, daemon, environment

DAEMON = """
import json, os, signal, sys
from pathlib import Path
before = dict(os.environ)
from lite.daemon.lean import load_aiohttp
load_aiohttp()
from aiohttp import connector
from lite.config import Config
from lite.daemon.daemon import Wishes, serve

def ready(card):
    roots = len(connector._SSL_CONTEXT_VERIFIED.get_ca_certs())
    told = {"modules": sorted(sys.modules), "roots": roots, "same": before == dict(os.environ)}
    print(json.dumps(told), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)

wishes = Wishes(listen=(("127.0.0.1", 0),), mdns=False)
config = Config.defaults(Path(sys.argv[1]))
serve(config, wishes, say=lambda line: print(line, file=sys.stderr), ready=ready)
"""
SPARED = ("sqlite_utils", "lite.scheduler", "lite.workflow_forecast", "wasmtime", "yaml")


def started(home: Path) -> tuple[dict[str, Any], str]:
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, str(home)],
        env=environment(home),
        capture_output=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr.decode()


def test_a_daemon_loads_neither_what_makes_a_home_nor_what_runs_steps(tmp_path: Path) -> None:
    first, said = started(tmp_path / "home")
    assert "made a new home" in said
    again, said = started(tmp_path / "home")
    assert "made a new home" not in said
    for told in (first, again):
        assert "lite.peering.peering" in told["modules"] and "aiohttp" in told["modules"]
        assert not [name for name in SPARED if name in told["modules"]]
        assert told["roots"] == 0
        assert told["same"], "what OpenSSL looks at is as it was"


def test_a_home_that_cannot_be_made_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "lite", "--home", str(tmp_path / "file" / "home"), "daemon"],
        env=environment(tmp_path / "home"),
        capture_output=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 6
    assert done.stderr.count(b"ipvm: ") == 1 and b"Traceback" not in done.stderr, done.stderr


@pytest.mark.full
def test_the_daemon_of_a_new_home_that_looks_around_stays_within_its_budget(
    tmp_path: Path,
) -> None:
    with daemon(tmp_path / "home", "--listen", "127.0.0.1:0", offline=False) as here:
        with pytest.raises(subprocess.TimeoutExpired):
            here.child.wait(75)
        assert here.link.get("/v1/status")["daemon"]["rss_bytes"] <= 59_000_000
