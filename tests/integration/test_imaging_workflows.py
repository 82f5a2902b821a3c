"""The two workflows of examples/imaging: shared work runs once, and a crash costs one step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from lite import Node, wasm
from lite.ipld.cid import CID, RAW
from lite.model.workflow import Workflow
from lite.model.workflow_read import read_workflow
from lite.workflow_content import LocalContent
from tests.integration.conftest import Ipvm
from tests.integration.test_examples import png, unfiltered

Start = Callable[..., "Popen[bytes]"]
SHARED = ["picture", "crop", "rotate90"]
PICTURES = {
    "picture.png": "bafkreig7ckyixokqpiffx5b7slw46tqooj3lnqwy7tetqemucucs7jb6v4",
    "one.png": "bafkreiexrxbpszhjjpqmuoyiwrz5wgnknbxhr4qurkrrclyyjqhlbhjz2q",
    "two.png": "bafkreiemzoqnb2blnw5icglxcwkihiw4oihy67dnaw3almzaonh3ic7roy",
}


@pytest.fixture
def imaging(root: Path) -> Path:
    return root / "examples" / "imaging"


@pytest.fixture
def small(here: Path, imaging: Path) -> Path:
    """The same workflows in the current folder, with a smaller picture."""
    for name in ("one.yaml", "two.yaml"):
        text = (imaging / name).read_text("utf-8")
        text = text.replace("[1600, 1200, 7]", "[800, 600, 7]")
        text = text.replace("200, 100, 1000, 1000", "100, 50, 500, 500")
        (here / name).write_text(text.replace("imaging.wasm:", f"{imaging}/imaging.wasm:"))
    return here


def events(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def ran(found: list[dict[str, Any]]) -> list[str]:
    """The labels of the steps that a guest was started for, in order."""
    steps = (one for one in found if one.get("event") == "step")
    return [one["label"] for one in steps if one["state"] == "running"]


def killed_in(label: str, child: Popen[bytes]) -> list[dict[str, Any]]:
    """What a run says until one step runs; it is killed then."""
    assert child.stdout is not None
    seen = []
    for line in child.stdout:
        seen.append(json.loads(line))
        if seen[-1].get("label") == label and seen[-1]["state"] == "running":
            child.kill()
            break
    child.wait(timeout=30)
    assert child.returncode < 0, f"it ended before {label} ran"
    return seen


def of_node(node: Node, file: Path) -> Workflow:
    content = LocalContent(file.parent, node.add, node.store.names.get, node.store.instructions.get)
    return read_workflow(file.read_bytes(), source=file.name, content=content)


def direct(node: Node, imaging: Path, size: list[int], crop: list[int]) -> dict[str, bytes]:
    """The pictures as single calls give them, each with the bytes of the one before."""
    tools = node.add(imaging / "imaging.wasm")

    def call(func: str, *args: Any) -> bytes:
        value = node.run(wasm(tools, func, *args), fresh=True).out.unwrap()
        assert isinstance(value, bytes)
        return value

    picture = call("render", *size, 7)
    turned = call("rotate90", call("crop", picture, *crop))
    return {
        "picture": picture,
        "blur": call("blur", turned, 8),
        "grayscale": call("grayscale", turned),
    }


@pytest.fixture(scope="module")
def expected(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The pictures of the small workflows as single calls give them."""
    imaging = root / "examples" / "imaging"
    with Node.open(tmp_path_factory.mktemp("direct") / "home", in_process=True) as node:
        return direct(node, imaging, [800, 600], [100, 50, 500, 500])


def test_the_second_workflow_runs_only_its_last_step(ipvm: Ipvm, imaging: Path, here: Path) -> None:
    first = ipvm("workflow", "run", imaging / "one.yaml", "--json", "--watch",
                 "--out", "blur=one.png", "--out", "picture=picture.png")  # fmt: skip
    second = ipvm("workflow", "run", imaging / "two.yaml", "--json", "--watch",
                  "--out", "grayscale=two.png")  # fmt: skip
    assert (first.status, second.status) == (0, 0)
    assert ran(events(first.out)) == [*SHARED, "blur"]
    assert ran(events(second.out)) == ["grayscale"]
    for name, cid in PICTURES.items():
        assert str(CID.of((here / name).read_bytes(), RAW)) == cid


def test_every_pixel_is_where_it_belongs(home: Path, tmp_path: Path, imaging: Path) -> None:
    width, height = 31, 17
    pixels = [
        [(x * 8 % 256, y * 15 % 256, x * y % 256) for x in range(width)] for y in range(height)
    ]
    rows = [b"".join(map(bytes, row)) for row in pixels]
    (tmp_path / "photo.png").write_bytes(png(width, height, rows, 2))
    text = (imaging / "two.yaml").read_text("utf-8").replace('"${picture}"', '"@photo.png"')
    text = text.replace("imaging.wasm:", f"{imaging}/imaging.wasm:")
    lines = [line for line in text.splitlines() if "render" not in line]
    text = "\n".join(lines).replace("200, 100, 1000, 1000", "5, 3, 20, 12")
    (tmp_path / "two.yaml").write_text(text, "utf-8")
    with Node.open(home, in_process=True) as node:
        run = node.run(of_node(node, tmp_path / "two.yaml"))
        found = unfiltered(run["grayscale"].out.unwrap())
    cropped = [row[5:25] for row in pixels[3:15]]
    turned = [[cropped[11 - y][x] for y in range(12)] for x in range(20)]
    grey = [bytes((299 * r + 587 * g + 114 * b + 500) // 1000 for r, g, b in row) for row in turned]
    assert found == (12, 20, 1, grey)


@pytest.mark.parametrize("label", SHARED)
def test_after_a_kill_only_what_was_not_finished_runs(
    process: Start, small: Path, expected: dict[str, bytes], label: str
) -> None:
    order = [*SHARED, "blur"]
    seen = killed_in(label, process("workflow", "run", "one.yaml", "--watch", "--json"))
    receipts = {
        one["label"]: one["receipt"] for one in seen if one["event"] == "step" and one["receipt"]
    }
    assert list(receipts) == order[: order.index(label)]
    listed, _ = process("workflow", "list", "--json").communicate(timeout=60)
    (found,) = json.loads(listed)["runs"]
    finished = found["counts"].get("done", 0)  # the kill may come late on a busy machine
    assert found["state"] == "interrupted"
    assert finished >= len(receipts)

    args = ("--watch", "--json", "--out", "blur=one.png")
    resumed = process("workflow", "resume", found["run"][:8], *args)
    output, _ = resumed.communicate(timeout=60)
    *rest, end = events(output)
    assert ran(rest) == order[finished:]
    assert (end["run"], end["state"], end["counts"]) == (found["run"], "done", {"done": 4})
    kept = {step["label"]: step["receipt"] for step in end["steps"] if step["label"] in receipts}
    assert kept == receipts

    two = process("workflow", "run", "two.yaml", "--watch", "--json", "--out", "grayscale=two.png")
    output, _ = two.communicate(timeout=60)
    assert ran(events(output)) == ["grayscale"]
    assert (small / "one.png").read_bytes() == expected["blur"]
    assert (small / "two.png").read_bytes() == expected["grayscale"]


def test_running_it_again_after_a_kill_goes_on_too(process: Start, small: Path) -> None:
    seen = killed_in("rotate90", process("workflow", "run", "one.yaml", "--watch", "--json"))
    output, _ = process("workflow", "run", "one.yaml", "--watch", "--json").communicate(timeout=60)
    again = events(output)
    assert again[-1]["run"] == seen[0]["run"]
    assert ran(again)[-1] == "blur"
    assert not set(ran(again)) & {"picture", "crop"}


def test_homestars_spelling_with_awaits_under_sha3_is_the_same_work(
    home: Path, imaging: Path
) -> None:
    with Node.open(home, in_process=True) as node:
        node.add(imaging / "imaging.wasm")
        spelled = node.run(of_node(node, imaging / "two.json"))
        yaml = node.run(of_node(node, imaging / "two.yaml"))
        assert (spelled.counts, yaml.counts) == ({"done": 4}, {"cached": 4})
        assert spelled["grayscale"].receipt.cid == yaml["grayscale"].receipt.cid


def test_the_json_file_awaits_its_own_steps_under_sha3(home: Path, imaging: Path) -> None:
    with Node.open(home, in_process=True) as node:
        steps = of_node(node, imaging / "two.json").steps
        yaml = of_node(node, imaging / "two.yaml").steps
    awaited = [wait.instruction for step in steps for wait in step.instruction.awaits()]
    assert awaited == [step.instruction.sha3 for step in steps][:-1]
    assert steps[0].instruction == yaml[0].instruction
