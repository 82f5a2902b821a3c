"""One call of a guest function, as a value: what to run, on what, within which bounds.

`lite.engine.execute` runs it; `lite.engine.pool` is where the node hands it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lite.engine.base import GuestFailure, Host, Outcome, Usage
from lite.frozen import field, frozen
from lite.ipld.cid import CID
from lite.limits import EngineCaps, Limits

UNRESOLVED = "unresolved-link"
"""The code of the failure of a call that needs a link whose content was not given. It says nothing
about the guest: whoever has the content can run it."""


@frozen
class Content:
    """What a link in the arguments stands for.

    Attributes:
        kind: "file" (raw or UnixFS), "value" (dag-cbor), or "large": a file of more bytes than the
            guest may have memory, which was not read.
        data: the file's bytes, or the path of a private file that holds them; for a value its
            DAG-CBOR; empty for what is large.
    """

    kind: Literal["file", "value", "large"]
    data: bytes | Path

    @property
    def size(self) -> int:
        return len(self.data) if isinstance(self.data, bytes) else self.data.stat().st_size

    def read(self) -> bytes:
        return self.data if isinstance(self.data, bytes) else self.data.read_bytes()

    def view(self) -> bytes | memoryview:
        """The bytes; of a private file its pages, which are in memory only as far as the system
        likes."""
        if isinstance(self.data, bytes):
            return self.data
        import mmap

        with self.data.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


@frozen
class Job:
    """One call that is ready to run.

    Attributes:
        module: of the WebAssembly file; also names it in the caches of compiled code.
        func: export to call; None for the command, or the only function.
        args: IPLD values, one a parameter.
        content: for every link in `args`, at any depth.
        host: `host.homestar` also chooses Homestar's value rules.
    """

    module: CID
    func: str | None
    args: tuple[Any, ...] = ()
    content: Mapping[CID, Content] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    caps: EngineCaps = field(default_factory=EngineCaps)
    host: Host = field(default_factory=Host)


def failed(
    failure: GuestFailure,
    usage: Usage | None = None,
    *,
    trace: bytes = b"",
    path: str = "",
    engine: str = "",
) -> Outcome:
    """The outcome of a job that ended with `failure`."""
    error = {**failure.detail, "code": failure.code, "message": failure.message}
    return Outcome(error=error, usage=usage or Usage(), trace=trace, path=path, engine=engine)
