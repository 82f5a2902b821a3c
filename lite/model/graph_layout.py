"""Where the boxes and arrows of a layered drawing go.

Columns by the longest way from a box that needs nothing; boxes that need nothing stand just before
the first that needs them. An arrow over several columns gets a lane of its own in each of them, so
that it passes between boxes. Within a column the order follows the middle of the neighbours, swept
forth and back, which takes most crossings out.
Source: Sugiyama, Tagawa, Toda 1981, the method and its barycentre rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from lite.frozen import frozen

BOX_HEIGHT: Final = 40
MARGIN: Final = 20

_LANE_HEIGHT, _GAP, _CHANNEL = 4, 16, 56
_SWEEPS = 8
_LANES_MAX = 5_000  # beyond it the arrow goes straight, behind the boxes

Point = tuple[float, float]


@frozen
class Box:
    """In pixels, from the upper left corner of the drawing."""

    left: float
    top: float
    width: float


@frozen
class Layout:
    """Boxes by name, and for each arrow the points that it passes, from edge to edge."""

    boxes: dict[str, Box]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def layout(widths: Mapping[str, float], arrows: Sequence[tuple[str, str]]) -> Layout:
    """Lay out boxes of these widths, and arrows between them that make no circle."""
    columns, chains = _with_lanes(_depths(widths, arrows), arrows)
    before: dict[str, list[str]] = {name: [] for column in columns for name in column}
    after: dict[str, list[str]] = {name: [] for name in before}
    for chain in chains:
        for start, end in pairwise(chain):
            before[end].append(start)
            after[start].append(end)
    _untangle(columns, before, after)
    boxes, width, height = _place(columns, widths)
    routes = tuple(_route(chain, boxes) for chain in chains)
    real = {name: boxes[name] for name in widths}
    return Layout(real, routes, width, height)


def _depths(names: Mapping[str, object], arrows: Sequence[tuple[str, str]]) -> dict[str, int]:
    after: dict[str, list[str]] = {name: [] for name in names}
    missing = dict.fromkeys(names, 0)
    for start, end in arrows:
        after[start].append(end)
        missing[end] += 1
    sources = [name for name in names if not missing[name]]
    depth = dict.fromkeys(sources, 0)
    pending = list(sources)
    while pending:
        name = pending.pop()
        for end in after[name]:
            depth[end] = max(depth.get(end, 0), depth[name] + 1)
            missing[end] -= 1
            if not missing[end]:
                pending.append(end)
    for name in sources:
        depth[name] = min((depth[end] for end in after[name]), default=1) - 1
    return depth


def _with_lanes(
    depth: Mapping[str, int], arrows: Sequence[tuple[str, str]]
) -> tuple[list[list[str]], list[list[str]]]:
    """The columns, lanes among the boxes, and each arrow as the names that it passes."""
    columns: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, at in depth.items():
        columns[at].append(name)
    lanes = 0
    chains: list[list[str]] = []
    for start, end in arrows:
        between = range(depth[start] + 1, depth[end])
        if lanes + len(between) > _LANES_MAX:
            between = range(0)
        passed = [f"lane {lanes + n}" for n in range(len(between))]
        lanes += len(passed)
        for at, name in zip(between, passed, strict=True):
            columns[at].append(name)
        chains.append([start, *passed, end])
    return columns, chains


def _untangle(
    columns: list[list[str]], before: Mapping[str, list[str]], after: Mapping[str, list[str]]
) -> None:
    places: dict[str, float] = {}
    for column in columns:
        _number(column, places)
    for sweep in range(_SWEEPS):
        forth = sweep % 2 == 0
        neighbours = before if forth else after
        for column in columns if forth else reversed(columns):
            middles = {name: _middle(neighbours[name], places, places[name]) for name in column}
            column.sort(key=middles.__getitem__)
            _number(column, places)


def _number(column: list[str], places: dict[str, float]) -> None:
    """Places from 0 to 1, so that columns of different lengths can be compared."""
    for at, name in enumerate(column):
        places[name] = (at + 0.5) / len(column)


def _middle(near: list[str], places: Mapping[str, float], alone: float) -> float:
    return sum(places[name] for name in near) / len(near) if near else alone


def _place(
    columns: list[list[str]], widths: Mapping[str, float]
) -> tuple[dict[str, Box], float, float]:
    def tall(name: str) -> int:
        return BOX_HEIGHT if name in widths else _LANE_HEIGHT

    heights = [sum(tall(name) + _GAP for name in column) - _GAP for column in columns]
    height = max(heights)
    boxes: dict[str, Box] = {}
    left = float(MARGIN)
    for column, filled in zip(columns, heights, strict=True):
        wide = max((widths[name] for name in column if name in widths), default=0.0)
        spare = (height - filled) / len(column)
        top = MARGIN + spare / 2
        for name in column:
            boxes[name] = Box(left, top, wide)
            top += tall(name) + _GAP + spare
        left += wide + _CHANNEL
    return boxes, left - _CHANNEL + MARGIN, height + 2 * MARGIN


def _route(chain: list[str], boxes: Mapping[str, Box]) -> tuple[Point, ...]:
    first, last = boxes[chain[0]], boxes[chain[-1]]
    points: list[Point] = [(first.left + first.width, first.top + BOX_HEIGHT / 2)]
    for name in chain[1:-1]:
        lane = boxes[name]
        middle = lane.top + _LANE_HEIGHT / 2
        points += [(lane.left, middle), (lane.left + lane.width, middle)]
    points.append((last.left, last.top + BOX_HEIGHT / 2))
    return tuple(points)
