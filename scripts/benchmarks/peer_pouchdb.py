"""PouchDB: two databases, one behind its HTTP server, exchange what differs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_suffix(".cjs")


def main(folder: str, kind: str) -> None:
    """`kind`: "sync", then "bytes", "trips" or "cpu", how many items, how many of them apart."""
    _, _, size, apart = kind.split(".")
    venv = str(Path(sys.executable).parent.parent)
    done = subprocess.run(
        ["node", str(PROGRAM), venv, size, apart], cwd=folder, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps({f"sync.{of}.{size}.{apart}": value for of, value in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
