"""Operations that are asked to stop from outside end at once, and say no more than they know."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lite.engine.stop import Stop
from lite.errors import Interrupted, QueuedError
from lite.ops.base import InDoubt
from lite.ops.exec import ExecRun
from lite.ops.http import HttpDelete, HttpGet, HttpPost, HttpPut
from lite.ops.msg import MsgSend
from tests.ops_support import HttpServer, Log, config, ready

AT_ONCE_S = 5.0  # of the ten that they may take
KINDS = (HttpGet, HttpPut, HttpDelete, HttpPost)


@contextmanager
def at_once() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < AT_ONCE_S


class StoppingLog(Log):
    """Asks for the end as soon as a request came, which is then not answered."""

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop

    def add(self, **entry: Any) -> None:
        super().add(**entry)
        self._stop.ask()


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """A server that takes a connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.mark.parametrize(
    ("kind", "path"), [*((kind, "/silent") for kind in KINDS), (HttpGet, "/slow")]
)
def test_a_request_that_is_stopped_has_no_outcome(
    tmp_path: Path, kind: type[HttpGet | HttpPut | HttpDelete | HttpPost], path: str
) -> None:
    stop = Stop()
    with HttpServer(StoppingLog(stop)) as server:
        op = kind(config(tmp_path))
        asked = ready(server.url + path, op.name, stop=stop)
        wanted = InDoubt if kind is HttpPost else Interrupted
        with at_once(), pytest.raises(wanted):
            op.run(asked)
        assert len(server.log.entries) == 1


def test_a_mail_that_is_stopped_before_it_was_handed_over_waits(
    mute: socket.socket, tmp_path: Path
) -> None:
    settings = {"smtp": f"smtp+plain://127.0.0.1:{mute.getsockname()[1]}", "smtp_from": "a@b.c"}
    op, stop = MsgSend(config(tmp_path, **settings)), Stop()

    def take_and_stop() -> None:
        taken, _ = mute.accept()
        with taken:
            stop.ask()

    thread = threading.Thread(target=take_and_stop)
    thread.start()
    asked = ready("mailto:you@there.example", op.name, stop=stop)
    with at_once(), pytest.raises(QueuedError):
        op.run(asked)
    thread.join()


def test_a_program_that_is_stopped_is_killed_and_has_no_outcome(tmp_path: Path) -> None:
    programs = tmp_path / "programs.toml"
    programs.write_text("[nap]\nargv = ['/bin/sh', '-c', 'echo here >&2; sleep 30']\n")
    op, stop = ExecRun(config(tmp_path, exec=str(programs))), Stop()
    asked = ready("exec:nap", op.name, stop=stop, on_trace=lambda _: stop.ask())
    with at_once(), pytest.raises(Interrupted):
        op.run(asked)
