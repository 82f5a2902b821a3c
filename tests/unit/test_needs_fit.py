"""Whether a node can run a step, and the words and codes for why not."""

from __future__ import annotations

from typing import Any

import pytest

from lite.frozen import replace
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.limits import Limits
from lite.model.requires import Term
from lite.needs.capabilities import UNBOUNDED, Capabilities, Gpu
from lite.needs.fit import elsewhere, fit
from lite.needs.requirements import NOTHING, Requirements

MODULE, FILE, OTHER = (CID.of(text, RAW) for text in (b"module", b"file", b"other"))
NODE, PEER, THIRD = (Key.from_seed(bytes([n]) * 32).did for n in (1, 2, 3))
GIB = 1024**3
H200 = Gpu("nvidia", "NVIDIA H200", 140 * GIB)
SMALL = Gpu("nvidia", "NVIDIA GeForce GTX 1050", 2 * GIB)
UNKNOWN = Gpu("nvidia")
HAS = Capabilities(
    NODE,
    arch="x86_64",
    system="linux",
    cores=4,
    memory_bytes=8 * GIB,
    disk_bytes=10 * GIB,
    gpus=(H200, H200, SMALL),
    engine=("component", "wasmtime"),
    ops=("http/get", "wasm/run"),
    tags=("lab",),
    limits=Limits(fuel=10**9, memory_bytes=GIB, time_ms=60_000, output_bytes=GIB),
    module_bytes=1000,
    fetch_bytes=5000,
)


def nothing(_: CID) -> bool:
    return False


def declared(**requires: Any) -> Requirements:
    return Requirements.declared({"requires": requires})


def why(needs: Requirements, has: Capabilities | None = HAS, **rest: Any) -> list[tuple[str, str]]:
    found = fit(needs, has, rest.pop("holds", nothing), **rest)
    assert found.ok == (not found.reasons)
    return [(reason.code, reason.text) for reason in found.reasons]


@pytest.mark.parametrize(
    "needs",
    [
        Requirements(),
        declared(gpu=True),
        declared(gpu=3),
        declared(gpu={"count": 2, "memory": "140G", "kind": "H200"}),
        declared(gpu={"memory": "1G", "kind": "nvidia", "count": 3}),
        declared(cpu=4, memory="8G", disk="10G", arch="x86_64", engine=["component"]),
        declared(op=["wasm/run", "http/get"], key=NODE),
        declared(affinity=[{"did": [NODE, PEER]}, {"tag": ["x", "lab"]}]),
        declared(affinity={"tag": "absent", "soft": True}),
        declared(anti_affinity=[{"did": PEER}, {"tag": "x"}, {"holds": FILE}]),
        declared(anti_affinity={"tag": "lab", "soft": "5s"}),
        Requirements(limits=HAS.limits, module=MODULE, inputs=((MODULE, 1000), (FILE, 4000))),
        Requirements(inputs=((FILE, None),)),
    ],
)
def test_what_is_there_fits(needs: Requirements) -> None:
    assert why(needs) == []


@pytest.mark.parametrize(
    ("requires", "code", "text"),
    [
        ({"gpu": 4}, "gpu", "needs 4 GPUs; this node has only 3"),
        ({"gpu": {"kind": "amd"}}, "gpu",
         "needs a GPU of kind amd; this node has only NVIDIA GeForce GTX 1050, NVIDIA H200"),
        ({"gpu": {"memory": "200G"}}, "gpu",
         "needs a GPU with 200 GiB; this node has at most 140 GiB"),
        ({"gpu": {"count": 3, "memory": "8G"}}, "gpu",
         "needs 3 GPUs with 8 GiB each; this node has only 2"),
        ({"cpu": 5}, "cpu", "needs 5 cores; this node has 4"),
        ({"memory": "8.5G"}, "memory", "needs 8.5 GiB of memory; this node has 8 GiB"),
        ({"disk": "11G"}, "disk", "needs 11 GiB of free disk; this node has 10 GiB"),
        ({"arch": "aarch64"}, "arch", "needs the processor aarch64; this node has x86_64"),
        ({"engine": ["fuel", "component", "wasmer"]}, "engine",
         "needs fuel, wasmer of the engine; the engine of this node has no such feature"),
        ({"op": "cuda/matmul"}, "op", "needs the operation cuda/matmul; this node does not run it"),
        ({"key": PEER}, "key", f"needs the key of {PEER}, which this node does not hold"),
        ({"affinity": {"tag": ["a", "b"]}}, "affinity",
         "has to run at a node tagged a or b; this node is another"),
        ({"affinity": {"did": PEER}}, "affinity", f"has to run at {PEER}; this node is another"),
        ({"affinity": {"holds": FILE}}, "affinity",
         f"has to run at a node that holds {FILE}; this node is another"),
        ({"anti_affinity": {"tag": "lab"}}, "anti-affinity",
         "must not run at a node tagged lab, which this node is"),
        ({"anti_affinity": {"did": NODE}}, "anti-affinity",
         f"must not run at {NODE}, which this node is"),
    ],
)  # fmt: skip
def test_what_is_lacking_is_said(requires: dict[str, Any], code: str, text: str) -> None:
    assert why(declared(**requires)) == [(code, text)]


def test_a_node_without_any_says_so() -> None:
    bare = replace(HAS, gpus=(), engine=(), arch="")
    assert why(declared(gpu={"memory": "8G"}), bare) == [
        ("gpu", "needs a GPU with 8 GiB; this node has none")
    ]
    assert why(declared(engine="fuel"), bare) == [
        ("engine", "needs fuel of the engine; this node has no engine")
    ]
    assert why(declared(arch="riscv64"), bare)[0][1].endswith("this node has an unknown one")


def test_memory_of_a_gpu_that_is_not_known_is_not_promised() -> None:
    blind = replace(HAS, gpus=(UNKNOWN,))
    assert why(declared(gpu=True), blind) == []
    assert why(declared(gpu={"kind": "nvidia"}), blind) == []
    text = "needs a GPU with 1 B; this node has one whose memory is not known"
    assert why(declared(gpu={"memory": 1}), blind) == [("gpu", text)]
    assert why(declared(gpu={"kind": "h200"}), blind)[0][1].endswith("this node has only nvidia")


@pytest.mark.parametrize(
    ("name", "asked", "code", "text"),
    [
        ("fuel", 2 * 10**9, "over-fuel", "asks for 2G of fuel; this node allows a step 1G"),
        ("memory_bytes", 4 * GIB, "over-memory",
         "asks for 4 GiB of memory; this node allows a step 1 GiB"),
        ("time_ms", 61_500, "over-time", "asks for 61.5 s of time; this node allows a step 60 s"),
        ("output_bytes", 2 * GIB, "over-output",
         "asks for 2 GiB of output; this node allows a step 1 GiB"),
    ],
)  # fmt: skip
def test_a_limit_over_that_of_the_node_is_said(name: str, asked: int, code: str, text: str) -> None:
    needs = Requirements(limits=replace(NOTHING, **{name: asked}))
    assert why(needs) == [(code, text)]
    assert why(needs, replace(HAS, limits=UNBOUNDED)) == []


def test_a_module_that_is_too_large_does_not_fit_wherever_it_is() -> None:
    needs = Requirements(module=MODULE, inputs=((MODULE, 1001),))
    text = "its module has 1001 B; this node takes at most 1000 B"
    assert why(needs) == why(needs, holds=lambda _: True) == [("module-size", text)]


def test_all_that_is_absent_has_to_fit_into_one_download() -> None:
    needs = Requirements(module=MODULE, inputs=((MODULE, 1000), (FILE, 4001), (OTHER, None)))
    text = "4.9 KiB of its inputs are not at this node, which fetches at most 4.9 KiB"
    assert why(needs) == [("fetch-size", text)]
    assert why(needs, holds={FILE}.__contains__) == []
    assert why(needs, holds={MODULE}.__contains__) == []


def test_of_a_silent_node_nothing_is_known() -> None:
    text = "nothing is known of what the phone has"
    assert why(Requirements(), None, who="the phone") == [("unknown", text)]


def test_every_reason_is_given() -> None:
    found = fit(declared(gpu=9, cpu=9, key=PEER), HAS, nothing)
    assert found.codes == ("gpu", "cpu", "key")
    assert str(found).count("; this node has") == 2


KNOWN = {did: replace(HAS, did=did) for did in (PEER, THIRD)}
BOTH = tuple(sorted(KNOWN))


def test_others_can_run_what_they_have_all_for() -> None:
    needs = declared(gpu=True, anti_affinity={"did": THIRD})
    assert elsewhere(needs, {**KNOWN, NODE: replace(HAS, gpus=())}) == ((PEER,), ())
    assert elsewhere(needs, {}) == ((), ())


@pytest.mark.parametrize(
    "needs",
    [
        declared(affinity={"holds": FILE}),
        declared(anti_affinity={"holds": FILE}),
        declared(affinity={"holds": [FILE, OTHER]}, anti_affinity={"holds": FILE}),
        Requirements(inputs=((FILE, 5001),)),
    ],
)
def test_what_others_hold_is_not_known_before_they_are_asked(needs: Requirements) -> None:
    assert elsewhere(needs, KNOWN) == ((), BOTH)
    assert elsewhere(replace(needs, cores=5), KNOWN) == ((), ())


@pytest.mark.parametrize("key", ["affinity", "anti_affinity"])
def test_a_wish_about_what_others_hold_leaves_no_doubt(key: str) -> None:
    needs = declared(**{key: {"holds": FILE, "soft": "9s"}})
    assert elsewhere(needs, KNOWN) == (BOTH, ())


def test_nobody_holds_what_it_must_not() -> None:
    needs = declared(affinity={"holds": FILE}, anti_affinity={"holds": FILE})
    assert elsewhere(needs, KNOWN) == ((), ())


def test_a_term_holds_for_any_of_its_names() -> None:
    needs = Requirements(affinity=(Term("holds", (FILE, OTHER)),))
    assert why(needs, holds={OTHER}.__contains__) == []
