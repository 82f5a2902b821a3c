"""An answer for which the customer's disk has no room: it is said, waited for, and then kept."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.daemon_support import ipvm
from tests.disk_support import fill, small_disk
from tests.meeting_support import rooms, start
from tests.offload_support import (
    WORK,
    begin,
    done,
    either,
    enable,
    far_step,
    jobs,
    queue,
    values,
    write,
)
from tests.waiting_support import until
from tests.wat_guests import wat

VALUE_BYTES = 900_000
LEASE_S = 3  # as the bid, the time of the step and the setting make it
LEAVE = 5_700_000  # more than what blocks of peers leave free, less than that and a value


def test_an_answer_without_room_is_told_and_not_called_late_and_kept_once_there_is_room(
    tmp_path: Path,
) -> None:
    guest = wat(WORK)
    with (
        small_disk(tmp_path / "disk", "size=16m") as disk,
        rooms(disk, guest) as near,
        rooms(tmp_path, guest) as far,
    ):
        (phone,), (gpu,) = near("phone", run=False), far("gpu")
        ipvm(phone.path, "config", "set", "queue.lease", "1s")
        start([phone])
        enable(gpu, phone)
        ballast = fill(disk, LEAVE)
        step = far_step(gpu, "bytes", VALUE_BYTES, limits={"time": "1s"})
        run = begin(phone, write(tmp_path, "big", {"big": step}))
        until(lambda: "cannot be kept here" in queue(phone)[0].note)
        (job,) = jobs(phone)
        assert job.state == "accepted"
        told = ipvm(phone.path, "queue", "list").decode()
        assert "the disk is nearly full" in told and "has it, until" in told
        daemon = json.loads(ipvm(phone.path, "status", "--json"))["daemon"]
        assert not daemon["healthy"] and "the disk is nearly full" in daemon["problem"]

        until(lambda: time.time() > job.sent_at + LEASE_S + 1)  # nobody is called late for it
        assert [one.state for one in jobs(phone)] == ["accepted"]
        assert jobs(phone)[0].lease_until > time.time()

        ballast.unlink()
        ended = done(phone, run)
        assert ended["state"] == "done"
        (job,) = jobs(phone)
        assert (job.state, queue(phone)[0].state) == ("done", "done")
        until(lambda: json.loads(ipvm(phone.path, "status", "--json"))["daemon"]["healthy"])


def test_a_provider_without_room_for_the_inputs_says_so_and_the_next_one_does_it(
    tmp_path: Path,
) -> None:
    guest = wat(WORK)
    (tmp_path / "input").write_bytes(bytes(VALUE_BYTES))
    with (
        small_disk(tmp_path / "disk", "size=16m") as disk,
        rooms(disk, guest) as small,
        rooms(tmp_path, guest) as large,
    ):
        (full,), (phone, free) = small("full"), large("phone", "free")
        cid = ipvm(phone.path, "add", tmp_path / "input").decode().split()[0]
        enable(full, phone)
        fill(disk, LEAVE)
        step = far_step(full, "count", {"/": cid}, requires=either(full, free))
        run = begin(phone, write(tmp_path, "count", {"count": step}))
        until(lambda: [one.code for one in jobs(phone)] == ["store-full"])
        assert jobs(phone)[0].state == "refused"
        assert "the disk is nearly full" in queue(phone)[0].note
        enable(free, phone)
        assert values(done(phone, run), ["count"]) == [VALUE_BYTES]
