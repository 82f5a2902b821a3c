"""The text format of Prometheus, read back by a small parser of its grammar."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from lite.http.metrics import Metric, render, single
from tests.prometheus_support import parse_metrics

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,9}", fullmatch=True)
VALUES = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False))
LABELS = st.dictionaries(NAMES, st.text(max_size=12), max_size=3)


def test_a_counter_without_labels() -> None:
    assert render([single("a_total", "counter", "How many.", 3)]) == (
        "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n"
    )


def test_labels_are_sorted_and_escaped() -> None:
    metric = Metric("m", "gauge", "a\nb\\c", (({"z": 'x"y', "a": "p\\q\nr"}, 1.5),))
    assert render([metric]) == (
        "# HELP m a\\nb\\\\c\n# TYPE m gauge\n" + 'm{a="p\\\\q\\nr",z="x\\"y"} 1.5\n'
    )


def test_a_family_without_samples_still_says_what_it_is() -> None:
    assert render([Metric("m", "gauge", "h", ())]).count("\n") == 2


@given(st.lists(st.tuples(NAMES, LABELS, VALUES), unique_by=lambda one: one[0], max_size=5))
def test_what_is_written_is_read_back(samples: list[tuple[str, dict[str, str], float]]) -> None:
    text = render(
        Metric(name, "gauge", "help", ((labels, value),)) for name, labels, value in samples
    )
    read = parse_metrics(text)
    assert [(one.name, one.labels, one.value) for one in read] == [
        (name, labels, float(value)) for name, labels, value in samples
    ]
    assert all(one.kind == "gauge" for one in read)
    assert re.fullmatch(r"(?s)(.*\n)?", text)
