"""Run under strace by fsyncs.py: HOME KIND COUNT."""

from __future__ import annotations

import sys

import guests

from lite import Node, wasm


def main(home: str, kind: str, operations: int) -> None:
    with Node.open(home, in_process=True) as node:
        module = node.add(guests.ADD)
        for number in range(operations):
            node.run(wasm(module, "add", number if kind == "step" else 0, 1)).out.unwrap()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
