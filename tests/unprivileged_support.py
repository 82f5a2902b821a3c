"""Doing something as a user whom permissions keep out, also where the tests run as root."""

from __future__ import annotations

import ctypes
import io
import os
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from lite.cli.main import main

_VERSION = 0x2008_0522  # of the structures that capset(2) takes


def without_privileges(work: Callable[[], None]) -> None:
    """Do something in a child that has no capabilities; it fails here with what failed there."""

    def dropped() -> None:
        _drop_capabilities()
        work()

    in_a_child(dropped)


def in_a_child(work: Callable[[], None]) -> None:
    """Do something in a child of this process; it fails here with what failed there."""
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            os.write(writable, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(status)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert not said, said
    assert os.waitstatus_to_exitcode(status) == 0


def _drop_capabilities() -> None:
    if os.geteuid() != 0:
        return
    header, none = struct.pack("<Ii", _VERSION, 0), bytes(24)
    if ctypes.CDLL(None, use_errno=True).capset(header, none) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def ended(*words: object) -> tuple[int, str, str]:
    """A command line in this process: its status, its output, and what it said beside it."""
    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    before = sys.stdin, sys.stdout, sys.stderr
    sys.stdin, sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO()), out, err
    try:
        status = main([str(word) for word in words])
    finally:
        sys.stdin, sys.stdout, sys.stderr = before
    with suppress(ValueError):
        out.flush()
    return status, out.buffer.getvalue().decode(), err.getvalue()  # type: ignore[attr-defined]
