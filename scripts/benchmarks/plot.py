"""The ratios of a run as an SVG file: a bar a row, a mark at its target."""

from __future__ import annotations

import math
import statistics
from html import escape

from table import Result, times

WIDTH, LABEL, LINE = 900, 380, 22
BAR = WIDTH - LABEL - 110
COLOURS = {None: "#888", True: "#2a7", False: "#c43"}


def svg(results: list[Result], heading: str) -> str:
    """The rows that have another side, on a logarithmic scale; what is shorter is better."""
    shown = [one for one in results if one.ratios]
    values = [statistics.median(one.ratios) for one in shown]
    ends = [*values, *(one.most for one in shown if one.most), 1.0]
    low, high = math.log(min(ends) / 1.5), math.log(max(ends) * 1.1)

    def at(ratio: float) -> float:
        return LABEL + BAR * (math.log(ratio) - low) / (high - low)

    lines = [_text(8, 18, heading, size=11)]
    for number, (one, value) in enumerate(zip(shown, values, strict=True)):
        top = 34 + number * LINE
        label = f"{one.name}: {one.what} / {one.against}"
        lines.append(_text(8, top + 14, label, size=11))
        lines.append(
            f'<rect x="{LABEL}" y="{top + 3}" width="{at(value) - LABEL:.1f}" height="{LINE - 8}" '
            f'fill="{COLOURS[one.met]}"/>'
        )
        lines.append(_text(at(value) + 6, top + 14, times(value), size=11))
        if one.most is not None:
            x = f"{at(one.most):.1f}"
            lines.append(_line(x, top, top + LINE - 2, "#000"))
    bottom = 34 + len(shown) * LINE
    lines.append(_line(f"{at(1.0):.1f}", 28, bottom, "#aaa"))
    lines.append(_text(8, bottom + 18, "grey line: as fast as the other side; black: target"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom + 30}" '
        f'font-family="sans-serif">\n' + "\n".join(lines) + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}">{escape(text)}</text>'


def _line(x: str, top: int, bottom: int, colour: str) -> str:
    return f'<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" stroke="{colour}"/>'
