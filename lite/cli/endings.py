"""How a command ends when it does not end well: message, hint and exit status."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from lite.cli.present import is_text, one_line
from lite.cli.shell import ONLY_SAID, STDOUT, Shell, TaskEnded, complain, drop, error_line
from lite.environment import environment
from lite.errors import BugError, IpvmError, bytes_written
from lite.frozen import frozen

_LOOK = (
    "Look where it acts whether it happened, before you do it again: the same command does it once"
    " more, with --nonce TEXT only after --redo; a server can know that by its idempotency-key."
)
# What nobody reads to its end: a number of thousands of digits, a path of as many characters.
_LONG = re.compile(r"(\S{200})\S{200,}(\S{40})")
_NOT_UTF8 = "A file's name may be anything; what names something here is text in UTF-8."


@frozen
class Ending:
    """What is said about an error. An empty message: nothing; `more` is for `--json`."""

    status: int
    code: str = ""
    message: str = ""
    hint: str | None = None
    more: Mapping[str, object] | None = None


def ending(error: BaseException, shell: Shell) -> int:
    """Say what there is to say about `error`; the exit status. Lets `BrokenPipeError` through."""
    if isinstance(error, BrokenPipeError):
        raise error
    found = _describe(error)
    message = _LONG.sub(lambda word: f"{word[1]}…{word[2]}", found.message)
    if isinstance(error, OSError) and error.filename == STDOUT:
        drop(sys.stdout)
    if found.message:
        try:
            if shell.json:
                shell.emit_error(found.code, message, found.hint, found.more)
            shell.flush()
        except BrokenPipeError:
            raise
        except OSError:  # the error goes to stderr all the same, and keeps its status
            drop(sys.stdout)
        complain(message, found.hint)
    if found.status == BugError.exit_code and environment("IPVM_DEBUG"):
        import traceback

        error_line("".join(traceback.format_exception(error)).rstrip())
    return found.status


def _describe(error: BaseException) -> Ending:
    from lite.cli.main import Terminated
    from lite.ops.base import InDoubt

    match error:
        case click.exceptions.Exit():
            return Ending(error.exit_code)
        case TaskEnded():
            return Ending(error.status)
        case IpvmError():
            return Ending(error.exit_code, error.code, str(error), error.hint, error.place())
        case click.UsageError():
            return _usage(error)
        case KeyboardInterrupt() | click.Abort():
            return Ending(130, "interrupted", "interrupted")
        case Terminated():
            return Ending(143, "terminated", "terminated")
        case InDoubt():
            return Ending(1, "in-doubt", f"in doubt: {error}", _LOOK)
        case OSError():
            return _system(error)
        case UnicodeEncodeError() if not is_text(str(error.object)):
            said = one_line(str(error.object), 60)
            return Ending(2, "usage", f"“{said}” is not text: it is not UTF-8", _NOT_UTF8)
        case MemoryError():
            return Ending(6, "memory", "there is not enough memory for this")
        case _:
            return _bug(error)


def _usage(error: click.UsageError) -> Ending:
    context = error.ctx
    hint = f"`{context.command_path} --help` shows the usage and an example." if context else None
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        name, command = context.command_path, context.command
        verbs = command.list_commands(context) if isinstance(command, click.Group) else []
        return Ending(
            2, "usage", f"`{name}` needs a command: {', '.join(verbs)}", f"See `{name} --help`."
        )
    if isinstance(error, click.NoSuchOption):
        message = f"there is no option {error.option_name}"
        if error.possibilities:
            hint = f"Did you mean {' or '.join(error.possibilities)}?"
    else:
        message = bytes_written(" ".join(error.format_message().split()).rstrip("."))
        message = message[:1].lower() + message[1:]
    return Ending(2, "usage", message, hint)


def _system(error: OSError) -> Ending:
    """An operating-system error that no layer below has explained."""
    if error.filename == STDOUT:
        return Ending(
            6,
            "output",
            f"the output could not be written: {error.strerror}",
            ONLY_SAID,
        )
    if isinstance(error, FileNotFoundError) and not error.filename and _is_nowhere():
        from lite.setting_texts import folder_gone

        return _describe(folder_gone())
    what = f"{error.filename}: " if error.filename else ""
    message = f"{what}{error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Ending(6, "store-full", message, "Free some space, then do it again.")
    if isinstance(error, FileNotFoundError):
        return Ending(5, "not-found", message)
    return Ending(6, "system", message)


def _is_nowhere() -> bool:
    """Whether the folder that this process is in was deleted."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def _bug(error: BaseException) -> Ending:
    return Ending(
        BugError.exit_code,
        BugError.code,
        f"this is a bug in ipvm: {type(error).__name__}: {one_line(str(error))}",
        "Please report it with the command and the traceback that IPVM_DEBUG=1 shows.",
    )
