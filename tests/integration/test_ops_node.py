"""Operations through a node: receipts, memo, links, authority, and an installed package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from lite import Node, wasm
from lite.config import Config
from lite.errors import AuthorityError, QueuedError
from lite.ipld import dag_cbor, dag_json
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.ops.base import InDoubt
from lite.toml_files import loads
from tests.authority_support import Opener, ask, give
from tests.ops_support import HttpServer, SmtpSink
from tests.wat_guests import TYPED

MakeNode = Callable[..., Node]


@pytest.fixture
def node_with(tmp_path: Path, request: pytest.FixtureRequest) -> MakeNode:
    def make(**settings: str) -> Node:
        named = {f"ops.{name}": text for name, text in settings.items()}
        told = Config.load(tmp_path / "home", {"store.durability": "normal", **named}, env={})
        node = Node.open(config=told, in_process=True)
        request.addfinalizer(node.close)
        return node

    return make


def test_a_query_is_asked_again_each_time_and_leaves_a_receipt(node_with: MakeNode) -> None:
    node = node_with()
    with HttpServer() as server:
        server.kept["/x"] = b"one"
        job = Instruction(f"{server.url}/x", "http/get", {"only": "body"})
        first = node.run(job)
        server.kept["/x"] = b"two"
        again = node.run(job)
        assert (first.out.body, again.out.body, again.source) == (b"one", b"two", "ran")
        assert server.count("GET") == 2
    assert again.receipt.meta["op"] == "http/get"
    assert "engine" not in again.receipt.meta


def test_a_large_body_is_a_link_whose_bytes_the_next_step_gets(node_with: MakeNode) -> None:
    node = node_with()
    with HttpServer() as server:
        server.kept["/large"] = b"x" * 3_000_000
        whole = node.run(Instruction(f"{server.url}/large", "http/get", {})).out.body
        assert isinstance(whole["body"], CID)
        assert b"".join(node.cat(whole["body"])) == b"x" * 3_000_000
        get = Instruction(f"{server.url}/large", "http/get", {"only": "body"})
        node.run(get)
        node.run(Instruction(f"{server.url}/copy", "http/put", {"body": get.ok}))
        assert server.kept["/copy"] == b"x" * 3_000_000
        typed = node.add(bytes(wasmtime.wat2wasm(TYPED)))
        echo = node.run(wasm(typed, "echo", get.ok))
    assert echo.receipt.linked == "file"
    assert echo.out.body == b"x" * 3_000_000


def test_a_failure_is_a_receipt_that_never_answers(node_with: MakeNode) -> None:
    node = node_with()
    with HttpServer() as server:
        job = Instruction(f"{server.url}/none", "http/get", {"only": "body"})
        failed = node.run(job)
        assert failed.out.error_code == "http-status"
        server.kept["/none"] = b"now"
        assert node.run(job).out.body == b"now"


def test_bad_input_to_an_operation_never_answers_for_it(node_with: MakeNode) -> None:
    node = node_with()
    job = Instruction("data:,x", "http/get", {})
    assert node.run(job).out.error_code == "bad-argument"
    assert node.run(job).source == "ran"


def test_what_cannot_be_done_now_leaves_nothing(node_with: MakeNode, tmp_path: Path) -> None:
    node = node_with()
    for rsc, op in (
        ("http://127.0.0.1:1/", "http/post"),
        ("file:///x", "crud/read"),
        ("mailto:a@b.example", "msg/send"),
        ("exec:x", "exec/run"),
        ("x:y", "no/such"),
    ):
        job = Instruction(rsc, op, {})
        with pytest.raises(QueuedError):
            node.run(job)
        assert node.best_receipt(job.cid) is None


def test_a_mutation_in_doubt_leaves_no_receipt(node_with: MakeNode) -> None:
    node = node_with()
    with HttpServer() as server:
        lost = {"headers": {"x-test": "hang-up"}}
        job = Instruction(f"{server.url}/", "http/post", lost, "once")
        with pytest.raises(InDoubt):
            node.run(job)
        assert server.count("POST") == 1
        assert server.last["headers"]["idempotency-key"] == "once"
    assert node.best_receipt(job.cid) is None


def test_files_mails_and_programs_work_together(node_with: MakeNode, tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    programs = tmp_path / "programs.toml"
    programs.write_text("[up]\nargv = ['/usr/bin/tr', 'a-z', 'A-Z']\nlevel = 'query'\n")
    with SmtpSink() as sink:
        node = node_with(
            crud_root=str(tmp_path / "top"),
            exec=str(programs),
            smtp=f"smtp+plain://127.0.0.1:{sink.port}",
            smtp_from="me@home.example",
        )
        (tmp_path / "top" / "in").write_bytes(b"hello " * 2000)
        read = Instruction("file:///in", "crud/read", {})
        up = Instruction("exec:up", "exec/run", {"stdin": read.ok, "only": "stdout"})
        node.run(read)
        text = node.run(up).receipt.out.body
        assert isinstance(text, CID)
        save = Instruction("file:///out", "crud/update", {"body": text})
        mail = Instruction("mailto:a@b.example", "msg/send", {"attachments": {"x.txt": text}})
        assert node.run(save).out.is_ok
        assert node.run(mail).out.is_ok
        assert (tmp_path / "top" / "out").read_bytes() == b"HELLO " * 2000
        assert len(sink.mails) == 1


def test_programs_say_their_level_to_the_executor(node_with: MakeNode, tmp_path: Path) -> None:
    programs = tmp_path / "programs.toml"
    programs.write_text("[date]\nargv = ['/bin/date']\nlevel = 'query'\n")
    node = node_with(exec=str(programs))
    levels = [
        node._executor.level_of(Instruction(rsc, op, {}))
        for rsc, op in (("exec:date", "exec/run"), ("exec:no", "exec/run"), ("x:y", "no/such"))
    ]
    assert levels == ["query", "mutation", None]


def test_others_get_wasm_run_alone_whatever_they_can_prove(pi: Node, laptop: Node) -> None:
    """A delegation of everything does not open what the owner did not open."""
    give(pi, laptop, "/")
    with HttpServer() as server:
        for rsc, op in ((f"{server.url}/", "http/get"), ("exec:x", "exec/run"), ("x:y", "no/such")):
            data = ask(laptop, pi, Instruction(rsc, op, {}))
            for _ in range(2):  # it was not claimed either
                with pytest.raises(AuthorityError, match=f"{op} for its owner only") as caught:
                    pi.run_invocation(data)
                assert "ops.allowed_for_others" in str(caught.value.hint)
        assert server.log.entries == []


def test_what_the_owner_opens_others_get(
    opened: Opener, laptop: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPVM_OPS_ALLOWED_FOR_OTHERS", "crud/read")
    monkeypatch.setenv("IPVM_OPS_CRUD_ROOT", "/nowhere")
    pi = opened("generous")
    give(pi, laptop, "/")
    with pytest.raises(QueuedError, match=r"ops\.crud_root"):
        pi.run_invocation(ask(laptop, pi, Instruction("file:///x", "crud/read", {})))


@pytest.mark.parametrize("reached", [False, True])
def test_what_others_ask_for_gets_no_private_address_and_no_password(
    opened: Opener,
    laptop: Node,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    reached: bool,
) -> None:
    """`reached`: the address is taken for a public one, so that only the password is kept back."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password word\n")
    monkeypatch.setenv("IPVM_OPS_ALLOWED_FOR_OTHERS", "http/get")
    monkeypatch.setenv("IPVM_OPS_HTTP_NETRC", str(tmp_path / "netrc"))
    if reached:
        monkeypatch.setattr("lite.ops.dial._is_public", lambda _: True)
    pi = opened("generous")
    give(pi, laptop, "/http/get")
    with HttpServer() as server:
        server.kept["/x"] = b"here"
        job = Instruction(f"{server.url}/x", "http/get", {"only": "body"})
        assert pi.run(job).out.body == b"here"
        assert server.last["headers"]["authorization"].startswith("Basic ")
        theirs = pi.run_invocation(ask(laptop, pi, job))
        if reached:
            assert theirs.out.body == b"here"
            assert "authorization" not in server.last["headers"]
        else:
            assert theirs.out.error_code == "address-denied"
        assert server.count("GET") == 1 + reached


FORK = {"rsc": "x:a", "op": "no/such", "input": {}, "nnc": ""}
JOIN = {"rsc": "x:b", "op": "no/such", "input": {"v": 1}, "nnc": ""}


def with_fx(node: Node, func: str, arg: Any, **more: Any) -> Instruction:
    typed = node.add(bytes(wasmtime.wat2wasm(TYPED)))
    given = {"func": func, "args": [arg], "fx": True, **more}
    return Instruction(f"ipfs://{typed}", "wasm/run", given)


@pytest.mark.parametrize("joined", [{}, {"join": None}, {"join": JOIN}])
def test_a_guest_asks_for_effects(node_with: MakeNode, joined: dict[str, Any]) -> None:
    node, join = node_with(), joined.get("join")
    value = {"out": {"n": [1, node.add(b"x")]}, "fx": {"fork": [FORK], **joined}}
    for job in (
        with_fx(node, "greet", dag_json.encode(value).decode()),
        with_fx(node, "echo", dag_cbor.encode(value)),
    ):
        answer = node.run(job)
        assert answer.out.body == value["out"]
        assert list(answer.receipt.fork) == [Instruction.from_value(FORK).cid]
        assert answer.receipt.join == (join and Instruction.from_value(join).cid)
        assert node.run(job).source == "cached"


@pytest.mark.parametrize(
    "value",
    [
        1,
        {"out": 1},
        {"fx": {"fork": []}},
        {"out": 1, "fx": []},
        {"out": 1, "fx": {"join": None}},
        {"out": 1, "fx": {"fork": {}}},
        {"out": 1, "fx": {"fork": [], "more": 1}},
        {"out": 1, "fx": {"fork": [1]}},
        {"out": 1, "fx": {"fork": [{"rsc": "x:a"}]}},
        {"out": 1, "fx": {"fork": []}, "more": 1},
    ],
)
def test_effects_of_another_shape_are_an_error(node_with: MakeNode, value: Any) -> None:
    node = node_with()
    answer = node.run(with_fx(node, "greet", dag_json.encode(value).decode()))
    assert answer.out.error_code == "bad-effects"
    assert list(answer.receipt.fork) == []


@pytest.mark.parametrize("text", ["", "no json", '{"out":1', '{"a":NaN}'])
def test_effects_that_cannot_be_read_are_an_error(node_with: MakeNode, text: str) -> None:
    node = node_with()
    assert node.run(with_fx(node, "greet", text)).out.error_code == "bad-effects"


def test_without_fx_a_result_is_what_it_is(node_with: MakeNode) -> None:
    node = node_with()
    text = dag_json.encode({"out": 1, "fx": {"fork": []}}).decode()
    for fx in (False, 1):
        job = with_fx(node, "greet", text, fx=fx)
        out = node.run(job).out
        assert out.body == text if fx is False else out.error_code == "bad-argument"


RUN = """
import json, sys, time
from lite import Node
from lite.limits import Limits
from lite.model.workflow import Workflow
from lite.model.instruction import Instruction
with Node.open(sys.argv[1]) as node:
    jobs = [("data:,abc", "text/reverse", {}), ("x:y", "text/reverse", {"text": "über"}),
            ("x:y", "text/reverse", {"txt": ""}), ("clock:utc", "time/now", {})]
    done = [node.run(Instruction(*job)) for job in jobs for _ in range(2)]
    print(json.dumps([[d.source, d.out.error_code or d.out.body] for d in done]))
    wait = Workflow(wait=Instruction("clock:utc", "time/wait", {"ms": 60_000}))
    began = time.monotonic()
    run = node.workflow_run(wait, deadline_ms=300)
    assert (run.state, time.monotonic() - began < 10) == ("expired", True)
    limits = Limits(time_ms=50)
    assert node.run(wait["wait"].instruction, limits=limits).out.error_code == "time-limit"
    short = Instruction("clock:utc", "time/wait", {"ms": 1})
    assert node.run(short).out.is_ok
"""


def install(source: Path, target: Path) -> None:
    """Do what an installer does, with nothing from a network: build the wheel and unpack it, or
    where the build tool is not installed, write down what the wheel would hold."""
    if find_spec("hatchling"):
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel"]
        subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)
        (wheel,) = (source / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
        return
    project = loads((source / "pyproject.toml").read_text())["project"]
    info = target / f"ipvm_text-{project['version']}.dist-info"
    shutil.copytree(source / "src", target)
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]["ipvm.ops"]
    lines = [f"{name} = {value}" for name, value in points.items()]
    (info / "entry_points.txt").write_text("\n".join(["[ipvm.ops]", *lines]))


def test_the_example_package_installs_and_runs(root: Path, tmp_path: Path) -> None:
    target, source = tmp_path / "target", tmp_path / "ops"
    shutil.copytree(root / "examples" / "ops", source)
    install(source, target)
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{target}"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path / "home")],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told[:4] == [["ran", "cba"], ["cached", "cba"], ["ran", "rebü"], ["cached", "rebü"]]
    assert [value for _, value in told[4:6]] == ["bad-argument", "bad-argument"]
    assert [source for source, _ in told[6:]] == ["ran", "ran"]
    assert told[7][1].endswith("+00:00")


def test_the_servers_of_the_tests_run_as_processes(root: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.ops_support", "http", "--log", str(log)]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with Node.open(tmp_path / "home") as node:
            job = Instruction(f"http://127.0.0.1:{port}/", "http/post", {"body": "x"}, "n")
            assert node.run(job).out.body["body"] == b"1"
        server.communicate("", timeout=20)
    assert server.returncode == 0
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["headers"]["idempotency-key"] == "n"
