"""A parser of Prometheus's text format, strict in what it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass

SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
ESCAPES = {r"\\": "\\", r"\"": '"', r"\n": "\n"}


@dataclass(frozen=True)
class Sample:
    """One line."""

    name: str
    kind: str
    labels: dict[str, str]
    value: float


def parse_metrics(text: str) -> list[Sample]:
    """All samples; fails on anything that is not the format."""
    assert not text or text.endswith("\n")
    kinds: dict[str, str] = {}
    helped: set[str] = set()
    found: list[Sample] = []
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped, f"{name} comes twice"
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert kind in ("counter", "gauge") and name not in kinds
            kinds[name] = kind
        else:
            found.append(_sample(line, kinds))
    seen = [(one.name, tuple(sorted(one.labels.items()))) for one in found]
    assert len(seen) == len(set(seen)), "a sample comes twice"
    return found


def _sample(line: str, kinds: dict[str, str]) -> Sample:
    match = SAMPLE.fullmatch(line)
    assert match is not None, line
    name, labels, value = match[1], match[2] or "", match[3]
    assert name in kinds, f"{name} has no type in front of it"
    assert kinds[name] != "counter" or name.endswith("_total"), name
    read: dict[str, str] = {}
    at = 0
    while at < len(labels):
        part = LABEL.match(labels, at)
        assert part is not None, line
        read[part[1]] = re.sub(r"\\.", lambda m: ESCAPES[m[0]], part[2])
        at = part.end()
    return Sample(name, kinds[name], read, float(value))
