#!/usr/bin/env python3
"""Three nodes on this machine: a phone, a laptop, and a machine with a GPU. python mesh.py [FOLDER]

They begin apart. The phone does what it can, offline, and puts the rest into its outbox. Then they
meet: the jobs go where they can run, under delegations that say what each may have done where, and
their signed receipts come back. A second phone that meets the first one gets all of it for free.

The GPU is played by the processor (`IPVM_CUDA_ON=cpu`, `node.gpus`), so that this runs anywhere;
all else is real: four homes with keys of their own, daemons that meet over encrypted channels.
Homes and logs stay in FOLDER, by default .demo/mesh in the project's folder.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from nodes import ROOT, Failed, Machine, installed, until

STORY = "story.yaml"
GPU = "Pretend GPU:8G"


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


def apart(phone: Machine) -> None:
    say("1. In the field. The phone is alone; what it cannot do waits in its outbox.")
    phone.run("workflow", "check", STORY)
    phone.run("workflow", "run", STORY, status=3)
    phone.run("queue", "list")


def allow(phone: Machine, laptop: Machine, gpu: Machine) -> None:
    say("2. At home, the owners of the other two decide what the phone may have done there.")
    laptop.run("provider", "enable", "--for", phone.did, "--per-day", "100")
    gpu.run("config", "set", "ops.allowed_for_others", "cuda/matmul")
    gpu.run("provider", "enable", "--op", "cuda/matmul", "--for", phone.did)


def meet(one: Machine, other: Machine, here: Sequence[str], there: Sequence[str]) -> None:
    """Each gives the other rights; the first one knows where the second is."""
    other.run("peers", "trust", one.did, "--name", one.name, *there)
    one.run("peers", "add", f"{other.did}@{other.address}", "--name", other.name, *here)


def together(phone: Machine, laptop: Machine, gpu: Machine) -> None:
    say("3. They meet. Nobody types anything more: the outbox drains by itself.")
    for machine in (phone, laptop, gpu):
        machine.start()
    for provider in (laptop, gpu):
        meet(phone, provider, ["--read", "--blocks", "--answers"], ["--read", "--run"])
    started = time.monotonic()
    until("the run of the phone is done", lambda: state_of_run(phone) == "done")
    print(f"    … and {time.monotonic() - started:.1f} s later all is done:", flush=True)
    phone.run("queue", "list", "--all")
    phone.run("workflow", "run", STORY)
    phone.run("capabilities", gpu.name)
    say("   What came back is signed by who did it, and says for which request:")
    phone.run("why", blurred(phone))
    laptop.run("provider", "show")


def state_of_run(machine: Machine) -> str:
    runs = machine.ask("workflow", "list")["runs"]
    return str(runs[0]["state"])


def blurred(machine: Machine) -> str:
    return str(machine.ask("workflow", "run", STORY)["results"]["blur"]["output"])


def for_free(phone: Machine, second: Machine, laptop: Machine, gpu: Machine) -> None:
    say("4. A second phone meets the first. It takes the word of the machines that did the work.")
    second.start()
    for provider in (laptop, gpu):
        second.run("peers", "trust", provider.did, "--name", provider.name, "--answers")
    meet(second, phone, ["--read", "--answers"], ["--read", "--blocks"])
    second.run("sync", phone.name)
    told = second.run("workflow", "run", STORY)
    if "4 of 4 without work · 0 ran" not in told:
        raise Failed("the second phone had work to do")


def tell(folder: Path) -> None:
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    cuda = installed("gpu", folder / "libraries")
    phone = Machine("phone", folder / "phone", IPVM_NODE_GPUS="none")
    second = Machine("second", folder / "second", IPVM_NODE_GPUS="none")
    laptop = Machine("laptop", folder / "laptop", IPVM_NODE_GPUS="none", IPVM_NODE_TAGS="laptop")
    gpu = Machine("gpu", folder / "gpu", cuda, IPVM_NODE_GPUS=GPU, IPVM_CUDA_ON="cpu")
    try:
        apart(phone)
        allow(phone, laptop, gpu)
        together(phone, laptop, gpu)
        for_free(phone, second, laptop, gpu)
    finally:
        for machine in (second, phone, laptop, gpu):
            machine.stop()
    say(f"Done in {time.monotonic() - started:.1f} s. The homes are in {folder}.")


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".demo" / "mesh"
    try:
        tell(folder.resolve())
    except Failed as fault:
        print(f"mesh: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
