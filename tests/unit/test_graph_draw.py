"""The drawings: well-formed whatever the labels say, complete, coloured, and laid out apart."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from lite.frozen import replace
from lite.ipld.cid import CID, RAW
from lite.model.graph import Edge, Graph, analyse
from lite.model.graph_draw import COLOURS, to_dot, to_mermaid, to_svg
from lite.model.graph_layout import BOX_HEIGHT, layout
from lite.model.instruction import Instruction, wasm
from lite.model.workflow import Workflow
from tests.workflow_support import level_of

MODULE = CID.of(b"module", RAW)
A = wasm(MODULE, "a")
SVG = "{http://www.w3.org/2000/svg}"
ELSEWHERE = wasm(MODULE, "elsewhere")
SMALL = analyse(
    Workflow(
        a=A,
        again=A,
        b=wasm(MODULE, "b", A.error, ELSEWHERE.any),
        send=Instruction("mailto:me@example.org", "msg/send", {"body": A.ok}),
    ),
    level_of,
)


def hostile() -> Graph:
    """Labels that no workflow can have, because a drawing must not rely on that."""
    bad = '"]; --> <script>&amp;\n\\'
    return replace(
        SMALL,
        order=(bad, "b"),
        needs={bad: (), "b": (Edge(bad, "ok"),)},
        external={},
        levels={bad: "pure", "b": "pure"},
        duplicates={"b": bad},
    )


def large(seed: int, steps: int = 60) -> Graph:
    rng = random.Random(seed)
    made: list[Instruction] = []
    for n in range(steps):
        near = made[-12:]
        awaited = rng.sample(near, min(len(near), rng.choice([0, 1, 1, 2, 3])))
        made.append(wasm(MODULE, f"f{n}", *[step.ok for step in awaited]))
    return analyse(Workflow(**{f"step-{n}": step for n, step in enumerate(made)}), level_of)


def texts(svg: str) -> list[str]:
    return ["".join(part.itertext()) for part in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_mermaid_has_every_step_and_edge() -> None:
    text = to_mermaid(SMALL, {"a": "done"})
    assert text.startswith("flowchart LR\n")
    assert '    s0["a<br/>done"]' in text
    assert '    s1["again<br/>same as a"]' in text
    assert '    s3(["send<br/>mutation"])' in text
    assert "    s0 -->|error| s2" in text
    assert "    s0 --> s3" in text
    assert "    x0 -->|#42;| s2" in text
    assert f"    style s0 fill:{COLOURS['done']}" in text
    assert "stroke-dasharray" in next(line for line in text.splitlines() if "style x0" in line)


def test_dot_has_every_step_and_edge() -> None:
    text = to_dot(SMALL, {"b": "failed"})
    assert text.startswith("digraph workflow {\n")
    assert text.endswith("}\n")
    assert f's2 [label="b\\nfailed", style="filled", fillcolor="{COLOURS["failed"]}"];' in text
    assert '  s0 -> s2 [label="error"];' in text
    assert "  s0 -> s3;" in text
    assert 'style="filled,dashed"' in text


@pytest.mark.parametrize("draw", [to_mermaid, to_dot, to_svg])
def test_a_step_of_which_nothing_is_known_is_no_query(draw: Callable[[Graph], str]) -> None:
    far = Instruction("x:y", "lab/far", {})
    graph = analyse(Workflow(far=far), lambda _: None)
    assert "unknown" in draw(graph)
    assert "query" not in draw(graph)


def test_svg_is_xml_with_every_step_edge_and_colour() -> None:
    svg = to_svg(SMALL, {"a": "running"})
    tree = ElementTree.fromstring(svg)
    assert len(list(tree.iter(f"{SVG}g"))) == 5
    assert len([p for p in tree.iter(f"{SVG}path") if p.get("marker-end")]) == 3
    assert COLOURS["running"] in svg
    assert "arunning" in texts(svg)
    assert "sendmutation" in texts(svg)
    assert {"error", "*"} <= set(texts(svg))


def test_every_state_has_a_colour_of_its_own() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS)
    assert COLOURS.keys() >= {"waiting", "running", "done", "cached", "failed", "queued"}


def test_hostile_labels_are_escaped() -> None:
    graph = hostile()
    svg, dot, mermaid = to_svg(graph), to_dot(graph), to_mermaid(graph)
    assert any("<script>&amp;" in text for text in texts(svg))
    assert "<script" not in svg
    assert "<script" not in mermaid
    for line in dot.splitlines():
        # Outside of quoted strings nothing but the grammar is left.
        bare = re.sub(r'"(\\.|[^"\\])*"', "Q", line)
        assert re.fullmatch(r"[\w\s\[\]{}=,;>-]*", bare)
    for line in mermaid.splitlines():
        assert re.fullmatch(r'[\w\s\[\]()"#;<>/,:.|…-]*', line)
        assert line.count('"') in (0, 2)


@pytest.mark.parametrize("seed", range(3))
def test_sixty_steps_have_room_and_edges_go_forward(seed: int) -> None:
    graph = large(seed)
    tree = ElementTree.fromstring(to_svg(graph))
    width, height = float(tree.get("width", "0")), float(tree.get("height", "0"))
    boxes = []
    for group in tree.iter(f"{SVG}g"):
        box = group.find(f"{SVG}rect")
        assert box is not None
        left, top, wide, high = (float(box.get(k, "")) for k in ("x", "y", "width", "height"))
        assert 0 <= left <= left + wide <= width
        assert 0 <= top <= top + high <= height
        boxes.append((left, top, left + wide, top + high))
    assert len(boxes) == 60
    for one, two in combinations(boxes, 2):
        apart = one[2] < two[0] or two[2] < one[0] or one[3] < two[1] or two[3] < one[1]
        assert apart
    for path in tree.iter(f"{SVG}path"):
        if path.get("marker-end"):
            numbers = [float(n) for n in re.findall(r"[\d.]+", path.get("d", ""))]
            assert numbers[0] < numbers[-2]


@pytest.mark.parametrize("seed", range(3))
def test_no_arrow_passes_behind_a_box(seed: int) -> None:
    graph = large(seed)
    widths = dict.fromkeys(graph.needs, 60.0)
    arrows = [(edge.label, label) for label, edges in graph.needs.items() for edge in edges]
    laid = layout(widths, arrows)
    for route in laid.routes:
        for (x1, y1), (x2, y2) in zip(route[1:-1:2], route[2:-1:2], strict=True):
            assert y1 == y2
            for box in laid.boxes.values():
                beside = x2 <= box.left or box.left + box.width <= x1
                assert beside or not box.top <= y1 <= box.top + BOX_HEIGHT
    for start, end in arrows:
        one, two = laid.boxes[start], laid.boxes[end]
        assert one.left + one.width < two.left


def test_a_large_workflow_is_drawn_in_bounded_space() -> None:
    names = [f"s{n}" for n in range(3000)]
    arrows = [*pairwise(names), *(("s0", name) for name in names[2:])]
    laid = layout(dict.fromkeys(names, 50.0), arrows)
    assert len(laid.boxes) == 3000
    assert sum(map(len, laid.routes)) < 2 * len(arrows) + 2 * 5_000


def test_one_step_is_a_drawing() -> None:
    graph = analyse(Workflow(a=A), level_of)
    assert texts(to_svg(graph)) == ["a"]
    assert "s0" in to_dot(graph)
    assert "s0" in to_mermaid(graph)
