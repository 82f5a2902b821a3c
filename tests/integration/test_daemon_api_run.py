"""What `POST /v1/run` refuses: every field is read before anything is run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from lite.errors import UsageError
from lite.ipld import dag_json
from lite.ipld.cid import CID, RAW
from lite.model.instruction import wasm
from tests.daemon_support import DaemonProcess, Reply, daemon, prepare
from tests.guests import ADD

LINK = CID.of(b"absent", RAW)
CALL = {"module": "adder", "function": "add", "args": [1, 2]}
INSTRUCTION = {"rsc": f"ipfs://{LINK}", "op": "wasm/run", "input": {"func": "add"}, "nnc": ""}
FIELDS = {
    **dict.fromkeys(("module", "function", "args", "env", "stdin", "nonce"), CALL),
    **dict.fromkeys(("limits", "fresh", "homestar", "force"), CALL),
    "instruction": {},
}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


VALUES: tuple[Any, ...] = (
    *("", "x", "a\0b", "ipfs://", f"ipfs://{LINK}/a/b", "x" * 100_000, b"", b"bytes", LINK),
    *(0, -1, 7, 2**63, 2**64 - 1, 1.5, 2.0, 1e300, True, False, None),
    *([], [1], [LINK], ["a", None, b"x", {"": {}}], [0] * 10_000, nested(60)),
    *({}, {"a": 1}, {"": "x"}, {"A=B": "x"}, {"A": "x\0"}, {"await/ok": LINK}, {"await/ok": 1}),
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    home = tmp_path_factory.mktemp("daemon") / "home"
    prepare(home, adder=ADD)
    with daemon(home) as running:
        yield running


def run(here: DaemonProcess, asked: dict[str, Any]) -> Reply:
    return here.call("POST", "/v1/run", dag_json.encode(asked))


@pytest.mark.parametrize(
    ("env", "field"),
    [
        *((value, "env") for value in ("x", "", [1], [], True, 7, 1.5, LINK, b"x")),
        *(({"A": value}, "env.A") for value in (1, None, True, [], {}, LINK, b"x", "x\0y")),
        *(({name: "x"}, "env") for name in ("", "A=B", "A\0B")),
        ({"await/ok": LINK}, "env.await/ok"),
    ],
)
def test_an_environment_that_is_none_is_refused(here: DaemonProcess, env: Any, field: str) -> None:
    reply = run(here, {**CALL, "env": env})
    assert (reply.status, reply.error["code"]) == (400, "usage"), reply.body
    assert reply.error["message"].startswith(field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("module", value) for value in (7, None, LINK)),
        *(("function", value) for value in (7, ["add"], LINK)),
        *(("args", value) for value in ("x", None, {}, LINK)),
        *(("stdin", value) for value in (7, True, [], {}, {"await/ok": 1})),
        *(("nonce", value) for value in (7, None, b"x", "x" * 129)),
    ],
)
def test_a_field_of_another_kind_is_refused_by_its_name(
    here: DaemonProcess, field: str, value: Any
) -> None:
    reply = run(here, {**CALL, field: value})
    assert (reply.status, reply.error["code"]) == (400, "usage"), reply.body
    assert reply.error["message"].startswith(f"{field}: ")


def test_an_environment_that_is_one_is_part_of_the_call(here: DaemonProcess) -> None:
    plain, empty = run(here, CALL).json, run(here, {**CALL, "env": None}).json
    other = run(here, {**CALL, "env": {"LANG": "C"}}).json
    assert plain["value"] == other["value"] == 3
    assert plain["ins"] == empty["ins"] != other["ins"]
    awaiting = run(here, {**CALL, "env": {"LANG": {"await/ok": LINK}}})
    assert awaiting.status == 409 and "it awaits" in awaiting.error["message"]


@pytest.mark.parametrize("env", ["x", [1], True, 7, LINK])
def test_a_call_from_python_takes_no_other_environment(env: Any) -> None:
    with pytest.raises(UsageError, match=r"^input\.env: a map of texts is needed"):
        wasm(LINK, "add", 1, env=env)


@pytest.mark.parametrize("field", [*FIELDS, *INSTRUCTION])
def test_no_value_of_a_field_is_our_fault(here: DaemonProcess, field: str) -> None:
    for value in VALUES:
        if field in INSTRUCTION:
            asked: dict[str, Any] = {"instruction": {**INSTRUCTION, field: value}}
        else:
            asked = {**FIELDS[field], field: value}
        reply = run(here, asked)
        assert reply.status < 500, (value, reply.body)


def test_no_mix_of_values_is_our_fault(here: DaemonProcess, scaled: Any) -> None:
    rng = random.Random(20)
    few = [value for value in VALUES if value not in ("x" * 100_000, [0] * 10_000)]
    for _ in range(scaled(300, 5_000)):
        odd = {name: rng.choice(few) for name in rng.sample([*FIELDS], rng.randrange(1, 4))}
        if "instruction" not in odd or rng.random() < 0.3:
            odd = {**CALL, **odd}
        for name in ("args", "env", "limits"):
            if rng.random() < 0.3:
                part = {rng.choice(("a", "fuel", "time", "x\0")): rng.choice(few)}
                odd[name] = [*part.values()] if name == "args" else part
        reply = run(here, odd)
        assert reply.status < 500, (odd, reply.body)


@pytest.mark.parametrize("told", [1, 0, "true", None, [], {}])
def test_a_flag_is_true_or_false(here: DaemonProcess, told: object) -> None:
    for path, name in (
        ("/v1/run", "fresh"),
        ("/v1/run", "force"),
        ("/v1/workflows/ffff/resume", "wait"),
        ("/v1/workflows/ffff/resume", "force"),
        ("/v1/sync", "once"),
    ):
        reply = here.call("POST", path, {name: told})
        assert (reply.status, reply.error["code"]) == (400, "usage"), (path, name)
        assert reply.error["message"] == f"{name}: true or false is needed"


def test_a_limit_that_is_none_is_refused(here: DaemonProcess) -> None:
    reply = here.call(
        "POST",
        "/v1/run",
        {"module": "adder", "function": "add", "args": [1, 1], "limits": {"fule": 1}},
    )
    assert (reply.status, reply.error["code"]) == (400, "usage")
    assert "'fule' is none" in reply.error["message"]
