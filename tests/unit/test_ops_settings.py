"""The settings of the operations: what they take, and how they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from lite.config import Config
from lite.config_file import write_setting
from lite.errors import ConfigError


def test_everything_that_reaches_out_of_the_node_is_off_until_it_is_set(tmp_path: Path) -> None:
    config = Config.load(tmp_path, env={})
    for name in ("crud_root", "http_netrc", "exec", "smtp", "smtp_password_file", "smtp_from"):
        assert config[f"ops.{name}"] is None
        assert config.text(f"ops.{name}") == "none"
    assert config["ops.allowed_for_others"] == ("wasm/run",)
    assert config["ops.off"] == ()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("crud_root", "/srv/files", Path("/srv/files")),
        ("crud_root", "~/files", Path("~/files").expanduser()),
        ("crud_root", "none", None),
        ("off", "http/post, exec/run", ("http/post", "exec/run")),
        ("allowed_for_others", "", ()),
        ("smtp", "smtp://me@h.example:587", "smtp://me@h.example:587"),
        ("smtp_from", "me@h.example", "me@h.example"),
    ],
)
def test_a_setting_is_written_and_read_back(
    tmp_path: Path, name: str, text: str, value: object
) -> None:
    write_setting(tmp_path, f"ops.{name}", text)
    assert Config.load(tmp_path, env={})[f"ops.{name}"] == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("crud_root", "files"),
        ("exec", "./programs.toml"),
        ("off", "http"),
        ("off", "HTTP/get"),
        ("smtp", "smtp://me:secret@h"),
        ("smtp", "smtp://h/path"),
        ("smtp", "h.example"),
        ("smtp_from", "me"),
        ("smtp_from", "@@bad"),
        ("smtp_from", "a@b@c.example"),
        ("smtp_from", "a@"),
        ("smtp_from", ".a@b.example"),
        ("smtp_from", "a@b..example"),
        ("smtp_from", "Me <me@h.example>"),
        ("smtp_from", "a@b.example\r\nBcc: c@d.example"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused_with_what_would(
    tmp_path: Path, name: str, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        write_setting(tmp_path, f"ops.{name}", text)
    assert caught.value.hint
