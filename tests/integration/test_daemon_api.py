"""Every path of a running daemon's API, each answer held against `/openapi.json`."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lite.http.table import ROUTES
from lite.ipld import dag_json
from lite.ipld.cid import CID, RAW
from lite.link import DaemonNeighbours
from tests.daemon_support import DaemonProcess, Reply, daemon, ipvm, misfits, prepare
from tests.guests import ADD
from tests.prometheus_support import parse_metrics
from tests.waiting_support import until

PUBLIC = {(route.method, route.path): route for route in ROUTES}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "add.wasm").write_bytes(ADD)
    prepare(folder / "home", adder=ADD)
    return folder / "home"


@pytest.fixture(scope="module")
def here(home: Path) -> Iterator[DaemonProcess]:
    with daemon(home) as running:
        yield running


@pytest.fixture(scope="module")
def told(here: DaemonProcess) -> dict[str, Any]:
    """What `/openapi.json` says."""
    found: dict[str, Any] = json.loads(here.call("GET", "/openapi.json").body)
    return found


Fits = Any


@pytest.fixture
def fits(told: dict[str, Any]) -> Fits:
    """Checks an answer against the description, and gives its JSON."""

    def check(reply: Reply, method: str, path: str) -> dict[str, Any]:
        operation = told["paths"][path][method.lower()]
        described = operation["responses"].get(str(reply.status))
        assert described is not None, f"{reply.status} of {method} {path} is not described"
        schema = described["content"]["application/json"]["schema"]
        found: dict[str, Any] = json.loads(reply.body)
        assert misfits(found, schema) == []
        return found

    return check


def run_add(here: DaemonProcess, *args: int, **more: Any) -> Reply:
    asked = {"module": "adder", "function": "add", "args": list(args), **more}
    return here.call("POST", "/v1/run", asked)


def workflow(*numbers: int) -> bytes:
    steps = {f"s{n}": {"run": "adder:add", "args": [n, 1]} for n in numbers}
    return json.dumps({"name": "sums", "steps": steps}).encode()


def begin(here: DaemonProcess, *numbers: int) -> str:
    reply = here.call("POST", "/v1/workflows", workflow(*numbers))
    assert reply.status == 202, reply.body
    run: str = reply.json["run"]
    until(lambda: here.call("GET", f"/v1/workflows/{run}").json["state"] == "done")
    return run


def test_the_description_names_every_path_and_method(told: dict[str, Any]) -> None:
    described = {
        (method.upper(), path)
        for path, operations in told["paths"].items()
        for method in operations
    }
    assert described == set(PUBLIC)
    names = [one["operationId"] for path in told["paths"].values() for one in path.values()]
    assert len(set(names)) == len(names)
    assert told["openapi"] == "3.1.0"


def test_every_parameter_of_a_path_is_described(told: dict[str, Any]) -> None:
    for path, operations in told["paths"].items():
        for operation in operations.values():
            named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
            assert operation["summary"] and operation["responses"]["default"]


def test_a_call_runs_then_is_known_and_is_the_command_lines_own(
    here: DaemonProcess, home: Path, fits: Fits
) -> None:
    first = fits(run_add(here, 2, 40), "POST", "/v1/run")
    assert (first["value"], first["cached"], first["ok"]) == (42, False, True)
    again = fits(run_add(here, 2, 40), "POST", "/v1/run")
    assert (again["cached"], again["receipt"]) == (True, first["receipt"])
    there = json.loads(ipvm(home, "run", "adder:add", 2, 40, "--json"))
    assert (there["cached"], there["receipt"]) == (True, first["receipt"])


def test_an_instruction_runs_by_its_fields_and_by_its_cid(here: DaemonProcess) -> None:
    known = run_add(here, 7, 8).json
    assert here.call("POST", "/v1/run", {"instruction": known["ins"]}).json["value"] == 15
    module = json.loads(ipvm(here.home, "name", "list", "--json"))["names"][0]["cid"]
    fields = {"rsc": f"ipfs://{module}", "op": "wasm/run", "input": {"func": "add", "args": [7, 8]}}
    assert here.call("POST", "/v1/run", {"instruction": fields}).json["ins"] == known["ins"]
    absent = str(CID.of(b"absent", RAW))
    assert here.call("POST", "/v1/run", {"instruction": absent}).status == 404


def test_a_daemon_that_is_offline_does_nothing_that_needs_the_network(here: DaemonProcess) -> None:
    fields = {"rsc": "http://127.0.0.1:9/", "op": "http/get", "input": {}}
    reply = here.call("POST", "/v1/run", {"instruction": fields})
    assert (reply.status, reply.error["code"]) == (409, "queued")


def test_a_task_that_fails_is_an_answer(here: DaemonProcess, fits: Fits) -> None:
    reply = run_add(here, 1, 1, limits={"fuel": 1}, fresh=True)
    failed = fits(reply, "POST", "/v1/run")
    assert (reply.status, failed["ok"], failed["error"]["code"]) == (200, False, "out-of-fuel")


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({}, 400, "either `instruction` or `module`"),
        ({"module": "adder", "instruction": {}}, 400, "either `instruction` or `module`"),
        ({"module": "adder", "function": "nope"}, 400, "nope"),
        ({"module": "adder", "args": 7}, 400, "args: a list"),
        ({"module": "adder", "limits": 7}, 400, "meta.limits"),
        ({"module": "adder", "fresh": 1}, 400, "fresh"),
        ({"module": "nothing-here"}, 404, "nothing-here"),
        ({"module": str(CID.of(b"absent", RAW))}, 409, "is not here"),
        ({"module": "adder", "surprise": 1}, 400, "'surprise' is not a field"),
        ([], 400, "not a JSON object"),
    ],
)
def test_a_call_that_cannot_be_made_says_why(
    here: DaemonProcess, asked: Any, status: int, message: str
) -> None:
    reply = here.call("POST", "/v1/run", asked)
    assert reply.status == status, reply.body
    assert message in reply.error["message"]


@pytest.mark.parametrize("body", [b"{", b"nul", b'{"a": 1, "a": 2}', b"\xff", b"[" * 999])
def test_a_body_that_is_no_json_is_refused(here: DaemonProcess, body: bytes) -> None:
    reply = here.call("POST", "/v1/run", body)
    assert (reply.status, reply.error["code"]) == (400, "usage")
    assert "not JSON" in reply.error["message"]


def test_a_workflow_runs_and_is_shown_listed_and_told_of(here: DaemonProcess, fits: Fits) -> None:
    after = here.link.get("/v1/status")["events"]["last"]
    reply = here.call("POST", "/v1/workflows", workflow(100, 101))
    begun = fits(reply, "POST", "/v1/workflows")
    run = begun["run"]
    assert begun["state"] in ("running", "done")
    until(lambda: here.call("GET", f"/v1/workflows/{run}").json["state"] == "done")
    whole = fits(here.call("GET", f"/v1/workflows/{run[:8]}"), "GET", "/v1/workflows/{run}")
    assert {label: result["value"] for label, result in whole["results"].items()} == {
        "s100": 101,
        "s101": 102,
    }
    listed = fits(here.call("GET", "/v1/workflows?state=done"), "GET", "/v1/workflows")
    assert run in {one["run"] for one in listed["runs"]}

    def ended() -> list[str]:
        heard = here.link.events(after, follow=False)
        mine = [one for one in heard if one.data.get("run") == run]
        kinds = [one.kind for one in mine]
        return kinds if "run.ended" in kinds else []

    kinds = until(ended)
    assert kinds[0] == "run.started" and kinds[-1] == "run.ended"
    assert kinds.count("step.changed") >= 2
    made = {step["receipt"] for step in whole["steps"]}

    def all_told() -> bool:
        heard = here.link.events(after, follow=False)
        return made <= {one.data["receipt"] for one in heard if one.kind == "receipt.added"}

    until(all_told, 5)


@pytest.mark.parametrize("step", [{"run": "FILE:add"}, {"run": "adder:add", "args": ["@FILE"]}])
def test_a_workflow_over_the_api_reads_no_file_of_this_machine(
    here: DaemonProcess, home: Path, step: dict[str, Any]
) -> None:
    file = home.parent / "add.wasm"
    assert file.exists()
    body = json.dumps({"steps": {"a": step}}).replace("FILE", str(file)).encode()
    reply = here.call("POST", "/v1/workflows", body)
    assert reply.status in (400, 404), reply.body
    assert str(file)[:30] in reply.error["message"]  # a long path is shortened


@pytest.mark.parametrize("body", [b"", b"{}", b"steps: [", b"\x00\x01"])
def test_what_is_no_workflow_is_refused(here: DaemonProcess, body: bytes) -> None:
    reply = here.call("POST", "/v1/workflows", body)
    assert reply.status == 400, reply.body
    assert reply.error["code"]


def test_a_run_is_cancelled_and_resumed(here: DaemonProcess, fits: Fits) -> None:
    run = begin(here, 200)
    path = f"/v1/workflows/{run}"
    ended = fits(here.call("POST", f"{path}/cancel"), "POST", "/v1/workflows/{run}/cancel")
    assert (ended["asked"], ended["state"]) == (False, "done")
    again = fits(here.call("POST", f"{path}/resume"), "POST", "/v1/workflows/{run}/resume")
    assert again["run"] == run
    assert here.call("POST", f"{path}/resume", {"redo": 1}).status == 400
    assert here.call("POST", "/v1/workflows/ffffffff/cancel").status == 404


def test_the_queue_says_what_waits_and_for_what(here: DaemonProcess, fits: Fits) -> None:
    absent = CID.of(b"absent module", RAW)
    steps = {"a": {"run": f"ipfs://{absent}:f", "args": []}}
    body = json.dumps({"steps": steps}).encode()
    run = here.call("POST", "/v1/workflows", body).json["run"]

    def waiting() -> list[dict[str, Any]]:
        queue = fits(here.call("GET", "/v1/queue"), "GET", "/v1/queue")
        return [one for one in queue["queued"] if one["run"] == run]

    (step,) = until(waiting)
    assert step["label"] == "a" and str(absent) in step["reason"]


def test_receipts_are_listed_found_and_shown(here: DaemonProcess, fits: Fits) -> None:
    made = run_add(here, 300, 1).json
    path = f"/v1/receipts?instruction={made['ins']}"
    listed = fits(here.call("GET", path), "GET", "/v1/receipts")
    assert [one["cid"] for one in listed["receipts"]] == [made["receipt"]]
    assert len(here.call("GET", "/v1/receipts?limit=1").json["receipts"]) == 1
    shown = fits(here.call("GET", f"/v1/receipts/{made['receipt']}"), "GET", "/v1/receipts/{cid}")
    assert shown["receipt"]["out"] == {"ok": 301}
    assert here.call("GET", f"/v1/receipts/{CID.of(b'no', RAW)}").status == 404
    for query in ("limit=x", "limit=-1", "limit=99999", "instruction=zz", "more=1"):
        assert here.call("GET", f"/v1/receipts?{query}").error["code"] == "usage"


def test_blocks_go_in_and_come_out(here: DaemonProcess, fits: Fits) -> None:
    data = bytes(range(256))
    cid = CID.of(data, RAW)
    path = f"/v1/blocks/{cid}"
    assert here.call("GET", path).status == 404
    put = here.call("PUT", path, data)
    assert (put.status, fits(put, "PUT", "/v1/blocks/{cid}")["bytes"]) == (201, 256)
    assert here.call("PUT", path, data).status == 200
    assert here.call("GET", path).body == data
    wrong = here.call("PUT", path, b"other")
    assert (wrong.status, wrong.error["code"]) == (422, "hash-mismatch")
    assert here.call("GET", "/v1/blocks/nonsense").status == 400


def test_a_block_comes_by_the_gateways_convention(here: DaemonProcess) -> None:
    data = b"by the convention"
    cid = CID.of(data, RAW)
    assert here.call("PUT", f"/v1/blocks/{cid}", data).status == 201
    whole = here.call("GET", f"/ipfs/{cid}?format=raw&filename=x.bin")
    assert (whole.status, whole.body) == (200, data)
    part = here.call("GET", f"/ipfs/{cid}", headers={"Range": "bytes=3-5"})
    assert (part.status, part.body) == (206, data[3:6])
    known = here.call("GET", f"/ipfs/{cid}", headers={"If-None-Match": whole.headers["ETag"]})
    assert (known.status, known.body) == (304, b"")
    head = here.call("HEAD", f"/ipfs/{cid}")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(data)))
    assert here.call("GET", f"/ipfs/{cid}?format=car").body.startswith(b"\x3a\xa2")


def test_a_body_that_is_too_large_is_refused(here: DaemonProcess) -> None:
    cid = CID.of(b"x", RAW)
    told = here.call("PUT", f"/v1/blocks/{cid}", bytes(4 * 1024 * 1024 + 1))
    assert (told.status, told.error["code"]) == (413, "limit")


def test_a_body_of_unknown_length_is_refused_once_it_is_too_large(here: DaemonProcess) -> None:
    connection = here.connection()
    try:
        connection.putrequest("PUT", f"/v1/blocks/{CID.of(b'x', RAW)}")
        connection.putheader("Authorization", f"Bearer {here.card.token}")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        piece = bytes(512 * 1024)
        for _ in range(9):
            connection.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        assert connection.getresponse().status == 413
    finally:
        connection.close()


def test_a_daemon_that_works_alone_says_so(here: DaemonProcess, fits: Fits) -> None:
    alone = fits(here.call("GET", "/v1/peers"), "GET", "/v1/peers")
    assert alone == {"v": 1, "alone": "it was started with --offline", "peers": []}
    cid = str(CID.of(b"x", RAW))
    for path, asked in (
        ("/v1/ask", {"instructions": [cid]}),
        ("/v1/fetch", {"cids": [cid]}),
        ("/v1/sync", {}),
        ("/v1/peers/poke", {}),
    ):
        reply = here.call("POST", path, asked)
        assert (reply.status, reply.error["code"]) == (503, "store")
        assert "has no peers" in reply.error["message"]
    neighbours = DaemonNeighbours(here.link)
    assert neighbours.ask([CID.of(b"x", RAW)], 100) is False
    assert neighbours.fetch([CID.of(b"x", RAW)], 100)


def test_status_is_as_described_and_true(here: DaemonProcess, fits: Fits) -> None:
    status = fits(here.call("GET", "/v1/status"), "GET", "/v1/status")
    assert status["daemon"]["pid"] == here.child.pid
    assert status["daemon"]["offline"] is True and status["daemon"]["healthy"] is True
    states = {part["name"]: part["state"] for part in status["daemon"]["parts"]}
    assert states == {
        "peers": "off", "api": "running", "watch": "running", "schedules": "running",
        "outbox": "running",
    }  # fmt: skip
    assert status["node"]["did"].startswith("did:key:z6Mk")
    assert 10_000_000 < status["daemon"]["rss_bytes"] < 200_000_000
    assert status["daemon"]["wakeups"] > 0


def test_health_is_as_described(here: DaemonProcess, fits: Fits) -> None:
    assert fits(here.call("GET", "/healthz"), "GET", "/healthz") == {
        "v": 1, "ok": True, "problems": {},
    }  # fmt: skip


def test_metrics_parse_and_count(here: DaemonProcess) -> None:
    def numbers() -> dict[str, float]:
        reply = here.call("GET", "/metrics")
        assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {
            one.name + str(sorted(one.labels.items())): one.value
            for one in parse_metrics(reply.body.decode())
        }

    first, second = numbers(), numbers()
    key = "ipvm_requests_total[('path', '/metrics'), ('status', '200')]"
    assert second[key] >= first.get(key, 0) + 1
    assert second["ipvm_wakeups_total[]"] >= first["ipvm_wakeups_total[]"] > 0
    assert second["ipvm_part_up[('part', 'watch')]"] == 1
    assert second["ipvm_jobs[('state', 'running')]"] == 0
    assert second["ipvm_jobs_done_total[]"] == second["ipvm_jobs_refused_total[]"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/v1/nope", 404), ("DELETE", "/v1/status", 405)],
)
def test_paths_that_are_none_are_told_in_the_same_form(
    here: DaemonProcess, method: str, path: str, status: int
) -> None:
    reply = here.call(method, path)
    assert reply.status == status
    assert "openapi.json" in reply.error["hint"]


# Events.


def test_events_follow_live_and_resume_where_they_stopped(here: DaemonProcess) -> None:
    stream = here.link.events("oldest")
    first = next(stream)
    assert first.kind == "daemon.started" and first.data["pid"] == here.child.pid
    stream.close()
    epoch, _, number = first.id.rpartition("-")
    assert (len(epoch), number) == (8, "1")
    after = here.link.get("/v1/status")["events"]["last"]
    heard: list[str] = []
    started = threading.Event()

    def follow() -> None:
        started.set()
        for one in here.link.events(after):
            heard.append(one.data.get("receipt", ""))
            return

    thread = threading.Thread(target=follow)
    thread.start()
    started.wait()
    made = run_add(here, 400, 1).json["receipt"]
    thread.join(20)
    assert heard == [made]
    # What came while nobody listened is told to whoever names the last event that is known.
    missed = run_add(here, 401, 1).json["receipt"]
    until(lambda: missed in [e.data.get("receipt") for e in here.link.events(after, follow=False)])


def test_the_header_of_browsers_resumes_as_well(here: DaemonProcess) -> None:
    reply = here.call("GET", "/v1/events?follow=false", headers={"Last-Event-ID": "ffffffff-9"})
    assert reply.headers["Content-Type"] == "text/event-stream"
    blocks = reply.body.decode().split("\n\n")
    assert blocks[0].startswith("id: ffffffff-9\nevent: gap\ndata: {")
    assert json.loads(blocks[0].partition("data: ")[2])["after"] == "ffffffff-9"
    assert here.call("GET", "/v1/events?after=nonsense").status == 400


def test_a_receipt_of_another_process_is_told_of_at_once(here: DaemonProcess, home: Path) -> None:
    after = here.link.get("/v1/status")["events"]["last"]
    made = json.loads(ipvm(home, "run", "adder:add", 500, 1, "--json"))
    assert made["cached"] is False

    def found() -> list[Any]:
        heard = here.link.events(after, follow=False)
        return [one for one in heard if one.data.get("receipt") == made["receipt"]]

    (event,) = until(found, 5)
    assert (event.kind, event.data["ins"], event.data["ok"]) == (
        "receipt.added", made["ins"], True,
    )  # fmt: skip


def test_the_verb_shows_events(here: DaemonProcess, home: Path) -> None:
    lines = ipvm(home, "events", "--json").splitlines()
    assert json.loads(lines[0])["kind"] == "daemon.started"
    assert b"daemon.started" in ipvm(home, "events").splitlines()[0]
    last = json.loads(lines[-1])["id"]
    assert len(ipvm(home, "events", "--after", last, "--json").splitlines()) < len(lines)


def test_bytes_and_links_travel_as_dag_json(here: DaemonProcess) -> None:
    link = CID.of(b"x", RAW)
    told = here.call("POST", "/v1/fetch", dag_json.encode({"cids": [link]}))
    assert told.status == 503  # it was understood: there are no peers
    encoded = base64.b64encode(b"x").decode()
    asked = {"cids": [{"/": {"bytes": encoded}}]}
    assert here.call("POST", "/v1/fetch", asked).status == 400
