"""Writing `config.toml` by editing its lines, so that comments and order stay."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lite.config import FILE_NAME, SETTINGS, Setting, flatten, read_file, read_text, setting
from lite.errors import ConfigError, StoreError, StoreFull
from lite.toml_files import loads


def template() -> str:
    """A new `config.toml`: every setting, commented out, with its default and its help."""
    lines = [
        "# Settings of this ipvm home. A flag or an IPVM_* variable goes before this file.",
        "",
    ]
    section = ""
    for s in SETTINGS.values():
        head, key = s.name.split(".")
        if head != section:
            section = head
            lines += ["", f"[{head}]"] if lines[-1] else [f"[{head}]"]
        lines.append(f"# {key} = {_toml(s, s.default)}  # {s.help}")
    return "\n".join(lines) + "\n"


def _toml(s: Setting, value: Any) -> str:
    if isinstance(value, bool) or (isinstance(value, int) and s.render is str):
        return s.render(value)
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return "[" + ", ".join(map(_quoted, value)) + "]"
    return _quoted(s.render(value))


def _quoted(text: str) -> str:
    """A basic string of TOML 1.0."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else char


def _line(path: Path, s: Setting, text: str) -> str:
    """The value of a setting in TOML, from its text. Raises ConfigError: also for what does not
    read back as it was meant."""
    value = s.parse(text)
    line = _toml(s, value)
    try:
        reads_back = s.parse(flatten(path, loads(f"{s.name} = {line}"))[s.name]) == value
    except (ValueError, ConfigError):  # of tomllib and tomli
        reads_back = False
    if not reads_back:
        raise ConfigError(f"“{text}” cannot be written for {s.name}: it would read back otherwise")
    return line


def write_setting(home: str | os.PathLike[str], name: str, text: str | None) -> Path:
    """Set one setting in `config.toml` (`None`: take it out), keeping all other lines.

    Returns the file's path. The file is replaced atomically and only when the edit reads back as
    meant.

    Raises:
        ConfigError: unknown name, a value that does not parse, or a file too unusual to edit.
        StoreError: the file cannot be written.
    """
    path = Path(home) / FILE_NAME
    s = setting(name)
    line = None if text is None else _line(path, s, text)
    before = read_text(path)
    expected = read_file(path)
    expected.pop(name, None)
    if line is not None:
        expected |= flatten(path, loads(f"{name} = {line}"))
    after = _edit(before or template(), name, line)
    try:
        settled = flatten(path, loads(after)) == expected
    except ValueError:
        settled = False
    if not settled:
        raise ConfigError(
            f"{path} writes {name} in a way that this command cannot edit",
            hint=f"Edit the file by hand: {name} = {line}",
        )
    _replace_file(path, after)
    return path


def _edit(text: str, name: str, value: str | None) -> str:
    """The file's text with one setting changed; comments, order and spacing stay."""
    section, key = name.split(".")
    lines = text.splitlines()
    start, end = _section(lines, section)
    found = _find(lines, 0, _first_header(lines), rf"{section}\s*\.\s*{key}")
    if found is None and start is not None:
        found = _find(lines, start + 1, end, key)
    if found is not None:
        at, length = found
        old = "\n".join(lines[at : at + length])
        head = old[: old.index("=")].rstrip()
        lines[at : at + length] = [] if value is None else [f"{head} = {value}{_comment(old)}"]
    elif value is not None:
        if start is None:
            lines += ["", f"[{section}]", f"{key} = {value}"]
        else:
            lines.insert(_insertion(lines, start, end, key), f"{key} = {value}")
    return "\n".join(lines) + "\n"


def _first_header(lines: Sequence[str]) -> int:
    return next((i for i, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))


def _section(lines: Sequence[str], section: str) -> tuple[int | None, int]:
    """Index of the section's header and of the line after its last."""
    start = None
    for i, line in enumerate(lines):
        if re.match(r"\s*\[", line):
            if start is not None:
                return start, i
            if re.match(rf"\s*\[\s*{section}\s*\]", line):
                start = i
    return start, len(lines)


def _find(lines: Sequence[str], start: int, end: int, key: str) -> tuple[int, int] | None:
    """Where `key = …` begins and how many lines its value takes."""
    for i in range(start, end):
        if re.match(rf"\s*{key}\s*=", lines[i]):
            for length in range(1, end - i + 1):
                if _is_toml("\n".join(lines[i : i + length])):
                    return i, length
    return None


def _is_toml(text: str) -> bool:
    try:
        loads(text)
    except ValueError:
        return False
    return True


def _comment(old: str) -> str:
    """The comment after the value, with the blanks before it."""
    for found in re.finditer(r"\s*#", old):
        if _is_toml(old[: found.start()]):
            return old[found.start() :]
    return ""


def _insertion(lines: Sequence[str], start: int, end: int, key: str) -> int:
    """After the setting's own commented line in the template, else at the section's end."""
    for i in range(start + 1, end):
        if re.match(rf"#\s*{key}\s*=", lines[i]):
            return i + 1
    while end > start + 1 and not lines[end - 1].strip():
        end -= 1
    return end


def _replace_file(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        kind = StoreFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StoreError
        raise kind(f"{path} cannot be written: {error.strerror}") from None
