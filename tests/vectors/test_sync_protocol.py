"""PROTOCOL.md says what the code does: each key of each frame, and the bounds in its tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sync import claims, codec, door, messages, owed, rules
from sync.errors import ProtocolError
from sync.intake import BATCHES_MAX, LACKING_MAX, PUSH_BYTES_MAX, WANT_BYTES_MAX
from sync.outlet import FRAME_BYTES_MIN, OFFERS_MAX, WANTED_BASE
from sync.reconcile import FINE
from tests.vectors.test_sync_frames import GOLDEN


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "sync" / "PROTOCOL.md").read_text()


def test_the_grammar_has_every_key_of_every_frame(text: str) -> None:
    grammar = text.split("```cddl\n")[1].split("```")[0]
    rules = re.findall(r'^\w+ +=( \{ t: "(\w)".*?\})', grammar, re.MULTILINE | re.DOTALL)
    keys = {
        kind: set(re.findall(r"(\w+): ", re.sub(r";.*|\[seq.*?\]", "", rule)))
        for rule, kind in rules
    }
    written: dict[str, set[str]] = {}
    for _, frame in GOLDEN.values():
        fields = codec.decode(bytes.fromhex(frame))
        written.setdefault(fields["t"], set()).update(fields)
    assert keys == written


def test_every_code_has_its_line(text: str) -> None:
    for number, name in enumerate(messages.CODES):
        assert f"| {number} | {name} |" in text


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (messages.FRAME_BYTES_MAX, "map of at most {} bytes"),
        (messages.FRAME_DEPTH_MAX, "nested at most {} deep"),
        (messages.COMPARE_BYTES_MAX, "A message has at most {} bytes"),
        (messages.IDS_MAX, "their order, at most {} in a frame"),
        (messages.WANTS_MAX, "At most {} ids and"),
        (WANT_BYTES_MAX, "ids and {} bytes"),
        (PUSH_BYTES_MAX, "if that is at most {} bytes"),
        (OFFERS_MAX, "At most {} offers are not yet"),
        (BATCHES_MAX, "{} open batches"),
        (LACKING_MAX, "{} ids lacking"),
        (WANTED_BASE, "twice the set and {} in all"),
        (rules.CURSOR_GAP_MAX, "at most {} rows follow it"),
        (rules.CONTROL_BYTES_PER_S, "8 MiB at once and {} bytes/s"),
        (owed.OWED_S_MAX, "{} s without anything that was asked for"),
        (claims.CLAIM_S, "asks in one for an item, for {} s"),
        (owed.BYTES_PER_S, "a second more for each {} bytes"),
        (owed.OVERTAKING_BYTES_MAX, "When {} bytes came before\n"),
        (door.RIGHT_LOOK_S, "looked at every {} s"),
        (FINE.ids_max, "lists up to {} ids"),
        (FINE.parts, "splits into {}\nparts"),
        (FINE.fresh_ids, "until at most {} ids are left"),
        (2 * FINE.fresh_ids, "of at most {} items each differ"),
    ],
)
def test_a_bound_is_the_one_in_the_text(text: str, number: float, sentence: str) -> None:
    assert sentence.format(f"{round(number):,}") in text


def test_the_least_frame_is_the_one_in_the_grammar(text: str) -> None:
    assert f"mx: {FRAME_BYTES_MIN}..{messages.FRAME_BYTES_MAX}" in text
    with pytest.raises(ProtocolError):
        messages.parse(bytes(messages.FRAME_BYTES_MAX + 1))
