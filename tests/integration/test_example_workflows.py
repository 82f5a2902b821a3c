"""The workflow files of examples/: each is valid, and does what the README beside it says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lite import wasm
from lite.ipld.cid import CID, RAW
from tests.integration.conftest import Ipvm
from tests.ops_support import HttpServer

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
FILES = sorted([*EXAMPLES.rglob("*.yaml"), *EXAMPLES.rglob("imaging/*.json")])
FOLDER = EXAMPLES / "workflows"
SERVER = "http://127.0.0.1:8080"


def with_server(name: str, url: str, here: Path) -> Path:
    """A copy of the file, in the current folder, that talks to this server."""
    text = (FOLDER / name).read_text("utf-8")
    assert SERVER in text
    text = text.replace(SERVER, url).replace("../imaging", f"{EXAMPLES}/imaging")
    (here / name).write_text(text, "utf-8")
    return here / name


def states(ended: Any) -> dict[str, str]:
    return {step["label"]: step["state"] for step in ended.json["steps"]}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_is_valid(ipvm: Ipvm, file: Path) -> None:
    checked = ipvm("workflow", "check", file, "--json")
    assert (checked.status, checked.json["warnings"]) == (0, [])


def test_every_file_is_in_the_readme_beside_it() -> None:
    readme = (FOLDER / "README.md").read_text("utf-8")
    assert all(f"]({file.name})" in readme for file in FOLDER.glob("*.yaml"))
    elsewhere = [file for file in FILES if file.parent != FOLDER]
    assert all(f"](../{file.parent.name}/{file.name})" in readme for file in elsewhere)


def test_the_workflow_in_the_readme_is_workflow_one() -> None:
    (shown,) = re.findall(
        r"^```yaml\n(.*?)^```$", (EXAMPLES.parent / "README.md").read_text("utf-8"), re.M | re.S
    )
    assert (EXAMPLES / "imaging" / "one.yaml").read_text("utf-8").endswith(shown)


def test_the_error_of_a_step_reaches_the_step_that_awaits_it(ipvm: Ipvm, here: Path) -> None:
    with HttpServer() as server:
        ended = ipvm("workflow", "run", with_server("report.yaml", server.url, here), "--json")
        told = json.loads(server.kept["/failed"])
    assert ended.status == 1
    assert states(ended) == {
        "picture": "done", "crop": "failed", "blur": "failed", "report": "done",
    }  # fmt: skip
    assert told["code"] == "guest-error"
    assert told["value"] == "that part reaches beyond the picture"


def test_a_picture_is_fetched_worked_on_and_sent_once(ipvm: Ipvm, here: Path) -> None:
    assert ipvm("workflow", "check", FOLDER / "publish.yaml", "--json").json["safety"] == (
        "one mutation at the end: atomic"
    )
    with HttpServer() as server:
        server.kept["/photo.png"] = b"P6 2 1 255\n" + bytes((255, 0, 0, 0, 0, 255))
        file = with_server("publish.yaml", server.url, here)
        first, again = (ipvm("workflow", "run", file, "--json") for _ in range(2))
        assert (server.count("GET"), server.count("POST")) == (1, 1)
        dry = ipvm("workflow", "run", file, "--dry-run", "--json").json
        assert {step["state"] for step in dry["steps"]} == {"done"}
        second = ipvm("workflow", "run", file, "--new", "--json")
        assert (server.count("GET"), server.count("POST")) == (2, 1)
        sent = server.log.entries[1]
    assert states(first) == dict.fromkeys(("fetch", "grayscale", "save"), "done")
    assert states(again) == states(first)
    assert states(second) == {"fetch": "done", "grayscale": "cached", "save": "cached"}
    assert sent["body"].startswith("\x89PNG")
    assert sent["headers"]["idempotency-key"] == "photo-of-21-november"


def test_without_a_server_the_steps_wait(ipvm: Ipvm) -> None:
    ended = ipvm("workflow", "run", FOLDER / "publish.yaml", "--json", "--offline")
    assert ended.status == 3
    assert states(ended) == {"fetch": "queued", "grayscale": "waiting", "save": "waiting"}


def test_what_comes_of_a_secret_does_not_leave(ipvm: Ipvm, here: Path) -> None:
    ended = ipvm("workflow", "run", FOLDER / "private.yaml", "--json")
    assert ended.status == 0
    for step in ended.json["steps"]:
        refused = ipvm("export", step["receipt"], "-o", "leak.car")
        assert refused.status == 4
    assert not (here / "leak.car").exists()


def test_an_await_elsewhere_is_met_when_that_job_was_run(ipvm: Ipvm) -> None:
    module = EXAMPLES / "imaging" / "imaging.wasm"
    job = wasm(CID.of(module.read_bytes(), RAW), "render", 320, 240, 7).cid
    checked = ipvm("workflow", "check", FOLDER / "elsewhere.yaml", "--json")
    assert [wait["ins"] for wait in checked.json["steps"][0]["external"]] == [str(job)]
    assert ipvm("workflow", "run", FOLDER / "elsewhere.yaml").status == 3
    assert ipvm("run", f"{module}:render", 320, 240, 7, "--out", "picture.png").status == 0
    assert ipvm("workflow", "run", FOLDER / "elsewhere.yaml").status == 0
