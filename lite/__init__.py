"""ipvm-lite: content-addressed compute that works with no network.

    from lite import Node, wasm

    with Node.open() as node:                       # key and store on first use, no network
        photo = node.add("cat.png")                 # -> CID
        tools = node.add("imaging.wasm")
        blur = wasm(tools, "blur", photo, 2)        # -> Instruction; its CID is the memo key
        answer = node.run(blur)                     # known: instant; else run, sign, keep
        print(answer.source, answer.receipt.cid, len(answer.out.unwrap()))

Names are loaded when they are first used: importing `lite` alone imports nothing else.
"""

from __future__ import annotations

from lite.version import VERSION

TYPE_CHECKING = False  # that of `typing` costs 10 ms, in which Ctrl-C would be a traceback
if TYPE_CHECKING:
    from typing import Any

    from lite.answer import Answer
    from lite.errors import IpvmError
    from lite.ipld.cid import CID
    from lite.keys import Key
    from lite.limits import Limits
    from lite.model.instruction import Instruction, wasm
    from lite.model.promise import Await
    from lite.model.receipt import Receipt
    from lite.model.result import Result
    from lite.model.workflow import Workflow
    from lite.node import Node
    from lite.workflow_run import Run, RunEvent

__version__ = VERSION

__all__ = [
    "CID",
    "Answer",
    "Await",
    "Instruction",
    "IpvmError",
    "Key",
    "Limits",
    "Node",
    "Receipt",
    "Result",
    "Run",
    "RunEvent",
    "Workflow",
    "__version__",
    "wasm",
]

_HOMES = {
    "CID": "lite.ipld.cid",
    "Answer": "lite.answer",
    "Await": "lite.model.promise",
    "Instruction": "lite.model.instruction",
    "IpvmError": "lite.errors",
    "Key": "lite.keys",
    "Limits": "lite.limits",
    "Node": "lite.node",
    "Receipt": "lite.model.receipt",
    "Result": "lite.model.result",
    "Run": "lite.workflow_run",
    "RunEvent": "lite.workflow_run",
    "Workflow": "lite.model.workflow",
    "wasm": "lite.model.instruction",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lite' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
