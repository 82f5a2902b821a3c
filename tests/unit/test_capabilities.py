"""What a node has is measured: on this machine, on made-up ones, and with a broken nvidia-smi."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lite.capabilities import engine_features, gpus, machine, measure, usable_ops
from lite.capabilities.gpus import Found, find, run_tool
from lite.config import Config
from lite.engine.pool import Workers
from lite.frozen import replace
from lite.keys import Key
from lite.limits import MIB
from lite.needs.capabilities import UNBOUNDED, Capabilities, Gpu
from lite.ops.registry import Ops

DID = Key.from_seed(bytes(32)).did
U = [f"GPU-0000000{n}-aaaa-bbbb-cccc-dddddddddddd" for n in range(4)]
H200 = Gpu("nvidia", "NVIDIA H200", 143_771 * MIB)
ONE = f"0, {U[0]}, NVIDIA H200, 143771, Disabled\n"
LOST = "Unable to determine the device handle for GPU 0000:0B:00.0: GPU is lost.\n"
NO_DRIVER = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
NO_FIELD = 'Field "mig.mode.current" is not a valid field to query.\n\n'


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def saying(*answers: tuple[int, str] | None) -> gpus.Ask:
    """A tool that gives these answers, one after the other, then the last one again."""
    left = list(answers)

    def ask(arguments: Sequence[str]) -> tuple[int, str] | None:
        return left.pop(0) if len(left) > 1 else left[0]

    return ask


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The root of a machine without any device."""
    return write(tmp_path / "bare", {"dev/null": ""})


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """The root of a machine with two devices and the driver's library."""
    names = ("dev/nvidia0", "dev/nvidia1", "dev/nvidiactl", "dev/nvidia-uvm")
    return write(tmp_path / "gpus", {**dict.fromkeys(names, ""), "usr/lib64/libcuda.so.1": ""})


BY_DEVICES = Found(
    (Gpu("nvidia"), Gpu("nvidia")),
    "nvidia-smi does not answer: model and memory of the GPU are not known",
)


def test_this_machine_is_measured(home: Path) -> None:
    config = Config.load(home, {"ops.off": "http/post", "node.tags": "b, a b"})
    workers = Workers(cache_dir=home / "cache")
    found = measure(DID, config, Ops(config, workers))
    assert found.arch == os.uname().machine and found.system == sys.platform
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    assert 64 * MIB < found.memory_bytes <= machine.memory_bytes()
    assert 0 < found.disk_bytes < shutil.disk_usage(home.parent).total
    assert "core" in found.engine
    assert found.tags == ("a", "b")
    assert "wasm/run" in found.ops and "http/post" not in found.ops
    assert found.limits == UNBOUNDED
    assert found.fetch_bytes == config["peers.fetch_bytes"]
    assert Capabilities.decode(DID, found.encode()) == found
    full = measure(DID, Config.load(home, {"store.quota": "10"}), {}, stored_bytes=11)
    assert full.disk_bytes == 0


def test_gpus_that_the_owner_wrote_down_are_not_looked_for(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "find", lambda: pytest.fail("looked for"))
    told = {"node.gpus": "NVIDIA A100:80G, Radeon"}
    found = measure(DID, Config.load(home, told), {})
    assert found.gpus == (Gpu("nvidia", "NVIDIA A100", 80 * 2**30), Gpu("radeon", "Radeon"))
    assert Capabilities.decode(DID, found.encode()) == found
    assert measure(DID, Config.load(home, {"node.gpus": "none"}), {}).gpus == ()


def test_an_operation_without_its_setting_is_not_offered(home: Path) -> None:
    workers = Workers(cache_dir=home / "cache")

    def names(**settings: str) -> set[str]:
        config = Config.load(home, {f"ops.{name}": text for name, text in settings.items()})
        return set(usable_ops(config, Ops(config, workers)))

    assert {"crud/read", "exec/run", "msg/send"}.isdisjoint(names())
    assert {"crud/read", "crud/update", "crud/destroy"} <= names(crud_root=str(home))
    assert "wasm/run" not in names(off="wasm/run")


def test_the_engine_tells_its_features_from_a_process_of_its_own() -> None:
    before = set(sys.modules)
    found = engine_features("wasmtime")
    assert "wasmtime" in found and "component" in found and list(found) == sorted(found)
    assert {name for name in set(sys.modules) - before if name.startswith("wasmtime")} == set()


def test_an_engine_that_cannot_be_loaded_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_features("no such engine") == ()
    monkeypatch.setattr(sys, "executable", "")
    assert engine_features("auto") == ()


# Processor, memory, disk.


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
          "sys/fs/cgroup/a/cpu.max": "400000 100000\n",
          "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cpu.max": "500000 100000\n"}, 5),
        ({"proc/self/cgroup": "3:cpu,cpuacct:/d\n",
          "sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_quota_us": "150000\n",
          "sys/fs/cgroup/cpu,cpuacct/d/cpu.cfs_period_us": "50000\n"}, 3),
        ({"proc/self/cgroup": "3:cpu:/d\n", "sys/fs/cgroup/cpu/d/cpu.cfs_quota_us": "-1\n",
          "sys/fs/cgroup/cpu/d/cpu.cfs_period_us": "100000\n"}, 8),
        ({"proc/self/cgroup": "garbage\n::\n0::/\n", "sys/fs/cgroup/cpu.max": "x 0\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1 0\n"}, 8),
    ],
)  # fmt: skip
def test_cores_are_those_of_the_least_of_all_groups(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert machine.cores(write(tmp_path, files)) == expected


def test_a_process_that_is_bound_to_a_core_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert machine.cores() == 1


MEMINFO = {"proc/meminfo": "MemTotal:       1024 kB\nMemFree:  1 kB\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, MIB),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "4096\n",
          "sys/fs/cgroup/a/b/memory.max": "max\n"}, 4096),
        ({"proc/self/cgroup": "4:memory:/a\n",
          "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
          "sys/fs/cgroup/memory/memory.limit_in_bytes": "8192\n"}, 8192),
        ({"proc/self/cgroup": "4:memory:/a\n",
          "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n"}, MIB),
    ],
)  # fmt: skip
def test_memory_is_that_of_the_least_of_all_groups(
    files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    assert machine.memory_bytes(write(tmp_path, {**MEMINFO, **files})) == expected


def test_the_disk_is_that_of_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    far = machine.disk_bytes(tmp_path / "not" / "yet" / "there")
    assert abs(far - machine.disk_bytes(tmp_path)) < 256 * MIB


# GPUs.


@pytest.mark.parametrize(
    ("answers", "expected", "note"),
    [
        ([(0, ONE)], [H200], ""),
        ([(0, ONE + f"1, {U[1]}, NVIDIA GeForce RTX 2080, 7982, [N/A]\n")],
         [H200, Gpu("nvidia", "NVIDIA GeForce RTX 2080", 7982 * MIB)], ""),
        ([(0, f"0, {U[0]}, NVIDIA GB10, [N/A], [N/A]\n")], [Gpu("nvidia", "NVIDIA GB10")], ""),
        ([(0, f"0, {U[0]}, Orin (nvgpu), [Not Supported], [N/A]\n")],
         [Gpu("nvidia", "Orin (nvgpu)")], ""),
        ([(0, f"0, {U[0]}, Tesla, special, 16160, Disabled\n")],
         [Gpu("nvidia", "Tesla, special", 16160 * MIB)], ""),
        ([(0, f"0, {U[0]}, [N/A], 10, [N/A]\n")], [Gpu("nvidia", "", 10 * MIB)], ""),
        ([(0, f"WARNING: infoROM is corrupted at gpu 0000:00:1E.0\n{ONE}")], [H200], ""),
        ([(0, f"{ONE}1, [GPU is lost], [GPU is lost], [GPU is lost], [GPU is lost]\n")],
         [H200], "1 of the GPUs does not work, says nvidia-smi"),
        ([(0, f"0, {U[0]}, NVIDIA H200, [Unknown Error], Disabled\n")], [],
         "1 of the GPUs does not work, says nvidia-smi"),
        ([(6, "No devices were found\n")], [], ""),
        ([(9, NO_DRIVER)], [], f"nvidia-smi: {NO_DRIVER.strip()[:100]}"),
        ([(15, LOST)], [], f"nvidia-smi: {LOST.strip()}"),
        ([(2, NO_FIELD), (0, f"0, {U[0]}, Tesla K80, 11441\n")],
         [Gpu("nvidia", "Tesla K80", 11441 * MIB)], ""),
    ],
)  # fmt: skip
def test_what_the_tool_says_is_understood(
    answers: list[tuple[int, str]], expected: list[Gpu], note: str, devices: Path
) -> None:
    assert find(saying(*answers), devices) == Found(tuple(expected), note)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        (0, ""),
        (0, "hello\n"),
        (0, "\x00\xff" * 1000),
        (0, "," * 10_000),
        (0, "0, GPU-x\n0, GPU-x, y\n"),
        (0, "0, 00000000:0B:00.0, NVIDIA H200, 143771, Disabled\n"),
        (126, ""),
        (-9, ""),
    ],
)
def test_what_is_not_understood_leaves_what_the_devices_say(
    answer: tuple[int, str] | None, devices: Path, bare: Path
) -> None:
    assert find(saying(answer), devices) == BY_DEVICES
    assert find(saying(answer), bare) == Found()


def test_a_device_without_a_driver_is_no_gpu(tmp_path: Path) -> None:
    root = write(tmp_path, {"dev/nvidia0": ""})
    assert find(saying(None), root) == Found((), "/dev/nvidia0 is there, but no libcuda.so.1")
    for place in ("usr/lib/x86_64-linux-gnu/libcuda.so.1", "usr/lib/wsl/lib/libcuda.so.1"):
        path = write(tmp_path, {place: ""}) / place
        assert find(saying(None), root).gpus == (Gpu("nvidia"),)
        path.unlink()
    write(tmp_path, {"etc/ld.so.cache": "…\0libcuda.so.1\0…"})
    assert find(saying(None), root).gpus == (Gpu("nvidia"),)


LISTED = f"""GPU 0: NVIDIA A100-SXM4-40GB (UUID: {U[0]})
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 1g.5gb+me   Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
  MIG 1c.2g.10gb  Device  2: (UUID: MIG-GPU-{U[0]}/1/0)
GPU 1: NVIDIA H200 (UUID: {U[1]})
GPU 2: NVIDIA A100-SXM4-40GB (UUID: {U[2]})
"""
IN_PARTS = (
    f"0, {U[0]}, NVIDIA A100-SXM4-40GB, 40960, Enabled\n"
    f"1, {U[1]}, NVIDIA H200, 143771, Disabled\n"
    f"2, {U[2]}, NVIDIA A100-SXM4-40GB, 40960, Enabled\n"
)


def part(profile: str, size_gb: int) -> Gpu:
    return Gpu("nvidia", f"NVIDIA A100-SXM4-40GB MIG {profile}", size_gb * 10**9)


def test_a_gpu_in_parts_is_its_parts(bare: Path) -> None:
    found = find(saying((0, IN_PARTS), (0, LISTED)), bare)
    assert found.gpus == (
        part("3g.20gb", 20),
        part("1g.5gb+me", 5),
        part("1c.2g.10gb", 10),
        H200,
    )


@pytest.mark.parametrize("listed", [None, (0, ""), (1, "garbage"), (0, LISTED.splitlines()[1])])
def test_a_gpu_whose_parts_are_not_known_takes_no_work(
    listed: tuple[int, str] | None, bare: Path
) -> None:
    assert find(saying((0, IN_PARTS), listed), bare).gpus == (H200,)


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("0,2", "ac"),
        ("2, 0", "ca"),
        (f"{U[1]},GPU-00000002", "bc"),
        ("1,9,0", "b"),
        ("-1", ""),
        ("NoDevFiles", ""),
        ("0,0", "a"),
        ("GPU-", ""),
        ("9" * 5000, ""),
        ("", ""),
    ],
)
def test_hidden_gpus_are_not_counted(visible: str, names: str, bare: Path) -> None:
    rows = "".join(f"{n}, {U[n]}, {name}, 10, Disabled\n" for n, name in enumerate("abc"))
    found = find(saying((0, rows)), bare, visible)
    assert "".join(gpu.name for gpu in found.gpus) == names


def test_hiding_counts_without_the_tool_too(devices: Path) -> None:
    assert len(find(saying(None), devices, "1").gpus) == 1
    assert find(saying(None), devices, "-1").gpus == ()


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in the place of nvidia-smi, or takes it away."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def put(script: str) -> None:
        path = folder / "nvidia-smi"
        path.write_text(script)
        path.chmod(0o755)

    return put


def test_the_tool_is_run(tool: Callable[[str], None], bare: Path) -> None:
    assert find(root=bare) == Found()
    tool(f"#!/bin/sh\ncase $1 in --query-gpu=index,uuid,*) echo '{ONE.strip()}' ;; esac\n")
    assert find(root=bare) == Found((H200,))
    tool(f"#!/bin/sh\ncase $1 in *mig*) echo '{NO_FIELD}'; exit 2;; esac; echo '0, {U[0]}, a, 1'\n")
    assert find(root=bare) == Found((Gpu("nvidia", "a", MIB),))


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/sh\nsleep 60\n",
        "#!/bin/sh\ntrap '' TERM INT\nsleep 60 & sleep 60\n",
        "#!/bin/sh\nwhile :; do echo 0, GPU-x, y, 1, Disabled; done\n",
    ],
)
def test_a_tool_that_hangs_or_never_ends_is_killed(
    script: str, tool: Callable[[str], None], devices: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "ANSWER_S", 0.3)
    tool(script)
    began = time.monotonic()
    assert find(root=devices) == BY_DEVICES
    assert time.monotonic() - began < 8


def test_a_tool_that_cannot_be_started_says_nothing(
    tool: Callable[[str], None], devices: Path
) -> None:
    tool("\x7fELF, but broken")
    assert find(root=devices) == BY_DEVICES
    answer = run_tool(["/no/such/program"], 5)
    assert answer is not None and answer[1] == ""


def test_what_was_found_has_a_canonical_form(bare: Path) -> None:
    odd = f"0, {U[0]}, \x07NVIDIA\x1b[31m {'x' * 500}, 10, Disabled\n"
    found = replace(Capabilities(DID), gpus=find(saying((0, odd)), bare).gpus)
    assert len(found.gpus[0].name) == 100
    assert Capabilities.decode(DID, found.encode()) == found
