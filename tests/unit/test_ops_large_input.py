"""Operations look at how large a linked file is before they read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from lite.engine.base import GuestFailure
from lite.engine.job import Content
from lite.ipld.cid import CID, RAW
from lite.limits import EngineCaps, Limits
from lite.model.instruction import Instruction
from lite.ops.arguments import Arguments
from lite.ops.base import Files, Ready
from lite.ops.http_request import _Links
from lite.ops.mail import KEYS, MAIL_BYTES_MAX, make_mail

FILE = CID.of(b"large", RAW)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[CID, Content]:
    """A file over every bound; whoever reads it fails."""

    def read(_path: Path) -> bytes:
        raise AssertionError("it was read")

    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2**33)
    monkeypatch.setattr(Path, "read_bytes", read)
    return {FILE: Content("file", path)}


def ready(given: dict[str, Any], content: dict[CID, Content]) -> Ready:
    asked = Instruction(rsc="mailto:you@there.example", op="msg/send", input=given)
    return Ready(asked, content, cast(Files, None), Limits(), EngineCaps())


@pytest.mark.parametrize("given", [{"body": FILE}, {"attachments": {"a": FILE, "b": b"x"}}])
def test_a_mail_that_is_too_large_is_not_put_together(
    given: dict[str, Any], large: dict[CID, Content]
) -> None:
    made = Arguments(ready(given, large), KEYS)
    with pytest.raises(GuestFailure, match=f"more than {MAIL_BYTES_MAX} bytes together"):
        make_mail(ready(given, large).instruction, made, "me@here.example")


def test_a_json_body_that_is_too_large_is_not_put_together(large: dict[CID, Content]) -> None:
    with pytest.raises(GuestFailure, match="too large with what its links hold"):
        _Links(ready({}, large)).filled({"a": [FILE]}, 0)
