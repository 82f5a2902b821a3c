"""Every error that a user can meet, in one tree.

The tree (class, stable code, exit status of the command line):

    IpvmError
    ├── UsageError            usage             2   wrong arguments, or a file the user wrote
    │   ├── CidError          cid-invalid       2   text or bytes that are not a CID
    │   ├── ConfigError       config-invalid    2   a setting that does not parse
    │   └── ModuleError       bad-module        2   a file that is no module that runs here
    ├── QueuedError           queued            3   cannot finish offline now
    ├── AuthorityError        unauthorised      4   a proof is missing, expired or too narrow
    ├── NotFoundError         not-found         5   no such file, name, block or receipt here
    ├── StoreError            store             6   the home or its database cannot be used
    │   ├── StoreFull         store-full        6   the disk is full
    │   ├── QuotaError        quota             6   the configured quota is used up
    │   ├── StoreTooNew       store-too-new     6   written by a later version; nothing was touched
    │   ├── StoreCorrupt      store-corrupt     6   the database file is damaged
    │   └── StoreBusy         store-busy        6   another process kept it locked too long
    ├── OutputError           output            6   what was made could not be handed on; not kept
    ├── EngineUnavailable     engine            6   no engine here can run this kind of module
    ├── IntegrityError        integrity         7   bytes do not match what they claim to be
    │   ├── CodecError        codec             7   not strict DAG-CBOR, DAG-JSON, CAR, dag-pb…
    │   ├── HashMismatch      hash-mismatch     7   a block does not hash to its CID
    │   └── SignatureError    signature         7   a signature does not verify
    ├── LimitError            limit             8   an enforced bound was reached outside a task
    └── Interrupted           interrupted     130   the user pressed Ctrl-C

    BugError                  bug              70   an invariant broke: our fault, never the user's

A guest that fails is not in this tree: it is data, an error receipt. The exit statuses of failed
tasks are in `lite.model.result`.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final, Literal

# What a broken rule of a format is called, where a caller tells it from others.
Rule = Literal[
    "",
    "container-bytes",
    "container-tokens",
    "field-invalid",
    "field-missing",
    "key-duplicate",
    "keys-unsorted",
    "nesting",
    "not-shortest",
    "policy-size",
    "proofs",
    "token-bytes",
    "token-tag",
]


_ESCAPE: Final = re.compile(r"\\(?:udc([89a-f][0-9a-f])|.)")


def quoted(value: object) -> str:
    """A text or a value for a message, as `repr` writes it; a byte of an argument or of a file's
    name that is no UTF-8 as `\\xff`, not as the lone surrogate that Python makes of it."""
    return bytes_written(repr(value))


def bytes_written(text: str) -> str:
    """What `repr` wrote, with lone surrogates as the bytes that they stand for: `quoted`."""
    return _ESCAPE.sub(lambda found: f"\\x{found[1]}" if found[1] else found[0], text)


class IpvmError(Exception):
    """An error about the world: `str(e)` says what happened and why, `hint` what to do next."""

    code: ClassVar[str] = "ipvm"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def place(self) -> dict[str, Any]:
        """Where and in what it arose, for programs; most errors have nothing to say of that."""
        return {}


class UsageError(IpvmError):
    code = "usage"
    exit_code = 2


class CidError(UsageError):
    code = "cid-invalid"


class ConfigError(UsageError):
    code = "config-invalid"


class ModuleError(UsageError):
    code = "bad-module"


class QueuedError(IpvmError):
    code = "queued"
    exit_code = 3


class AuthorityError(IpvmError):
    code = "unauthorised"
    exit_code = 4


class NotFoundError(IpvmError):
    code = "not-found"
    exit_code = 5


class StoreError(IpvmError):
    code = "store"
    exit_code = 6


class StoreFull(StoreError):
    code = "store-full"


class QuotaError(StoreError):
    code = "quota"


class StoreTooNew(StoreError):
    code = "store-too-new"


class StoreCorrupt(StoreError):
    code = "store-corrupt"


class StoreBusy(StoreError):
    code = "store-busy"


class OutputError(IpvmError):
    code = "output"
    exit_code = 6


class EngineUnavailable(IpvmError):
    code = "engine"
    exit_code = 6


class IntegrityError(IpvmError):
    code = "integrity"
    exit_code = 7


class CodecError(IntegrityError):
    """Bytes or text that break a rule of their format; `rule` names it, or is empty."""

    code = "codec"

    def __init__(self, message: str, *, hint: str | None = None, rule: Rule = "") -> None:
        super().__init__(message, hint=hint)
        self.rule: Rule = rule


class HashMismatch(IntegrityError):
    code = "hash-mismatch"


class SignatureError(IntegrityError):
    code = "signature"


class LimitError(IpvmError):
    code = "limit"
    exit_code = 8


class Interrupted(IpvmError):
    code = "interrupted"
    exit_code = 130


class BugError(Exception):
    """An invariant of ours broke. Please report it with the command and the traceback."""

    code: ClassVar[str] = "bug"
    exit_code: ClassVar[int] = 70
