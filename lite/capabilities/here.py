"""This node's own capabilities, measured when they are first asked for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

from lite.capabilities import measure
from lite.capabilities.sizes import holds, needs_of
from lite.config import Config
from lite.model.instruction import Instruction
from lite.needs.capabilities import Capabilities
from lite.needs.fit import Fit, fit
from lite.needs.requirements import Requirements
from lite.ops.base import Op
from lite.store import Store

__all__ = ["FRESH_S", "Here"]

FRESH_S: Final = 600.0  # after so long what is free may be another amount


class Here:
    """See the module. Thread-safe."""

    def __init__(self, did: str, config: Config, ops: Mapping[str, Op], store: Store) -> None:
        self._did = did
        self._config = config
        self._ops = ops
        self._store = store
        self._lock = Lock()
        self._kept: tuple[float, Capabilities] | None = None

    def capabilities(self) -> Capabilities:
        """What this node has for its owner's steps; up to a second when it has to be measured."""
        with self._lock:
            now = time.monotonic()
            if self._kept is None or now - self._kept[0] > FRESH_S:
                stored = self._store.stats().block_bytes
                found = measure(self._did, self._config, self._ops, stored_bytes=stored)
                self._kept = now, found
            return self._kept[1]

    def fit(self, needs: Requirements) -> Fit:
        """Whether a step fits here, and why not."""
        return fit(needs, self.capabilities(), lambda cid: holds(self._store, cid))

    def needs_of(
        self,
        instruction: Instruction,
        meta: Mapping[str, Any],
        defaults: Mapping[str, Any] | None,
    ) -> Requirements:
        """What a step needs, with the sizes that are known here."""
        return needs_of(self._store, instruction, meta, defaults)
