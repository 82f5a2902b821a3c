"""Small files of text, most of them TOML: read whole, within a bound, and never for ever."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any, Final

__all__ = ["loads", "read_text"]

FILE_BYTES_MAX: Final = 1 << 20


def loads(text: str) -> dict[str, Any]:
    """TOML 1.0; raises `ValueError`."""
    try:
        if sys.version_info >= (3, 11):
            import tomllib

            return tomllib.loads(text)
        import tomli

        return dict(tomli.loads(text))
    except RecursionError:
        raise ValueError("it nests too deeply") from None


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        OSError: it cannot be read. ValueError: it is no text in UTF-8, too large, or a pipe.
    """
    # A pipe without a writer is not waited for.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, "rb") as file:
        if stat.S_ISFIFO(os.fstat(handle).st_mode):
            raise ValueError("it is a pipe, not a file")
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"it has more than {FILE_BYTES_MAX} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 ({error.reason})") from None
