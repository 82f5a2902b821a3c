"""A provider in a process of its own, to be killed: `python -m tests.provider_program FOLDER URL`.

It prints its address when it is ready. `test/act` is a mutation that POSTs its name to the URL,
`test/pure` is pure and POSTs it as well.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import urllib.request
from pathlib import Path

from lite.engine.base import Outcome
from lite.ops.base import Level, Ready
from tests.provider_support import ProviderNode

LASTS_S = 0.02
OPS = ("test/act", "test/pure")


class Posting:
    """An operation that the world notices."""

    needs: frozenset[str] = frozenset()

    def __init__(self, name: str, level: Level, url: str) -> None:
        self.name = name
        self.level = level
        self._url = url

    def missing(self, ready: Ready) -> str | None:
        return None

    def run(self, ready: Ready) -> Outcome:
        name = ready.instruction.input["name"]
        asked = urllib.request.Request(f"{self._url}/acts", data=name.encode())
        with urllib.request.urlopen(asked, timeout=20) as answer:
            answer.read()
        threading.Event().wait(LASTS_S)  # something to be killed in
        return Outcome(ok=name)


async def main(folder: Path, url: str) -> None:
    pi = ProviderNode(folder, **{"ops.allowed_for_others": OPS, "store.durability": "full"})
    ops = [Posting("test/act", "mutation", url), Posting("test/pure", "pure", url)]
    pi.node.executor._ops = {op.name: op for op in ops}
    await pi.start()
    sys.stdout.write(f"{pi.address}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
