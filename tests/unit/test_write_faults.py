"""What a failing disk makes of the files that commands write: exit status 6, never wrong usage."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lite.cli.endings import ending
from lite.cli.outfile import writing
from lite.cli.shell import Shell
from lite.config_file import write_setting
from lite.errors import IpvmError, OutputError, StoreError, StoreFull
from lite.keys import Key

FULL, FAILING = (errno.ENOSPC, errno.EDQUOT), (errno.EIO, errno.EFBIG)


@pytest.fixture(params=[*FULL, *FAILING], ids=lambda number: errno.errorcode[number])
def fault(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """What syncing a file to the disk meets."""

    def failing(_handle: int) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(os, "fsync", failing)
    return int(request.param)


def caught(fault: int, fails: type[IpvmError]) -> type[IpvmError]:
    return StoreFull if fault in FULL else fails


def test_an_output_file(fault: int, tmp_path: Path) -> None:
    with pytest.raises(caught(fault, OutputError)), writing(str(tmp_path / "out")) as out:
        out.write(b"data")
    assert list(tmp_path.iterdir()) == []


def test_a_key_file(fault: int, tmp_path: Path) -> None:
    with pytest.raises(caught(fault, StoreError)) as raised:
        Key.from_seed(bytes(32)).save(tmp_path / "key")
    assert raised.type is caught(fault, StoreError)
    assert list(tmp_path.iterdir()) == []


def test_the_settings_file(fault: int, tmp_path: Path) -> None:
    with pytest.raises(caught(fault, StoreError)) as raised:
        write_setting(tmp_path, "limits.fuel", "1M")
    assert raised.type is caught(fault, StoreError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [*FULL, *FAILING])
def test_what_no_layer_explained(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell()
    shell.json = True
    assert ending(OSError(number, os.strerror(number), "/x"), shell) == 6
    assert ('"store-full"' in capsys.readouterr().out) == (number in FULL)
