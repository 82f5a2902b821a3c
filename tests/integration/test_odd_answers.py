"""Answers of a server that speaks HTTP and says what HTTP clients and DAG-JSON have no room for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

import pytest

from tests.integration.conftest import Ipvm


class _Server(ThreadingTCPServer):
    """Answers each path with what comes behind its first part, as headers."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.count = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.count += 1
        path = self.rfile.readline().split()[1]
        while self.rfile.readline().strip():
            pass
        odd = {
            b"/slash": b"/: bafyfoo\r\n",
            b"/many": b"".join(b"h%d: v\r\n" % n for n in range(101)),
            b"/long": b"h: " + b"v" * 70_000 + b"\r\n",
        }
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n" + odd.get(path, b""))
        self.wfile.write(b"\r\nhi")


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as made:
        thread = Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def written(steps: dict[str, object]) -> tuple[str, ...]:
    Path("w.json").write_text(json.dumps({"steps": steps}))
    return ("workflow", "run", "w.json")


def test_a_value_that_dag_json_cannot_say_is_shown_and_hides_no_other(
    ipvm: Ipvm, server: _Server
) -> None:
    gets = {name: {"op": "http/get", "rsc": f"{server.url}/{name}"} for name in ("slash", "z")}
    ran = ipvm(*written(gets))
    assert ran.status == 0
    assert '"//":"bafyfoo"' in ran.text and "z: {" in ran.text
    row = ipvm("workflow", "list", "--json").json["runs"][0]
    shown = ipvm("workflow", "show", row["run"], "--json").json
    receipt = next(step["receipt"] for step in shown["steps"] if step["label"] == "slash")
    for words in (("why", receipt), ("receipt", "show", receipt), ("receipt", "list")):
        for more in ((), ("--json",)):
            said = ipvm(*words, *more)
            assert said.status == 0, (words, said.err)
    assert ipvm("receipt", "show", receipt, "--json").json["receipt"]["out"]["ok"]["headers"] == {
        "//": "bafyfoo",
        "content-length": "2",
    }
    one = ipvm("run", "--op", "http/get", f"{server.url}/slash")
    assert (one.status, '"//":"bafyfoo"' in one.text) == (0, True)


@pytest.mark.parametrize("path", ["many", "long"])
def test_an_answer_with_too_much_in_front_is_no_lost_connection(
    ipvm: Ipvm, server: _Server, path: str
) -> None:
    for op in ("http/get", "http/put"):
        before = server.count
        ran = ipvm(*written({"a": {"op": op, "rsc": f"{server.url}/{path}"}}))
        assert (ran.status, "output-limit" in ran.err) == (8, True)
        assert server.count == before + 1  # it would say the same again
