"""Daemons as processes, their API over plain `http.client`, and a small JSON Schema validator."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from lite.config import Config
from lite.link import Card, Link
from lite.node import Node
from tests.waiting_support import WITHIN_S

ROOT = Path(__file__).resolve().parent.parent


def environment(home: Path) -> dict[str, str]:
    """That of a process on a home, without settings of the tests' own surroundings."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("IPVM_")}
    own = {
        "IPVM_HOME": str(home),
        "IPVM_STORE_DURABILITY": "normal",
        "IPVM_ENGINE_WORKERS": "2",
        "PYTHONPATH": str(ROOT),
    }
    return {**kept, **own}


@dataclass
class Reply:
    """An answer of the API."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        assert found["v"] == 1
        return found

    @property
    def error(self) -> dict[str, Any]:
        """The error; its shape is checked."""
        error: dict[str, Any] = self.json["error"]
        assert error.keys() == {"code", "message", "hint"}, error
        assert error["code"] and error["message"]
        return error


class DaemonProcess:
    """A daemon that has said that it is ready."""

    def __init__(self, home: Path, child: subprocess.Popen[bytes], ready: dict[str, Any]) -> None:
        self.home = home
        self.child = child
        self.ready = ready
        card = Card.read(home)
        assert card is not None
        self.card = card
        self.link = Link(card)

    @property
    def is_tcp(self) -> bool:
        return not self.card.api.startswith("unix:")

    def call(
        self,
        method: str,
        path: str,
        body: bytes | object | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Reply:
        """One request. `token`: instead of the right one; "" sends none."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        shown = self.card.token if token is None else token
        sent = {"Authorization": f"Bearer {shown}"} if shown else {}
        connection = self.link._connection(WITHIN_S)
        try:
            connection.request(method, path, body, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.headers), answer.read())
        finally:
            connection.close()

    def connection(self) -> HTTPConnection:
        return self.link._connection(WITHIN_S)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Signal it; exit status and stderr."""
        self.child.send_signal(number)
        _, err = self.child.communicate(timeout=WITHIN_S)
        return self.child.returncode, err.decode()


@contextmanager
def daemon(
    home: Path, *options: str, offline: bool = True, env: Mapping[str, str] | None = None
) -> Iterator[DaemonProcess]:
    """A daemon on a home; killed at the end if it still runs."""
    child = spawn(home, *options, offline=offline, env=env)
    try:
        yield DaemonProcess(home, child, ready_of(child))
    finally:
        if child.poll() is None:
            child.kill()
        child.communicate()


def spawn(
    home: Path, *options: str, offline: bool = True, env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a daemon; it may not have come far yet."""
    words = ["--offline"] if offline else []
    command = [sys.executable, "-m", "lite", "--json", *words, "daemon", *options]
    return subprocess.Popen(
        command,
        env={**environment(home), **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def ready_of(child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What it says once it is ready."""
    assert child.stdout is not None and child.stderr is not None
    readable, _, _ = select.select([child.stdout], [], [], WITHIN_S)
    line = child.stdout.readline() if readable else b""
    assert line.startswith(b'{"api"'), (line, child.poll(), os.read(child.stderr.fileno(), 9999))
    found: dict[str, Any] = json.loads(line)
    return found


def ipvm(home: Path, *args: object, status: int = 0) -> bytes:
    """A command line in a process of its own; its stdout."""
    command = [sys.executable, "-m", "lite", *map(str, args)]
    done = subprocess.run(command, env=environment(home), capture_output=True, timeout=60)
    assert done.returncode == status, done.stderr
    return done.stdout


def prepare(home: Path, **modules: bytes) -> str:
    """Make a home with modules by their names; its DID."""
    with Node.open(config=Config.defaults(home)) as node:
        for name, wasm in modules.items():
            node.add(wasm, name=name)
        return node.did


TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}


def misfits(value: Any, schema: Mapping[str, Any], at: str = "$") -> list[str]:
    """Where a value breaks a schema: the part of JSON Schema that the API's description uses."""
    unknown = schema.keys() - KNOWN
    assert not unknown, f"this validator does not know {unknown}"
    if "const" in schema and value != schema["const"]:
        return [f"{at}: {value!r} is not {schema['const']!r}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{at}: {value!r} is not one of {schema['enum']}"]
    wanted = schema.get("type", [])
    names = [wanted] if isinstance(wanted, str) else wanted
    kinds = tuple(kind for name in names for kind in TYPES[name])
    if kinds and (not isinstance(value, kinds) or (type(value) is bool and bool not in kinds)):
        return [f"{at}: {value!r} is no {wanted}"]
    if isinstance(value, list) and "items" in schema:
        found = (misfits(v, schema["items"], f"{at}[{i}]") for i, v in enumerate(value))
        return [one for some in found for one in some]
    return _misfits_of_map(value, schema, at) if isinstance(value, dict) else []


KNOWN = {
    *("type", "const", "enum", "items", "properties", "required", "additionalProperties"),
    *("description", "minimum", "maximum", "default"),
}


def _misfits_of_map(value: dict[str, Any], schema: Mapping[str, Any], at: str) -> list[str]:
    properties = schema.get("properties", {})
    found = [f"{at}: {key} is missing" for key in schema.get("required", ()) if key not in value]
    rest = schema.get("additionalProperties", {})
    for key, part in value.items():
        inner = properties.get(key, rest)
        if inner is False:
            found.append(f"{at}: {key} is not in the description")
        else:
            found += misfits(part, inner, f"{at}.{key}")
    return found
