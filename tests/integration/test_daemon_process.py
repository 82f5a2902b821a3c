"""The daemon as a process: start, end, crashes, and whatever may be wrong around it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.link import CARD, Card, Link
from lite.nudge import RECORDS, nudge
from lite.store import Store
from tests.daemon_support import DaemonProcess, daemon, environment, ipvm, prepare, ready_of, spawn
from tests.disk_support import fill
from tests.integration.conftest import NUMBERS
from tests.waiting_support import WITHIN_S, until
from tests.wat_guests import wat

LONG = {"fuel": 10**15, "time": "600s"}
DISK = "size=4m"
SOCKETS = ("daemon.json", "daemon.lock", "daemon.sock", "nudge.sock")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "home"


def refused(home: Path, *options: str, offline: bool = True) -> tuple[int, str]:
    """How a daemon that cannot start ends: its status and what it says."""
    child = spawn(home, *options, offline=offline)
    try:
        _, err = child.communicate(timeout=WITHIN_S)
    finally:
        child.kill()
        child.wait()
    return child.returncode, err.decode()


def test_it_says_when_it_is_ready_and_leaves_nothing_behind(place: Path) -> None:
    with daemon(place) as here:
        assert here.ready == {
            "v": 1, "pid": here.child.pid, "api": f"unix:{place}/daemon.sock", "peers_listen": [],
        }  # fmt: skip
        assert all((place / name).exists() for name in SOCKETS)
        status, err = here.stop()
    assert status == 0, err
    assert f"ipvm: ready, process {here.child.pid}, API at unix:" in err
    assert [name for name in SOCKETS if (place / name).exists()] == []
    assert Link.of(place) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_ends_it_in_order(place: Path, number: int) -> None:
    with daemon(place) as here:
        events = here.link.events("oldest")
        kinds = [next(events).kind]
        assert here.stop(number)[0] == 0
        kinds += [one.kind for one in events]
    assert kinds == ["daemon.started", "daemon.stopping"]


def test_who_follows_is_told_that_it_was_killed(place: Path) -> None:
    with daemon(place) as here:
        command = [sys.executable, "-m", "lite", "events", "-f"]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, env=environment(place), stdout=pipe, stderr=pipe, text=True
        ) as follower:
            assert follower.stdout is not None
            assert "daemon.started" in follower.stdout.readline()
            here.child.kill()
            err = follower.communicate(timeout=WITHIN_S)[1]
        assert follower.returncode == 6
        assert "does not answer" in err


def test_the_key_is_not_replaced_under_a_daemon(place: Path) -> None:
    with daemon(place) as here:
        before = here.link.get("/v1/status")["node"]["did"]
        ipvm(place, "key", "new", "--force", status=6)
        (place.parent / "other.key").write_text(Key.generate().export_text())
        ipvm(place, "key", "import", place.parent / "other.key", "--force", status=6)
        assert here.link.get("/v1/status")["node"]["did"] == before
    assert ipvm(place, "id", "-q").decode().strip() == before
    ipvm(place, "key", "new", "--force")


def test_a_second_daemon_is_refused_and_says_which_one_runs(place: Path) -> None:
    with daemon(place) as here:
        status, err = refused(place)
        assert status == 6
        assert f"a daemon runs on {place} already: process {here.child.pid}, since 20" in err
        assert here.card.api in err and "→" in err
        assert here.call("GET", "/healthz").status == 200
        with daemon(place.with_name("other")) as other:
            assert other.call("GET", "/healthz").status == 200


def test_after_a_kill_nothing_it_left_is_in_the_way(place: Path) -> None:
    with daemon(place) as here:
        here.child.kill()
        here.child.wait()
    assert all((place / name).exists() for name in SOCKETS)
    assert Card.read(place) is not None
    assert Link.of(place) is None  # it is recognised as what a dead one left
    assert b"does not run" in ipvm(place, "service", "status")
    with daemon(place) as again:
        assert again.card.token != here.card.token
        assert again.call("GET", "/healthz").status == 200
        assert Link.of(place) is not None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff" * 99])
def test_a_file_that_tells_nothing_is_no_daemon(place: Path, content: bytes) -> None:
    place.mkdir()
    (place / CARD).write_bytes(content)
    assert Link.of(place) is None


def test_a_home_with_a_long_path_has_its_sockets_elsewhere(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30) / "home"
    runtime = tmp_path / "r"
    runtime.mkdir()
    with daemon(home, env={"XDG_RUNTIME_DIR": str(runtime)}) as here:
        assert here.card.api.startswith(f"unix:{runtime}/ipvm-")
        assert len(here.card.api) < len(str(home))
        assert here.call("GET", "/healthz").status == 200
        before = here.link.get("/v1/status")["daemon"]["wakeups"]
        # The nudge finds its socket by the link in the home.
        nudge(home, RECORDS)
        until(lambda: here.link.get("/v1/status")["daemon"]["wakeups"] > before)
        assert here.stop()[0] == 0
    assert list(runtime.iterdir()) == []


def test_a_home_whose_name_is_no_text_is_one_like_any(tmp_path: Path) -> None:
    home = tmp_path / os.fsdecode(b"h\xff")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "n"))
        with daemon(home, env={"NOTIFY_SOCKET": str(tmp_path / "n")}) as here:
            assert here.link.get("/v1/status")["node"]["home"].endswith("/h?")
            assert refused(home)[0] == 6
            assert ipvm(home, "service", "install", "--print").count(b"/h\xff") == 2
            assert here.stop()[0] == 0


def test_a_port_that_is_taken_is_named(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        status, err = refused(place, "--api", address)
        assert status == 6
        assert f"the API cannot listen on {address}: Address already in use" in err
        status, err = refused(place, "--listen", address, offline=False)
        assert status == 6
        assert f"cannot listen for peers on {address}" in err
    assert [name for name in SOCKETS if (place / name).exists()] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--api", "0.0.0.0:0"), "for this machine alone"),
        (("--api", "example.org:80"), "an address and a port are needed"),
        (("--api", "127.0.0.1"), "an address and a port are needed"),
        (("--api", "127.0.0.1:99999"), "an address and a port are needed"),
        (("--listen", "x"), "an address and a port are needed"),
    ],
)
def test_an_address_that_is_none_is_wrong_usage(
    place: Path, options: tuple[str, ...], message: str
) -> None:
    status, err = refused(place, *options)
    assert status == 2 and message in err
    assert not place.exists()


def test_a_home_that_cannot_be_written_is_refused(place: Path) -> None:
    prepare(place)
    place.chmod(0o500)
    try:
        if os.access(place, os.W_OK):
            pytest.skip("this user may write everywhere")
        status, err = refused(place)
        assert status == 6 and str(place) in err
    finally:
        place.chmod(0o700)


def test_a_file_in_the_place_of_the_home_is_refused(place: Path) -> None:
    place.write_bytes(b"")
    status, err = refused(place)
    assert status == 6 and str(place) in err


def test_a_home_on_a_disk_that_is_read_only_is_refused(disk: Path) -> None:
    prepare(disk / "home")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    status, err = refused(disk / "home")
    assert status == 6 and "cannot be written" in err, err


def test_on_a_full_disk_it_starts_and_serves_what_is_there(disk: Path) -> None:
    """A home keeps some space in reserve for just that."""
    prepare(disk / "home")
    fill(disk)
    with daemon(disk / "home") as here:
        fill(disk)
        assert here.call("GET", "/v1/status").status == 200
        data = bytes(1_000_000)
        put = here.call("PUT", f"/v1/blocks/{CID.of(data, RAW)}", data)
        assert (put.status, put.error["code"]) == (507, "store-full")
        assert here.stop()[0] == 0


def test_without_any_space_it_says_so_and_leaves_nothing(disk: Path) -> None:
    home = disk / "home"
    prepare(home)
    (home / "ipvm.reserve").unlink()
    ballast = fill(disk)
    status, err = refused(home)
    assert status == 6 and "is full" in err, err
    assert [name for name in SOCKETS if (home / name).exists()] == []
    ballast.unlink()
    with daemon(home) as here:
        assert here.call("GET", "/healthz").status == 200
        assert here.stop()[0] == 0


def test_systemd_is_told_of_the_start_and_the_end(place: Path, tmp_path: Path) -> None:
    path = tmp_path / "n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(path))
        heard.settimeout(WITHIN_S)
        with daemon(place, env={"NOTIFY_SOCKET": str(path)}) as here:
            assert heard.recv(999).decode().splitlines() == ["READY=1", f"STATUS={here.card.api}"]
            here.stop()
            assert heard.recv(999) == b"STOPPING=1"


# Work under way.


def spinning(home: Path) -> bytes:
    """A workflow whose second step runs until something ends it."""
    prepare(home, numbers=wat(NUMBERS))
    steps: dict[str, Any] = {
        "sum": {"run": "numbers:add", "args": [1, 2]},
        "spin": {"run": "numbers:spin", "args": [], "limits": LONG},
    }
    return json.dumps({"steps": steps}).encode()


def begin_spinning(here: DaemonProcess, body: bytes) -> str:
    reply = here.call("POST", "/v1/workflows", body)
    assert reply.status == 202, reply.body
    run: str = reply.json["run"]

    def spins() -> bool:
        steps = here.call("GET", f"/v1/workflows/{run}").json["steps"]
        states = {step["label"]: step["state"] for step in steps}
        return states["sum"] in ("done", "cached") and states["spin"] == "running"

    until(spins)
    return run


def state_of(home: Path, run: str) -> tuple[str, dict[str, str]]:
    with Store.open(home) as store:
        row = store.runs.find(run)
        return store.runs.state_of(row), {s.label: s.state for s in store.runs.steps(run)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_the_end_interrupts_can_go_on(place: Path, number: int) -> None:
    body = spinning(place)
    with daemon(place) as here:
        run = begin_spinning(here, body)
        workers = psutil.Process(here.child.pid).children(recursive=True)
        began = time.monotonic()
        status, err = here.stop(number)
        assert status == (0 if number == signal.SIGTERM else -number), err
        assert time.monotonic() - began < 10
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert gone and not alive  # no guest outlives it
    state, steps = state_of(place, run)
    assert (state, steps["sum"]) == ("interrupted", "done")
    assert steps["spin"] in ("running", "waiting")  # nobody is at it
    with daemon(place) as again:
        resumed = again.call("POST", f"/v1/workflows/{run}/resume", {})
        assert (resumed.status, resumed.json["run"]) == (202, run)
        ended = again.call("POST", f"/v1/workflows/{run}/cancel").json
        assert ended["asked"] is True
        until(lambda: state_of(place, run)[0] == "cancelled")


def test_the_command_line_works_as_ever_beside_it(place: Path, tmp_path: Path) -> None:
    spinning(place)
    with daemon(place) as here:
        assert ipvm(place, "run", "numbers:add", 20, 22) == b"42\n"
        assert json.loads(ipvm(place, "run", "numbers:add", 20, 22, "--json"))["cached"] is True
        asked = {"module": "numbers", "function": "add", "args": [20, 22]}
        assert here.call("POST", "/v1/run", asked).json["cached"] is True
        assert ipvm(place, "run", "numbers:div", 1, 0, status=1) == b""
        ipvm(place, "gc")
        ipvm(place, "backup", tmp_path / "b")
        assert ipvm(place, "doctor", status=0)


def test_a_client_that_leaves_ends_nothing(place: Path) -> None:
    spinning(place)
    with daemon(place) as here:
        connection = here.connection()
        asked = {"module": "numbers", "function": "add", "args": [1, 1]}
        connection.request("POST", "/v1/run", json.dumps(asked).encode())
        connection.close()
        until(lambda: here.link.get("/v1/receipts")["receipts"])
        streams = [here.link.events("oldest") for _ in range(3)]
        assert [next(stream).kind for stream in streams] == ["daemon.started"] * 3
        for stream in streams:
            stream.close()
        here.call("POST", "/v1/run", {**asked, "args": [2, 2]})
        until(lambda: here.link.get("/v1/status")["events"]["followers"] == 0)


def test_no_engine_is_loaded_into_the_daemon(place: Path) -> None:
    spinning(place)
    with daemon(place) as here:
        asked = {"module": "numbers", "function": "add", "args": [1, 1]}
        assert here.call("POST", "/v1/run", asked).json["value"] == 2
        mapped = {Path(one.path).name for one in psutil.Process(here.child.pid).memory_maps()}
    assert not [name for name in mapped if "wasmtime" in name or "wasmer" in name]


def test_an_idle_daemon_sleeps(place: Path, full: bool) -> None:
    """Few wake-ups, little memory; the processor's time over a minute with `--full`."""
    with daemon(place) as here:
        time.sleep(0.3)  # what the start itself leaves to do
        first = here.link.get("/v1/status")["daemon"]
        process = psutil.Process(here.child.pid)
        used = sum(process.cpu_times()[:2])
        period = 60.0 if full else 1.0
        time.sleep(period)
        used = sum(process.cpu_times()[:2]) - used
        last = here.link.get("/v1/status")["daemon"]
    woken = last["wakeups"] - first["wakeups"]
    assert woken <= 8 + period / 3, "it polls"
    assert last["rss_bytes"] <= 60_000_000
    assert used <= (0.005 * period if full else 0.2)


def test_a_second_signal_ends_it_at_once(place: Path) -> None:
    with daemon(place) as here:
        events = here.link.events("oldest")
        next(events)
        here.child.send_signal(signal.SIGSTOP)
        here.child.send_signal(signal.SIGTERM)
        here.child.send_signal(signal.SIGINT)
        here.child.send_signal(signal.SIGCONT)
        here.child.communicate(timeout=WITHIN_S)
        assert here.child.returncode in (0, 130, 143)


def test_it_ends_also_when_nobody_reads_what_it_says(place: Path) -> None:
    child = spawn(place)
    ready_of(child)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.close()
    child.stderr.close()
    child.terminate()
    assert child.wait(WITHIN_S) == 0
    assert [name for name in SOCKETS if (place / name).exists()] == []


def test_ready_comes_only_once_it_answers(place: Path) -> None:
    child = spawn(place)
    try:
        ready = ready_of(child)
        link = Link.of(place)
        assert link is not None and link.card.pid == ready["pid"]
        assert link.get("/healthz")["ok"] is True
    finally:
        child.terminate()
        child.communicate(timeout=WITHIN_S)


def test_a_single_call_that_the_end_interrupts_leaves_no_receipt(place: Path) -> None:
    spinning(place)
    with daemon(place) as here:
        connection = here.connection()
        asked = {
            "module": "numbers",
            "function": "spin",
            "limits": {"fuel": 10**15, "time": 600_000},
        }
        connection.request("POST", "/v1/run", json.dumps(asked).encode())
        until(lambda: psutil.Process(here.child.pid).children())
        until(lambda: here.link.get("/v1/status")["runs"]["calls"] == 1)
        began = time.monotonic()
        assert here.stop()[0] == 0
        assert time.monotonic() - began < 10
        connection.close()
    with Store.open(place) as store:
        assert store.receipts.count() == 0
