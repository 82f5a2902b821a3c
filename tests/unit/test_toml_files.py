"""Files of an owner that are no proper TOML."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lite.config import Config
from lite.errors import ConfigError, IpvmError, QueuedError
from lite.ops.programs import read_programs
from lite.toml_files import FILE_BYTES_MAX, loads


def test_deep_nesting_is_an_error_of_the_file() -> None:
    with pytest.raises(ValueError, match="nests too deeply"):
        loads("a = " + "[" * 100_000)


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def large(path: Path) -> None:
    path.write_bytes(b"#" * (FILE_BYTES_MAX + 1))


def deep(path: Path) -> None:
    path.write_text("a = " + "[" * 100_000)


def latin(path: Path) -> None:
    path.write_bytes(b"# caf\xe9\n")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (pipe, "a pipe"),
        (endless, "more than 1048576 bytes"),
        (large, "more than 1048576 bytes"),
        (deep, "nests too deeply"),
        (latin, "not UTF-8"),
    ],
)
def test_what_is_no_text_of_a_file_is_refused_at_once(
    make: object, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.toml"
    make(path)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=why) as caught:
        Config.load(tmp_path)
    assert str(path) in str(caught.value)
    with pytest.raises(QueuedError, match=why):
        read_programs(path)


def test_nothing_is_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").symlink_to(os.devnull)
    assert Config.load(tmp_path).values == Config.load(tmp_path / "none").values


def test_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(IpvmError, match=r"config\.toml"):
        Config.load(tmp_path)
