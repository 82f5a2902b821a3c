"""How a task ended: a value, or an error that is data as well.

Exit status of a command whose task failed: 1, or 8 when the error is one of `LIMIT_ERRORS`.
Source: UCAN Invocation 0.2.0, Result; keyed representation.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

from lite.errors import CodecError, IpvmError
from lite.frozen import frozen

Branch = Literal["ok", "error"]

# The engine has the same two sets; a test keeps them equal. What each code means is said there.
MEMOISABLE_ERRORS: Final = frozenset(
    {
        "unreachable",
        "integer-divide-by-zero",
        "integer-overflow",
        "invalid-conversion",
        "memory-out-of-bounds",
        "table-out-of-bounds",
        "indirect-call-to-null",
        "bad-signature",
        "out-of-fuel",
        "exit",
        "guest-error",
        "bad-argument",
        "no-such-function",
        "float-not-finite",
    }
)
LIMIT_ERRORS: Final = frozenset(
    {
        "out-of-fuel",
        "memory-limit",
        "time-limit",
        "output-limit",
        "stack-overflow",
        "compile-limit",
        "module-too-large",
    }
)


class TaskFailed(IpvmError):
    """The task ended with an error; `error` is its value, a map or a link to it."""

    code: ClassVar[str] = "task-failed"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, error: Any, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.error = error


class TaskOverLimit(TaskFailed):
    """The task was ended by one of its limits."""

    code: ClassVar[str] = "task-limit"
    exit_code: ClassVar[int] = 8


@frozen
class Result:
    """`{"ok": body}` or `{"error": body}`, any IPLD value or a link to it.

    An error of this node is a map with a stable `code`, a `message`, and details.
    """

    branch: Branch
    body: Any

    @staticmethod
    def of_ok(value: Any) -> Result:
        """A success. Nothing to say is the empty map: other tools refuse a null here."""
        return Result("ok", value)

    @staticmethod
    def of_error(error: Any) -> Result:
        """A failure, normally a map with `code` and `message`."""
        return Result("error", error)

    @staticmethod
    def from_value(value: Any) -> Result:
        """Read the keyed form.

        Raises:
            CodecError: not a map with exactly one of the two keys.
        """
        if type(value) is dict and len(value) == 1:
            if "ok" in value:
                return Result("ok", value["ok"])
            if "error" in value:
                return Result("error", value["error"])
        raise CodecError("a result is a map with exactly one key, ok or error")

    @property
    def is_ok(self) -> bool:
        return self.branch == "ok"

    @property
    def error_code(self) -> str:
        """The stable code of an error that is held as a map, else the empty string."""
        return self._text("code")

    def value(self) -> dict[str, Any]:
        """The keyed form."""
        return {self.branch: self.body}

    def unwrap(self) -> Any:
        """The success value.

        Raises:
            TaskFailed: it is an error; `TaskOverLimit` when a limit ended the task.
        """
        if self.is_ok:
            return self.body
        code = self.error_code or "error"
        kind = TaskOverLimit if code in LIMIT_ERRORS else TaskFailed
        message = self._text("message") or "no message"
        raise kind(f"the task failed: {code}: {message}", self.body)

    def _text(self, key: str) -> str:
        if self.is_ok or type(self.body) is not dict:
            return ""
        text = self.body.get(key)
        return text if type(text) is str else ""
