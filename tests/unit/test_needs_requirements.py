"""What a step needs: what `meta` declares, strictly read, and what follows from the step."""

from __future__ import annotations

from typing import Any

import pytest

from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.limits import INTEGER_MAX, Limits
from lite.model.instruction import Instruction, wasm
from lite.model.place import FieldError
from lite.model.requires import SOFT_MS, GpuNeed, Term
from lite.needs.requirements import NOTHING, Requirements

MODULE, FILE, OTHER = (CID.of(text, RAW) for text in (b"module", b"file", b"other"))
NODE, PEER = (Key.from_seed(bytes([n]) * 32).did for n in (1, 2))
GIB = 1024**3


def declared(requires: Any) -> Requirements:
    return Requirements.declared({"requires": requires})


def test_every_key_is_read() -> None:
    assert declared(
        {
            "gpu": {"count": 2, "memory": "8G", "kind": "h200"},
            "cpu": 4,
            "memory": "16G",
            "disk": "500MB",
            "engine": ["wasmtime", "component"],
            "arch": "x86_64",
            "op": ["cuda/matmul", "http/get"],
            "key": NODE,
            "affinity": [{"tag": "lab"}, {"holds": [FILE, str(OTHER)], "soft": "30s"}],
            "anti_affinity": {"did": [PEER, NODE], "soft": True},
        }
    ) == Requirements(
        gpu=GpuNeed(2, 8 * GIB, "h200"),
        cores=4,
        memory_bytes=16 * GIB,
        disk_bytes=500_000_000,
        engine=("component", "wasmtime"),
        arch="x86_64",
        ops=("cuda/matmul", "http/get"),
        key=NODE,
        affinity=(
            Term("tag", ("lab",)),
            Term("holds", tuple(sorted((FILE, OTHER), key=str)), 30_000),
        ),
        anti_affinity=(Term("did", tuple(sorted((NODE, PEER))), SOFT_MS),),
    )


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (True, GpuNeed()),
        (False, None),
        (None, None),
        (0, None),
        (2, GpuNeed(2)),
        (2.0, GpuNeed(2)),
        ({}, GpuNeed()),
        ({"memory": 1024}, GpuNeed(1, 1024)),
        ({"count": None, "kind": "nvidia"}, GpuNeed(1, 0, "nvidia")),
    ],
)
def test_a_gpu_is_asked_for_shortly_or_in_full(gpu: Any, expected: GpuNeed | None) -> None:
    assert declared({"gpu": gpu}).gpu == expected


def test_nothing_and_null_ask_for_nothing() -> None:
    for meta in ({}, {"requires": None}, {"requires": {}}, {"requires": {"cpu": None}}):
        assert Requirements.declared(meta) == Requirements()


def test_one_of_something_needs_no_list() -> None:
    one = declared({"op": "cuda/matmul", "engine": "fuel", "affinity": {"did": NODE}})
    assert one == declared(
        {"op": ["cuda/matmul"], "engine": ["fuel"], "affinity": [{"did": [NODE]}]}
    )


def test_needs_are_words_for_the_same() -> None:
    found = Requirements.declared({"needs": ["gpu", "network", "lab", "lab"]})
    assert found == Requirements(gpu=GpuNeed(), affinity=(Term("tag", ("lab",)),))
    full = {
        "requires": {"gpu": {"memory": "8G"}, "affinity": {"tag": "eu"}},
        "needs": ["gpu", "lab"],
    }
    assert Requirements.declared(full) == Requirements(
        gpu=GpuNeed(1, 8 * GIB), affinity=(Term("tag", ("eu",)), Term("tag", ("lab",)))
    )


@pytest.mark.parametrize(
    ("requires", "message", "hint"),
    [
        (True, "meta.requires: a map or a list of words is needed", "Write gpu, [gpu, lab], or"),
        ([{"gpu": 1}], "meta.requires[0]: {'gpu': 1} is not a word", "Letters"),
        ("a gpu", "meta.requires: 'a gpu' is not a word", "Letters"),
        ({"gpus": 1}, "meta.requires.gpus: is not a field here", "Did you mean gpu?"),
        ({"gpu": "yes"}, "meta.requires.gpu: 'yes' says nothing of GPUs", "Write true, a number"),
        ({"gpu": -1}, "meta.requires.gpu: -1 is not a whole number from 0", None),
        ({"gpu": 1.5}, "meta.requires.gpu: 1.5 is not a whole number", None),
        ({"gpu": {"count": 0}}, "meta.requires.gpu.count: 0 is not a whole number from 1", None),
        ({"gpu": {"memory": "8 parsecs"}}, "meta.requires.gpu.memory: '8 parsecs' is not a size",
         "Write bytes, or 64M"),
        ({"gpu": {"memry": 1}}, "meta.requires.gpu.memry: is not a field", "Did you mean memory?"),
        ({"gpu": {"kind": ""}}, "meta.requires.gpu.kind: '' is not a word", "Letters, digits"),
        ({"cpu": True}, "meta.requires.cpu: True is not a whole number", None),
        ({"cpu": "4"}, "meta.requires.cpu: '4' is not a whole number", None),
        ({"memory": 0}, "meta.requires.memory: 0 is not a whole number from 1", None),
        ({"memory": 2**63}, f"meta.requires.memory: {2**63} is not", None),
        ({"disk": [1]}, "meta.requires.disk: [1] is not a whole number", None),
        ({"engine": []}, "meta.requires.engine: a list of 1 to 64 is needed", None),
        ({"engine": ["a", 2]}, "meta.requires.engine[1]: 2 is not a word", "Letters"),
        ({"engine": "a b"}, "meta.requires.engine: 'a b' is not a word", "Letters"),
        ({"op": "Matmul"}, "meta.requires.op: 'Matmul' is not the name of an operation",
         "Such as wasm/run."),
        ({"key": "bob"}, "meta.requires.key: 'bob' is not a DID", "Such as did:key"),
        ({"key": "did:key:zbad"}, "meta.requires.key: 'did:key:zbad' is not a DID", "Such as did"),
        ({"affinity": {"did": NODE[:-1]}}, "meta.requires.affinity.did: 'did:key:", "Such as did"),
        ({"key": f"{NODE}#x"}, "meta.requires.key: 'did:key:", "Such as did:key"),
        ({"affinity": []}, "meta.requires.affinity: a map or a list", "Write {tag: lab}"),
        ({"affinity": "lab"}, "meta.requires.affinity: a map or a list", "Write {tag: lab}"),
        ({"affinity": ["lab"]}, "meta.requires.affinity[0]: a map is needed", "It may have did"),
        ({"affinity": {}}, "meta.requires.affinity: one of did, tag, holds is needed", "Write a"),
        ({"affinity": {"tag": "a", "did": NODE}}, "meta.requires.affinity: one of did", "Write a"),
        ({"affinity": {"holds": "x"}}, "meta.requires.affinity.holds: 'x' is not a CID", "Such"),
        ({"affinity": {"holds": {}}}, "meta.requires.affinity.holds: {} is not a CID", "Such"),
        ({"affinity": {"tag": "a", "soft": 5}}, "meta.requires.affinity.soft: 5 is no duration",
         "Write true, or 30s."),
        ({"affinity": {"tag": "a", "soft": "5"}}, "meta.requires.affinity.soft: '5' is not", "Wri"),
        ({"affinity": {"tag": "a", "soft": "0s"}}, "meta.requires.affinity.soft: more than no ti",
         "Leave it out"),
        ({"anti_affinity": [{"tag": "a"}, {"tag": ["b", ""]}]},
         "meta.requires.anti_affinity[1].tag[1]: '' is not a word", "Letters"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_what_is_right(
    requires: Any, message: str, hint: str | None
) -> None:
    with pytest.raises(FieldError) as caught:
        declared(requires)
    assert str(caught.value).startswith(message)
    assert (caught.value.hint or "").startswith(hint or "")


def test_words_are_short_for_a_map() -> None:
    assert declared("gpu") == declared(["gpu"]) == declared({"gpu": 1})
    assert Requirements.declared({"needs": "lab"}) == declared(["lab"])


@pytest.mark.parametrize("needs", [5, {"gpu": 1}, ["gpu", 1], ["two words"], ["a"] * 101])
def test_needs_that_are_no_words_are_refused(needs: Any) -> None:
    with pytest.raises(FieldError, match=r"^meta\.needs"):
        Requirements.declared({"needs": needs})


def test_what_a_step_is_follows_from_its_instruction() -> None:
    step = wasm(MODULE, "blur", FILE, {"deep": [OTHER, FILE]})
    found = Requirements.of(step, {"requires": {"op": "http/get"}}, None, {MODULE: 10, FILE: 20})
    assert found.ops == ("http/get", "wasm/run")
    assert found.module == MODULE
    assert found.inputs == ((MODULE, 10), (FILE, 20), (OTHER, None))
    assert found.bytes_known == 30
    assert found.limits == NOTHING


def test_code_that_is_its_own_input_moves_once() -> None:
    assert Requirements.of(wasm(MODULE, "f", MODULE), {}).inputs == ((MODULE, None),)


def test_code_that_another_step_makes_has_no_name_yet() -> None:
    made = wasm(MODULE, "make")
    assert Requirements.of(Instruction(made.ok, "wasm/run", {}), {}).module is None


def test_only_limits_that_somebody_wrote_count() -> None:
    step = wasm(MODULE, "f")
    meta = {"limits": {"fuel": 7, "time": 5}}
    found = Requirements.of(step, meta, {"memory": 9, "fuel": 8})
    assert found.limits == Limits(fuel=7, memory_bytes=9, time_ms=5, output_bytes=0)
    homestar = {"fuel": INTEGER_MAX, "memory": 4 * GIB, "time": 100_000}
    assert Requirements.of(step, homestar).limits == Limits(0, 4 * GIB, 100_000, 0)


def test_a_wrong_limit_is_named_too() -> None:
    with pytest.raises(FieldError, match=r"^meta\.fuel: a whole number"):
        Requirements.of(wasm(MODULE, "f"), {"fuel": -1})
