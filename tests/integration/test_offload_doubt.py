"""A mutation of which nobody knew at its deadline, because its customer was away: the answer that
comes later ends the doubt."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from lite.store import Store
from tests.daemon_support import ipvm
from tests.meeting_support import homes, start
from tests.offload_support import KNOWN, WORK, begin, enable, jobs, posting, queue, run_of, write
from tests.waiting_support import until
from tests.wat_guests import wat


def test_an_answer_ends_a_doubt_that_began_while_the_customer_was_away(tmp_path: Path) -> None:
    go_on = tmp_path / "go-on"
    code = f"import os, time\nwhile not os.path.exists({str(go_on)!r}):\n    time.sleep(0.05)\n"
    with homes(tmp_path, wat(WORK), "phone", "gpu") as (phone, gpu):
        argv = json.dumps([sys.executable, "-S", "-c", code])
        programs = gpu.path / "programs.toml"
        programs.write_text(f'[post]\nargv = {argv}\nlevel = "mutation"\n')
        ipvm(gpu.path, "config", "set", "ops.exec", programs)
        ipvm(gpu.path, "config", "set", "ops.allowed_for_others", "exec/run")
        start([phone, gpu])
        enable(gpu, phone, op="exec/run")
        step = write(tmp_path, "acts", {"act": posting(gpu, "x")})
        run = begin(phone, step, "--deadline", "2s")
        with Store.open(gpu.path, durability="normal") as store:
            until(lambda: store.jobs.counts().get("running"))
        until(lambda: queue(phone)[0].state == "accepted")
        deadline = queue(phone)[0].deadline_at
        phone.end()
        until(lambda: time.time() > deadline + 1)
        phone.start()
        phone.trusts(gpu, KNOWN, dial=True)
        until(lambda: queue(phone)[0].state == "failed")
        until(lambda: run_of(phone, run)["state"] == "in-doubt")
        go_on.touch()
        until(lambda: queue(phone)[0].state == "done")
        until(lambda: run_of(phone, run)["state"] == "done")
        assert [job.state for job in jobs(phone)] == ["done"]
