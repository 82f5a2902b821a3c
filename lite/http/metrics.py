"""The text format of Prometheus (version 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

from lite.frozen import frozen

__all__ = ["MEDIA", "Metric", "render", "single"]

MEDIA: Final = "text/plain; version=0.0.4; charset=utf-8"

_LABEL_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})

Number = int | float


@frozen
class Metric:
    """One family of numbers.

    Attributes:
        samples: labels and value of each; labels are sorted when they are written.
    """

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: tuple[tuple[Mapping[str, str], Number], ...]


def single(name: str, kind: Literal["counter", "gauge"], help: str, value: Number) -> Metric:
    """A family of one number without labels."""
    return Metric(name, kind, help, (({}, value),))


def render(metrics: Iterable[Metric]) -> str:
    """All families, each with its help and type in front; ends with a line feed."""
    return "".join(line + "\n" for metric in metrics for line in _lines(metric))


def _lines(metric: Metric) -> Iterable[str]:
    yield f"# HELP {metric.name} {metric.help.translate(_HELP_ESCAPES)}"
    yield f"# TYPE {metric.name} {metric.kind}"
    for labels, value in metric.samples:
        yield f"{metric.name}{_labels(labels)} {_number(value)}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    told = (f'{name}="{labels[name].translate(_LABEL_ESCAPES)}"' for name in sorted(labels))
    return "{" + ",".join(told) + "}"


def _number(value: Number) -> str:
    return repr(float(value)) if isinstance(value, float) else str(int(value))
