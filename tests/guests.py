"""Small guests that tests run."""

from __future__ import annotations

ADD = bytes.fromhex(
    "0061736d01000000" "010701" "60027f7f017f" "03020100" "0707010361646400" "00"
    "0a09010700200020016a0b"
)  # fmt: skip
"""A core module: `add: func(i32, i32) -> i32`."""
