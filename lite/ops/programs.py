"""The programs that `exec/run` may start: a TOML file of the owner, one table a program.

[thumbnail]
argv = ["/usr/bin/convert", "-", "-thumbnail", "128x128", "png:-"]
level = "query"            # query, idempotent-mutation, or mutation, which is the default
timeout = "10s"            # within the limit of the run, as it stands there
memory = "512M"            # of each process, within the limit of the run
args = false               # whether input.args may add arguments; true is the default
env = ["LANG"]             # variables that input.env may set; none is the default
folder = "/srv/pictures"   # where it runs; an empty folder is the default
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from lite.errors import ConfigError, QueuedError
from lite.frozen import frozen
from lite.ops.base import Level
from lite.quantities import parse_duration_ms, parse_size
from lite.toml_files import loads, read_text

_LEVELS: Final = ("query", "idempotent-mutation", "mutation")
_KEYS: Final = frozenset({"argv", "level", "timeout", "memory", "args", "env", "folder"})
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TAKEN = re.compile(r"HOME|TMPDIR|(LD|DYLD)_.*")
"""What the operation sets itself, and what would load any code into the program."""


@frozen
class Program:
    """One program.

    Attributes:
        argv: an absolute path, then the arguments that always come first.
        timeout_ms, memory_bytes: None: the limits of the run alone.
        takes_args: whether an instruction may add arguments.
        env: variables that an instruction may set.
    """

    name: str
    argv: tuple[str, ...]
    level: Level
    timeout_ms: int | None
    memory_bytes: int | None
    takes_args: bool
    env: frozenset[str]
    folder: Path | None


def read_programs(path: Path) -> dict[str, Program]:
    """Every program in the file, by name.

    Raises:
        QueuedError: the file cannot be read, or something in it is wrong; it says what.
    """
    hint = f"Correct the file of ops.exec, {path}"
    try:
        tables = loads(read_text(path))
        return {name: _program(name, table) for name, table in tables.items()}
    except OSError as error:
        raise QueuedError(
            f"the list of programs cannot be read: {error.strerror}", hint=hint
        ) from None
    except (ValueError, ConfigError) as error:
        raise QueuedError(f"the list of programs is wrong: {error}", hint=hint) from None


def _program(name: str, table: Any) -> Program:
    if not isinstance(table, dict):
        raise ValueError(f"{name} is not a table")
    for key in sorted(table.keys() - _KEYS):
        raise ValueError(f"{name}.{key} is not known; there are {', '.join(sorted(_KEYS))}")
    argv, env = _texts(name, table, "argv"), _texts(name, table, "env")
    if not argv or not argv[0].startswith("/"):
        raise ValueError(f"{name}.argv has to begin with the absolute path of a program")
    for variable in env:
        if not _VARIABLE.fullmatch(variable) or _TAKEN.fullmatch(variable):
            raise ValueError(
                f"{name}.env: {variable[:64]!r} is no variable that an instruction may set"
            )
    level = table.get("level", "mutation")
    if level not in _LEVELS:
        raise ValueError(f"{name}.level must be one of {', '.join(_LEVELS)}")
    takes_args = table.get("args", True)
    if not isinstance(takes_args, bool):
        raise ValueError(f"{name}.args must be true or false")
    timeout, memory, folder = (_text(name, table, key) for key in ("timeout", "memory", "folder"))
    if folder is not None and not folder.startswith("/"):
        raise ValueError(f"{name}.folder must be an absolute path")
    return Program(
        name,
        argv,
        level,
        None if timeout is None else parse_duration_ms(timeout),
        None if memory is None else parse_size(memory),
        takes_args,
        frozenset(env),
        None if folder is None else Path(folder),
    )


def _texts(name: str, table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name}.{key} must be a list of texts")
    return tuple(value)


def _text(name: str, table: dict[str, Any], key: str) -> str | None:
    value = table.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}.{key} must be text")
    return value
