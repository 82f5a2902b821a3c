"""A workflow's graph as Mermaid, as Graphviz' dot, and as SVG.

Awaited steps stand left of those that await them. Awaits on instructions elsewhere are drawn
dashed. `states` colours the steps of a run. Labels are escaped for each of the languages, whoever
wrote the workflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

from lite.frozen import frozen
from lite.model.graph import Graph
from lite.model.graph_layout import BOX_HEIGHT, Box, Point, layout
from lite.model.safety import is_mutation

COLOURS: Final = {
    "waiting": "#e8e8e8",
    "running": "#ffe08a",
    "done": "#a8dba8",
    "cached": "#cfe8f5",
    "failed": "#f2a3a3",
    "queued": "#f6d8a8",
    "offloaded": "#d9c8f0",
    "cancelled": "#cccccc",
    "expired": "#d8b8a0",
    "in-doubt": "#ff9ecb",
    "handled": "#ecc9b8",
    "not-taken": "#f4f4f4",
}
PLAIN: Final = "#ffffff"

_CHAR, _LINE = 7.3, 16  # of the font below, in pixels
_TEXT_CHARS = 28
_EMPTY: Final[dict[str, str]] = {}


@frozen
class _Node:
    """A box: its first line, a second one in smaller type, and how it is filled."""

    title: str
    note: str
    fill: str
    external: bool
    mutation: bool


@frozen
class _Drawing:
    """Boxes by id, and arrows between ids with a text, which may be empty."""

    nodes: dict[str, _Node]
    arrows: tuple[tuple[str, str, str], ...]


def to_mermaid(
    graph: Graph,
    states: Mapping[str, str] | None = None,
    causes: Mapping[str, str] | None = None,
) -> str:
    """A flowchart in Mermaid's language.

    Args:
        states: of the steps of a run, by label; steps without one are not coloured.
        causes: of steps that a result has asked for, the label of the one that asked.
    """
    drawing = _drawing(graph, states or _EMPTY, causes or _EMPTY)
    lines = ["flowchart LR"]
    for name, node in drawing.nodes.items():
        text = "<br/>".join(_mermaid(part) for part in (node.title, node.note) if part)
        opening, closing = ("([", "])") if node.mutation else ("[", "]")
        lines.append(f'    {name}{opening}"{text}"{closing}')
    for start, end, text in drawing.arrows:
        lines.append(
            f"    {start} -->|{_mermaid(text)}| {end}" if text else f"    {start} --> {end}"
        )
    for name, node in drawing.nodes.items():
        dashed = ",stroke-dasharray:4 3" if node.external else ""
        lines.append(f"    style {name} fill:{node.fill},stroke:#444,color:#111{dashed}")
    return "\n".join(lines) + "\n"


def to_dot(
    graph: Graph,
    states: Mapping[str, str] | None = None,
    causes: Mapping[str, str] | None = None,
) -> str:
    """A digraph in the language of Graphviz; all as for `to_mermaid`."""
    drawing = _drawing(graph, states or _EMPTY, causes or _EMPTY)
    lines = ["digraph workflow {", "  rankdir=LR;", '  node [shape=box, fontname="monospace"];']
    for name, node in drawing.nodes.items():
        text = "\\n".join(_dot(part) for part in (node.title, node.note) if part)
        style = (
            "filled,dashed" if node.external else "filled,rounded" if node.mutation else "filled"
        )
        lines.append(f'  {name} [label="{text}", style="{style}", fillcolor="{node.fill}"];')
    for start, end, text in drawing.arrows:
        lines.append(f"  {start} -> {end}" + (f' [label="{_dot(text)}"];' if text else ";"))
    return "\n".join([*lines, "}"]) + "\n"


def to_svg(
    graph: Graph,
    states: Mapping[str, str] | None = None,
    causes: Mapping[str, str] | None = None,
) -> str:
    """A picture of its own, as SVG text; all as for `to_mermaid`."""
    drawing = _drawing(graph, states or _EMPTY, causes or _EMPTY)
    widths = {name: _width(node) for name, node in drawing.nodes.items()}
    laid = layout(widths, [(start, end) for start, end, _ in drawing.arrows])
    width, height = laid.width, laid.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="12">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#555"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#fff"/>',
        *(_svg_line(route) for route in laid.routes),
        *(_svg_box(node, laid.boxes[name]) for name, node in drawing.nodes.items()),
        *(
            _svg_text(route, text)
            for route, (_, _, text) in zip(laid.routes, drawing.arrows, strict=True)
            if text
        ),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _drawing(graph: Graph, states: Mapping[str, str], causes: Mapping[str, str]) -> _Drawing:
    ids = {label: f"s{position}" for position, label in enumerate(graph.needs)}
    nodes: dict[str, _Node] = {}
    arrows: list[tuple[str, str, str]] = []
    outside: dict[str, str] = {}
    for label, name in ids.items():
        level: str = "unknown" if label in graph.unknown else graph.levels[label]
        state = states.get(label, "")
        same = f"same as {graph.duplicates[label]}" if label in graph.duplicates else ""
        note = ", ".join(part for part in (state, "" if level == "pure" else level, same) if part)
        fill = COLOURS.get(state, PLAIN)
        nodes[name] = _Node(
            _short(label), _short(note), fill, False, is_mutation(graph.levels[label])
        )
        for edge in graph.needs[label]:
            arrows.append((ids[edge.label], name, _branch(edge.branch)))
        if (cause := causes.get(label)) is not None:
            arrows.append((ids[cause], name, "fx"))
        for wait in graph.external.get(label, ()):
            cid = str(wait.instruction)
            start = outside.setdefault(cid, f"x{len(outside)}")
            here = wait not in graph.waiting.get(label, ())
            note = "known here" if here else "from elsewhere"
            nodes[start] = _Node(f"{cid[:8]}…{cid[-8:]}", note, PLAIN, True, False)
            arrows.append((start, name, _branch(wait.branch)))
    return _Drawing(nodes, tuple(arrows))


def _branch(branch: str) -> str:
    return "" if branch == "ok" else branch


def _short(text: str) -> str:
    return text if len(text) <= _TEXT_CHARS else f"{text[: _TEXT_CHARS - 1]}…"


def _mermaid(text: str) -> str:
    """Everything but letters, digits and a few signs as an entity of Mermaid."""
    return "".join(c if c.isalnum() or c in " _-,…" else f"#{ord(c)};" for c in text)


def _dot(text: str) -> str:
    kept = "".join(c if c.isprintable() else "?" for c in text)
    return kept.replace("\\", "\\\\").replace('"', '\\"')


def _width(node: _Node) -> float:
    return max(len(node.title), len(node.note), 6) * _CHAR + 16


def _svg_box(node: _Node, box: Box) -> str:
    dashed = ' stroke-dasharray="4 3"' if node.external else ""
    radius = 14 if node.mutation else 4
    middle = box.left + box.width / 2
    first = box.top + (17 if node.note else 24)
    note = f'<tspan x="{middle:.1f}" dy="{_LINE}" font-size="10">{_xml(node.note)}</tspan>'
    return (
        f'<g><rect x="{box.left:.1f}" y="{box.top:.1f}" width="{box.width:.1f}" '
        f'height="{BOX_HEIGHT}" rx="{radius}" fill="{node.fill}" stroke="#444"{dashed}/>'
        f'<text x="{middle:.1f}" y="{first:.1f}" text-anchor="middle" fill="#111">'
        f"{_xml(node.title)}{note if node.note else ''}</text></g>"
    )


def _svg_line(route: tuple[Point, ...]) -> str:
    """Curves from column to column, straight along the lanes within one."""
    (x, y), *rest = route
    parts = [f"M{x:.1f} {y:.1f}"]
    for position, (x2, y2) in enumerate(rest):
        if position % 2:
            parts.append(f"H{x2:.1f}")
        else:
            bend = (x2 - x) / 2
            parts.append(f"C{x + bend:.1f} {y:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}")
        x, y = x2, y2
    return f'<path d="{"".join(parts)}" fill="none" stroke="#555" marker-end="url(#tip)"/>'


def _svg_text(route: tuple[Point, ...], text: str) -> str:
    (x1, y1), (x2, y2) = route[-2:]
    return (
        f'<text x="{(x1 + x2) / 2:.1f}" y="{(y1 + y2) / 2 - 4:.1f}" text-anchor="middle" '
        f'font-size="10" fill="#a33">{_xml(text)}</text>'
    )


def _xml(text: str) -> str:
    return escape("".join(c if c.isprintable() else "?" for c in text))
