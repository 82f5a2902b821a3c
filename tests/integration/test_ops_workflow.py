"""A workflow file whose steps fetch, write, run a program and send a mail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lite import Node, wasm
from lite.config import Config
from lite.ipld.cid import CID
from lite.model.instruction import Instruction
from lite.model.workflow import Workflow
from lite.model.workflow_read import read_workflow
from tests.authority_support import add
from tests.ops_support import HttpServer, SmtpSink, free_port

STEPS = """
steps:
  get: {{op: http/get, rsc: "{http}/x", input: {{only: body}}}}
  up: {{op: exec/run, rsc: "exec:up", input: {{stdin: "${{get}}", only: stdout}}}}
  save: {{op: crud/update, rsc: "file:///copy", input: {{body: "${{up}}"}}}}
  tell:
    op: msg/send
    rsc: "mailto:c@d.example?subject=done"
    input: {{body: see there, attachments: {{copy.txt: "${{up}}"}}}}
    after: [save]
"""


class NoContent:
    """A workflow that names no local files."""

    def file(self, path: str) -> CID:
        raise AssertionError(path)

    def name(self, petname: str) -> CID:
        raise AssertionError(petname)

    def instruction(self, cid: CID) -> None:
        return None


@pytest.fixture
def sink() -> Iterator[SmtpSink]:
    with SmtpSink() as made:
        yield made


@pytest.fixture
def node(tmp_path: Path, sink: SmtpSink) -> Iterator[Node]:
    (tmp_path / "top").mkdir()
    programs = tmp_path / "programs.toml"
    programs.write_text("[up]\nargv = ['/usr/bin/tr', 'a-z', 'A-Z']\nlevel = 'query'\n")
    settings = {
        "store.durability": "normal",
        "ops.crud_root": str(tmp_path / "top"),
        "ops.exec": str(programs),
        "ops.smtp": f"smtp+plain://127.0.0.1:{sink.port}",
        "ops.smtp_from": "a@b.example",
    }
    told = Config.load(tmp_path / "home", settings, env={})
    with Node.open(config=told, in_process=True) as made:
        yield made


def steps(url: str) -> Workflow:
    return read_workflow(STEPS.format(http=url).encode(), source="tell.yaml", content=NoContent())


def test_values_flow_from_operation_to_operation(
    node: Node, sink: SmtpSink, tmp_path: Path
) -> None:
    with HttpServer() as server:
        server.kept["/x"] = b"data " * 3000
        run = node.workflow_run(steps(server.url), force=True)
        assert {view.label: view.state for view in run.steps} == dict.fromkeys(
            ("get", "up", "save", "tell"), "done"
        )
        assert server.count("GET") == 1
    assert (tmp_path / "top" / "copy").read_bytes() == b"DATA " * 3000
    assert len(sink.mails) == 1


def test_an_absent_host_makes_its_steps_wait_and_no_mail_goes_out(
    node: Node, sink: SmtpSink, tmp_path: Path
) -> None:
    run = node.workflow_run(steps(f"http://127.0.0.1:{free_port()}"), force=True)
    states = {view.label: view.state for view in run.steps}
    assert states["get"] == "queued"
    assert states["tell"] in ("waiting", "queued")
    assert sink.mails == []
    assert not (tmp_path / "top" / "copy").exists()


def test_a_mail_in_doubt_is_not_sent_again(node: Node, sink: SmtpSink) -> None:
    sink.fail = "end-hang-up"
    with HttpServer() as server:
        server.kept["/x"] = b"data"
        workflow = steps(server.url)
        run = node.workflow_run(workflow, force=True)
        assert {view.label: view.state for view in run.steps}["tell"] == "in-doubt"
        assert len(sink.mails) == 1
        sink.fail = ""
        node.workflow_run(workflow, force=True)
        assert len(sink.mails) == 1


def test_an_error_that_names_the_receipt_of_its_cause_can_be_sent(node: Node) -> None:
    """What that receipt is about need not be here: its link goes out, and no content."""
    with HttpServer() as server:
        made = add(node)
        other = wasm(CID.parse(str(made.module)), "add", made.error, 1)
        put = Instruction(f"{server.url}/why", "http/put", {"json": other.error})
        ended = node.workflows.begin(Workflow(made=made, other=other, tell=put)).go()
        cause = ended.step("made").receipt
        assert cause is not None
        sent = json.loads(server.kept["/why"])
        assert (sent["code"], sent["from"]) == ("branch-mismatch", {"/": str(cause.cid)})
