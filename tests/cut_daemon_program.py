"""A command of which no job gets to a provider while a file is there:
`python -m tests.cut_daemon_program FILE WORDS…`. Whenever one does not, `FILE.tried` is made."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from lite.cli.entry import entry
from lite.offload.client import JobClient, ProviderAway
from lite.offload.wire import Job


def main(cut: Path) -> None:
    send = JobClient.send

    async def sending(self: JobClient, tokens: Sequence[bytes]) -> list[Job]:
        if cut.exists():
            cut.with_suffix(".tried").touch()
            raise ProviderAway("the link was cut")
        return await send(self, tokens)

    JobClient.send = sending  # type: ignore[method-assign]
    entry()


if __name__ == "__main__":
    main(Path(sys.argv.pop(1)))
