"""A workflow of sixty steps of every kind, the servers that it talks to as processes, and the
command that runs it as a process that can be killed at a chosen moment.

The servers write each request into a named pipe before they answer, so that a request is known
here as soon as it was taken, whatever becomes of the one who sent it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import wasmtime

from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW

ROOT = Path(__file__).resolve().parent.parent
IPVM = (sys.executable, "-m", "lite")
STEPS = 60
WORKERS = 2
WAIT_S = 60.0
INPUTS = 10

# mix(a, b) burns some milliseconds and gives (31 a + 17 b + 7) mod 2^31; size(bytes) their length.
BURN = """(module
  (memory (export "memory") 2)
  (global $top (mut i32) (i32.const 1024))
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    global.get $top
    (global.set $top (i32.add (global.get $top) (local.get 3))))
  (func (export "mix") (param i64 i64) (result i64) (local $i i32)
    (loop $again
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $i) (i32.const 2000000))))
    (i64.and (i64.const 0x7fffffff) (i64.add (i64.const 7)
      (i64.add (i64.mul (local.get 0) (i64.const 31))
               (i64.mul (local.get 1) (i64.const 17))))))
  (func (export "size") (param i32 i32) (result i32) local.get 1))"""


def mix(a: int, b: int) -> int:
    return (31 * a + 17 * b + 7) & 0x7FFFFFFF


def input_body(number: int) -> bytes:
    """What `/in/NUMBER` holds."""
    return f"input {number} ".encode() * (number + 1)


@frozen
class Told:
    """One step of the workflow, as the test knows it.

    Attributes:
        kind: pure, query, idempotent or plain.
        request: how its request shows in the log of a server, or "".
        body: what the request carries, or the file that it leaves; None: not looked at.
        value: its result; None: not looked at.
    """

    label: str
    kind: str
    step: dict[str, Any]
    request: str = ""
    body: bytes | None = None
    value: int | None = None


def sixty(turn: int, url: str) -> list[Told]:
    """Steps of every kind; of another `turn` none is the same."""
    pure = _pure(turn)
    value = {told.label: told.value for told in pure}
    return [*pure, *_queries(turn, url), *_repeatable(turn, url, value), *_plain(turn, url, value)]


def _pure(turn: int) -> list[Told]:
    """Two chains of eight, the sizes of four inputs, and four that join; the last two are twins."""
    steps: list[Told] = []
    values: list[int] = []
    for n in range(16):
        before = values[n - 2] if n >= 2 else n
        told = f"${{p{n - 2}}}" if n >= 2 else n
        values.append(mix(turn * 1000 + n, before))
        steps.append(_mix(n, [turn * 1000 + n, told], values[n]))
    for n in range(4):
        size = len(input_body(n))
        values.append(size)
        step = {"run": "burn.wasm:size", "args": [f"${{q{n}}}"]}
        steps.append(Told(f"p{16 + n}", "pure", step, value=size))
    for n in range(4):
        one = min(n, 2)
        values.append(mix(values[16 + one], values[14]))
        steps.append(_mix(20 + n, [f"${{p{16 + one}}}", "${p14}"], values[-1]))
    return steps


def _mix(n: int, args: list[Any], value: int) -> Told:
    return Told(f"p{n}", "pure", {"run": "burn.wasm:mix", "args": args}, value=value)


def _queries(turn: int, url: str) -> list[Told]:
    steps = []
    for n in range(INPUTS):
        path = f"/in/{n}?turn={turn}"
        step: dict[str, Any] = {"op": "http/get", "rsc": url + path, "input": {"only": "body"}}
        if n >= 5:
            step["after"] = [f"p{n}"]
        steps.append(Told(f"q{n}", "query", step, f"GET {path}"))
    return steps


def _repeatable(turn: int, url: str, value: dict[str, int | None]) -> list[Told]:
    steps = []
    for n in range(8):
        path, told = f"/out/{n}?turn={turn}", {"json": f"${{p{n + 8}}}"}
        step = {"op": "http/put", "rsc": url + path, "input": told}
        body = str(value[f"p{n + 8}"]).encode()
        steps.append(Told(f"u{n}", "idempotent", step, f"PUT {path}", body))
    for n in range(6):
        name = f"{turn}-{n}"
        step = {"op": "crud/update", "rsc": f"file:///{name}", "input": {"body": f"${{q{n}}}"}}
        steps.append(Told(f"c{n}", "idempotent", step, f"FILE {name}", input_body(n)))
    return steps


def _plain(turn: int, url: str, value: dict[str, int | None]) -> list[Told]:
    steps = []
    for n in range(8):
        path = f"/post/{n}?turn={turn}"
        step: dict[str, Any] = {"op": "http/post", "rsc": url + path}
        step["input"] = {"json": f"${{p{n + 16}}}"}
        if n >= 4:
            step["nonce"] = f"once {n}"
        body = str(value[f"p{n + 16}"]).encode()
        steps.append(Told(f"t{n}", "plain", step, f"POST {path}", body))
    for n in range(4):
        step = {"op": "msg/send", "rsc": f"mailto:you@there.example?subject=turn-{turn}-mail-{n}"}
        step |= {"input": {"body": "that is all"}, "after": [f"t{n}"]}
        if n >= 2:
            step["nonce"] = f"once {n}"
        steps.append(Told(f"m{n}", "plain", step, f"MAIL turn-{turn}-mail-{n}"))
    return steps


def write_workflow(folder: Path, turn: int, steps: Sequence[Told]) -> Path:
    """The steps as a file, with the guest beside it."""
    (folder / "burn.wasm").write_bytes(wasmtime.wat2wasm(BURN))
    file = folder / f"flow-{turn}.json"
    named = {told.label: told.step for told in steps}
    file.write_text(json.dumps({"name": f"flow {turn}", "steps": named}))
    return file


class Servers:
    """What an HTTP server and an SMTP sink got, both processes of their own.

    Attributes:
        url: of the HTTP server. smtp: the port of the sink.
        on_request: called with each request, from the thread that reads.
    """

    def __init__(self, folder: Path) -> None:
        self.on_request: Callable[[str], None] | None = None
        self._counts: Counter[str] = Counter()
        self._bodies: dict[str, bytes] = {}
        self._lock = Lock()
        self._threads: list[Thread] = []
        self._processes: list[subprocess.Popen[str]] = []
        self.url = f"http://127.0.0.1:{self._start('http', folder)}"
        self.smtp = self._start("smtp", folder)
        for number in range(INPUTS):
            self._put(f"/in/{number}", input_body(number))

    def _start(self, kind: str, folder: Path) -> int:
        pipe = folder / f"{kind}.log"
        os.mkfifo(pipe)
        command = [sys.executable, "-m", "tests.ops_support", kind, "--log", str(pipe)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._processes.append(process)
        thread = Thread(target=self._read, args=(pipe,), daemon=True)
        thread.start()
        self._threads.append(thread)
        assert process.stdout is not None
        return int(process.stdout.readline())

    def _put(self, path: str, body: bytes) -> None:
        request = urllib.request.Request(self.url + path, data=body, method="PUT")
        urllib.request.urlopen(request).close()

    def _read(self, pipe: Path) -> None:
        with pipe.open() as lines:
            for line in lines:
                self._note(json.loads(line))

    def _note(self, entry: dict[str, Any]) -> None:
        if "method" in entry:
            key, body = f"{entry['method']} {entry['path']}", entry["body"].encode("latin-1")
        else:
            key, body = f"MAIL {_subject(entry['data'])}", entry["data"].encode("latin-1")
        with self._lock:
            self._counts[key] += 1
            self._bodies[key] = body
        if self.on_request is not None:
            self.on_request(key)

    def count(self, request: str) -> int:
        """How often it came."""
        with self._lock:
            return self._counts[request]

    def body(self, request: str) -> bytes:
        """What it carried the last time."""
        with self._lock:
            return self._bodies[request]

    def close(self) -> None:
        for process in self._processes:
            process.communicate()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _subject(mail: str) -> str:
    head = "subject: "
    return next(line[len(head) :] for line in mail.splitlines() if line.lower().startswith(head))


class Launch:
    """One process that runs a workflow, and what it said. Leaving the context kills it.

    Args:
        resume: the run to go on with, instead of the latest one of the file.

    Attributes:
        events: the lines of its output so far.
        result: the object that it ended with, or None.
    """

    def __init__(
        self,
        file: Path,
        *args: str,
        on_event: Callable[[Launch, dict[str, Any]], None] | None = None,
        workers: int = WORKERS,
        resume: str = "",
    ) -> None:
        self.events: list[dict[str, Any]] = []
        self.result: dict[str, Any] | None = None
        self._on_event = on_event
        what = ["resume", resume] if resume else ["run", str(file)]
        command = [*IPVM, "workflow", *what, "--json", "--watch", "--force"]
        command += ["--workers", str(workers), *args]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, cwd=file.parent, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.children: list[int] = []
        self._said = b""
        self._threads = [Thread(target=work, daemon=True) for work in (self._read, self._drain)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.endswith(b"\n"):
                return  # torn by the kill
            entry = json.loads(line)
            if "event" not in entry:
                self.result = entry
                continue
            self.events.append(entry)
            if self._on_event is not None:
                self._on_event(self, entry)

    def _drain(self) -> None:
        assert self.process.stderr is not None
        self._said = self.process.stderr.read()

    def kill(self) -> None:
        """kill -9 the process alone, not the ones that it started."""
        self.children = self.children or self.workers()
        self.process.kill()

    def workers(self) -> list[int]:
        """The processes that it has started and that live."""
        return children_of(self.process.pid)

    def ended(self, timeout_s: float = WAIT_S) -> int:
        """Its status, negative when it was killed."""
        status = self.process.wait(timeout_s)
        for thread in self._threads:
            thread.join()
        return status

    @property
    def said(self) -> str:
        """What it wrote to stderr; once it has ended."""
        return self._said.decode()

    def under_way(self) -> list[str]:
        """The labels of the steps that it began, and said no more of before it ended."""
        last = {event["label"]: event["state"] for event in self.events if event["event"] == "step"}
        return [label for label, state in last.items() if state == "running"]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.ended()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def children_of(process: int) -> list[int]:
    """The processes that one started and that live; only Linux tells."""
    try:
        tasks = list(Path(f"/proc/{process}/task").iterdir())
        return [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    except OSError:
        return []


@contextmanager
def settings(home: Path, servers: Servers, top: Path) -> Iterator[None]:
    """The environment of a node that uses these servers."""
    top.mkdir(exist_ok=True)
    told = {
        "IPVM_HOME": str(home),
        "IPVM_OPS_CRUD_ROOT": str(top),
        "IPVM_OPS_SMTP": f"smtp+plain://127.0.0.1:{servers.smtp}",
        "IPVM_OPS_SMTP_FROM": "me@here.example",
    }
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def bomb(forks: int) -> bytes:
    """A module whose `bomb(n, rsc)` asks for itself so many times, each with another number.

    It fills the numbers and the resource, which it cannot know, into a DAG-CBOR text that has room
    for them.
    """
    numbers = [0x1111111111111100 + n for n in range(forks)]
    rsc = f"ipfs://{CID.of(b'', RAW)}"
    asked = [
        {
            "rsc": rsc,
            "op": "wasm/run",
            "nnc": "",
            "input": {"func": "bomb", "fx": True, "args": [number, rsc]},
        }
        for number in numbers
    ]
    text = dag_cbor.encode({"out": 1, "fx": {"fork": asked, "join": None}})
    base = 4096
    resources = [at for at in range(len(text)) if text.startswith(rsc.encode(), at)]
    assert len(resources) == 2 * forks
    code = "".join(
        f"(memory.copy (i32.const {base + at}) (local.get 1) (local.get 2))" for at in resources
    )
    for n, number in enumerate(numbers):
        at = base + text.index(number.to_bytes(8, "big"))
        code += f"""(local.set $x (i64.add (i64.const {n})
          (i64.mul (local.get 0) (i64.const {max(forks, 2)}))))"""
        for byte in range(8):
            shift = 8 * (7 - byte)
            code += f"""(i32.store8 (i32.const {at + byte})
              (i32.wrap_i64 (i64.shr_u (local.get $x) (i64.const {shift}))))"""
    data = "".join(f"\\{byte:02x}" for byte in text)
    return bytes(
        wasmtime.wat2wasm(
            f"""(module (memory (export "memory") 2) (data (i32.const {base}) "{data}")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
            (func (export "bomb") (param i64 i32 i32) (result i32) (local $x i64) {code}
              (i32.store (i32.const 16) (i32.const {base}))
              (i32.store (i32.const 20) (i32.const {len(text)})) (i32.const 16))
            (func (export "cabi_post_bomb") (param i32)))"""
        )
    )
