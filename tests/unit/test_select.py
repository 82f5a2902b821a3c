"""Which engine is taken, and what is said when there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lite.engine import select
from lite.errors import EngineUnavailable


def absent(why: str) -> Callable[[], Any]:
    def load() -> Any:
        raise EngineUnavailable(why)

    return load


def present(name: str) -> Callable[[], Any]:
    return lambda: name


def loaders(monkeypatch: pytest.MonkeyPatch, **by_name: Callable[[], Any]) -> None:
    monkeypatch.setattr(select, "_LOADERS", by_name)


def chosen() -> Any:
    return select.choose()


def test_auto_takes_the_first_that_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    loaders(monkeypatch, wasmtime=present("T"), wasmer=present("R"))
    assert chosen() == "T"
    loaders(monkeypatch, wasmtime=absent("32 bits"), wasmer=present("R"))
    assert chosen() == "R"


def test_named_engine_has_no_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    loaders(monkeypatch, wasmtime=present("T"), wasmer=absent("no wheel"))
    with pytest.raises(EngineUnavailable, match="wasmer: no wheel") as refused:
        select.choose("wasmer")
    assert "32 bits" not in str(refused.value)


def test_every_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    loaders(monkeypatch, wasmtime=absent("32 bits"), wasmer=absent("no wheel"))
    with pytest.raises(EngineUnavailable, match=r"wasmtime: 32 bits; wasmer: no wheel") as refused:
        select.choose()
    assert refused.value.hint is not None
    assert select.available() == {"wasmtime": "32 bits", "wasmer": "no wheel"}


def test_wasmtime_is_usable_here() -> None:
    assert select.available()["wasmtime"] is None
    assert select.choose("wasmtime")().name == "wasmtime"


def test_wasmtime_with_the_escape_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from lite.engine import wasmtime_engine

    monkeypatch.setattr(wasmtime_engine, "installed_version", lambda: "47.0.9")
    with pytest.raises(EngineUnavailable, match=r"47\.0\.9"):
        select.choose("wasmtime")
