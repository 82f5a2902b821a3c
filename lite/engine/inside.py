"""Guests inside the node's own process, for guests that its owner trusts.

Only an engine that can interrupt a guest will do. Even so a guest can abort the process and a
compilation cannot be bounded; that is what the workers are for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from lite.engine import select
from lite.engine.base import Outcome
from lite.engine.cache import CodeCache, CompileCache
from lite.engine.execute import Phases, execute
from lite.engine.heard import Heard
from lite.engine.job import Job
from lite.engine.module import ModuleInfo
from lite.engine.spool import Blob
from lite.engine.stop import Stop
from lite.errors import EngineUnavailable
from lite.frozen import replace
from lite.ipld.cid import CID
from lite.limits import EngineCaps


class Inside:
    """One engine in this process, one call at a time."""

    def __init__(self, engine: str, cache_dir: Path, cache_bytes: int) -> None:
        """Raises `EngineUnavailable` when there is none, or none that can be interrupted."""
        self._engine = select.choose(engine)()
        if "interrupt" not in self._engine.features:
            raise EngineUnavailable(
                f"{self._engine.name} cannot stop a guest inside this process",
                hint="Leave out --in-process, so that a worker runs it.",
            )
        self._codes = CodeCache(CompileCache(cache_dir, bytes_max=cache_bytes))
        self._lock = threading.Lock()

    @property
    def note(self) -> str | None:
        """Why compiled code is not kept, or None."""
        return self._codes.note

    def has(self, module: CID) -> bool:
        """Whether the module is compiled and in memory."""
        return module in self._codes

    def run(
        self,
        job: Job,
        load_wasm: Callable[[], Blob],
        on_trace: Callable[[bytes], None] | None = None,
        stop: Stop | None = None,
    ) -> Outcome:
        """As `Workers.run`. Raises `Interrupted` within some 10 ms of `stop`; a compilation ends
        before."""
        heard = Heard(on_trace)
        if on_trace is not None or stop is not None:
            tell = None if on_trace is None else heard.take
            job = replace(job, host=replace(job.host, on_trace=tell, stop=stop))
        with self._lock:
            if stop is not None:
                stop.check()
            return heard.end(execute(self._engine, self._codes, job, load_wasm))

    def describe(self, module: CID, wasm: Blob, caps: EngineCaps) -> ModuleInfo:
        with self._lock:
            return self._codes.get(
                self._engine, module, lambda: wasm, caps, Phases().compiling
            ).info
