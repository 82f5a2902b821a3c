"""The log of a run: appended by several, read meanwhile, bounded, and sound after a crash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from lite.store import Store, restore, run_log
from lite.store.run_log import RunLog
from tests.runs_support import chain
from tests.store_support import START, FakeClock


def test_a_log_is_read_while_it_is_written_and_from_where_one_was(store: Store) -> None:
    log, reader = store.run_log("ab" * 8), store.run_log("ab" * 8)
    assert reader.read() == []
    assert log.append("blur", "stdout", b"one\n\xff\xfe caf\xc3\xa9\0")
    first = reader.read()
    assert [(line.label, line.kind, line.at) for line in first] == [("blur", "stdout", START)]
    assert first[0].data == b"one\n\xff\xfe caf\xc3\xa9\0"
    assert log.append("", "state", b"done", at=START + 1)
    assert [line.data for line in reader.read(first[-1].seq)] == [b"done"]
    assert reader.read(log.size()) == []
    assert len(reader.read(limit=1)) == 1
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_a_line_that_a_crash_tore_takes_no_other_with_it(store: Store) -> None:
    log = store.run_log("cd" * 8)
    log.append("a", "stdout", b"first")
    whole = log.size()
    log.append("a", "stdout", b"second")
    os.truncate(log.path, log.size() - 4)
    assert [line.data for line in log.read()] == [b"first"]
    assert log.read(whole) == []
    log.append("a", "stdout", b"third")
    assert [line.data for line in log.read()] == [b"first", b"third"]
    assert [line.data for line in log.read(whole)] == [b"third"]
    with log.path.open("ab") as file:
        file.write(bytes(300) + b"\n[1]\n{}\n")
    log.append("a", "log", b"fourth")
    assert [line.data for line in log.read()] == [b"first", b"third", b"fourth"]


def test_a_log_is_bounded_with_a_mark_and_keeps_states(home: Path, clock: FakeClock) -> None:
    home.mkdir()
    log = RunLog(home, "ef" * 8, clock, bytes_max=4_096)
    kept = 0
    while log.append("loud", "stdout", b"x" * 100):
        kept += 1
    assert 20 < kept < 41
    assert not log.append("loud", "stderr", b"y")
    assert not RunLog(home, "ef" * 8, clock, bytes_max=4_096).append("loud", "stdout", b"z")
    assert log.append("loud", "state", b"done")
    while log.append("loud", "state", b"again"):
        pass
    assert log.size() <= 2 * 4_096
    kinds = [line.kind for line in log.read()]
    assert kinds[: kept + 2] == ["stdout"] * kept + ["dropped", "state"]
    assert kinds.count("dropped") == 1


def test_long_output_is_kept_in_pieces(store: Store) -> None:
    log, data = store.run_log("01" * 8), os.urandom(100_000)
    assert log.append("big", "stdout", data)
    lines = log.read()
    assert len(lines) == 4
    assert b"".join(line.data for line in lines) == data
    assert not log.append("big", "stdout", b"\0" * run_log.LOG_BYTES_MAX)
    assert log.size() <= run_log.LOG_BYTES_MAX


def test_lines_of_several_processes_stay_whole(home: Path, store: Store) -> None:
    program = (
        "import sys; from pathlib import Path; from lite.clock import SystemClock\n"
        "from lite.store.run_log import RunLog\n"
        "log = RunLog(Path(sys.argv[1]), '23' * 8, SystemClock())\n"
        "for number in range(200): log.append(sys.argv[2], 'stdout', b'%d ' % number * 50)\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(home), label]) for label in "ab"
    ]
    assert [child.wait() for child in children] == [0, 0]
    lines = store.run_log("23" * 8).read()
    for label in "ab":
        got = [line.data for line in lines if line.label == label]
        assert got == [b"%d " % number * 50 for number in range(200)]


def test_a_backup_has_the_runs_and_not_their_logs(home: Path, tmp_path: Path) -> None:
    with Store.open(home) as store:
        run = store.runs.start(chain(2))
        store.run_log(run.id).append("", "state", b"running")
        store.backup(tmp_path / "backup.tar")
    restore(tmp_path / "backup.tar", tmp_path / "other")
    with Store.open(tmp_path / "other") as store:
        assert store.runs.find(run.id) == run
        assert store.run_log(run.id).read() == []
        assert store.run_log(run.id).append("", "state", b"again")
