"""Whole numbers on the command line, none larger than what takes them behind it."""

from __future__ import annotations

from typing import Final

import click

from lite.quantities import SIZE_MAX

__all__ = ["BYTES", "COUNT"]

COUNT: Final = click.IntRange(1, 2**31 - 1)  # as in the queries of the API
BYTES: Final = click.IntRange(0, SIZE_MAX)
