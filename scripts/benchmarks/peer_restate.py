"""Restate: its server and one service over its Python SDK, each a process, on loopback.

A chain is one handler with a durable step (`ctx.run`) after the other; a fan-out is one handler
that calls another many times; a known answer is a call with an idempotency key that was used
before.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import restate

STEPS = 300
SLOW_STEPS = 200
READY_S = 60.0
SERVERS = "node_modules/@restatedev"

service = restate.Service("bench")


@service.handler()
async def chain(ctx: restate.Context, count: int) -> int:
    total = 0
    for _ in range(count):
        total = await ctx.run_typed("add", lambda value=total: value + 1)
    return total


@service.handler()
async def fan(ctx: restate.Context, count: int) -> int:
    calls = [ctx.service_call(one, arg=number) for number in range(count)]
    return len(await restate.gather(*calls))


@service.handler()
async def one(ctx: restate.Context, value: int) -> int:
    return value + 1


app = restate.app([service])


class Server:
    """The server and the service, in processes of their own. A context manager."""

    def __init__(self, folder: str) -> None:
        self._ingress, self._admin, node, port = free_ports(4)
        env = {
            **os.environ,
            "RESTATE_BASE_DIR": folder,
            "RESTATE_LISTEN_MODE": "tcp",
            "RESTATE_BIND_IP": "127.0.0.1",
            "RESTATE_BIND_PORT": str(node),
            "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{self._ingress}",
            "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{self._admin}",
            "RESTATE_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
        }
        venv = Path(sys.executable).parent.parent
        server = next((venv / SERVERS).glob("restate-server-*/bin/restate-server"))
        hypercorn = [sys.executable, "-m", "hypercorn", "--workers", "0", "-b", f"127.0.0.1:{port}"]
        self._processes = [
            self._start([str(server), "--no-logo"], folder, env),
            self._start(
                [*hypercorn, f"{Path(__file__).stem}:app"], str(Path(__file__).parent), env
            ),
        ]
        where = {"uri": f"http://127.0.0.1:{port}"}
        until(lambda: ask(self._admin, "/deployments", where) == 201)
        until(lambda: self.call("one", 0) < READY_S)

    def _start(self, command: list[str], cwd: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def call(self, handler: str, value: int, key: str = "") -> float:
        """Seconds until a handler has answered."""
        started = time.perf_counter()
        headers = {"idempotency-key": key} if key else {}
        status = ask(self._ingress, f"/bench/{handler}", value, headers)
        if status != 200:
            raise ConnectionError(f"{handler} was answered with {status}")
        return time.perf_counter() - started

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    for one_of in held:
        one_of.bind(("127.0.0.1", 0))
    ports = [one_of.getsockname()[1] for one_of in held]
    for one_of in held:
        one_of.close()
    return ports


def ask(port: int, path: str, body: Any, headers: dict[str, str] | None = None) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        told = {"Content-Type": "application/json", **(headers or {})}
        connection.request("POST", path, json.dumps(body), told)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def until(works: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            if works():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError("the server was not ready in time")
        time.sleep(0.05)


def replayed(server: Server) -> float:
    """Seconds a known answer, asked for by 32 at a time."""
    with ThreadPoolExecutor(32) as threads:
        for _ in range(2):
            started = time.perf_counter()
            list(threads.map(lambda number: server.call("one", number, f"k{number}"), range(STEPS)))
    return (time.perf_counter() - started) / STEPS


def measured(server: Server, kind: str) -> dict[str, float]:
    if kind == "slow-chain":
        return {kind: server.call("chain", SLOW_STEPS)}
    if kind == "fan":
        return {kind: server.call("fan", STEPS) / STEPS}
    if kind in ("replay", "memo"):
        return {kind: replayed(server)}
    each = server.call("chain", STEPS) / STEPS
    return {"chain": each, "step": each}


def main(folder: str, kind: str) -> None:
    with Server(folder) as server:
        print(json.dumps(measured(server, kind)))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
