"""Every way a command line can go wrong: status, one message, what to do, never a traceback."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from lite.cli import doctor
from lite.errors import BugError
from lite.ipld.cid import CID, RAW
from tests.integration.conftest import Ended, Ipvm

Start = Callable[..., "subprocess.Popen[bytes]"]
ABSENT = CID.of(b"nowhere", RAW)


def says(ended: Ended, status: int, message: str, hint: str = "") -> None:
    """Check the status, the message and the hint of an error for people."""
    lines = ended.err.splitlines()
    assert ended.status == status, ended
    assert any(line.startswith("ipvm: ") and message in line for line in lines), ended.err
    assert any(line.startswith("  → ") and hint in line for line in lines) or not hint, ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("args", "status", "message", "hint"),
    [
        (["rnu"], 2, "there is no command “rnu”", "Did you mean `ipvm run`?"),
        (["receipt", "lsit"], 2, "there is no command “lsit”", "`ipvm receipt list`"),
        (["receipt"], 2, "needs a command: ", "ipvm receipt --help"),
        (["add"], 2, "missing argument 'PATH...'", "ipvm add --help"),
        (["add", "x", "--nmae", "y"], 2, "no option --nmae", "--name"),
        (["ls", "a", "b"], 2, "unexpected extra argument", ""),
        (["cat", "x", "--offset", "-1"], 2, "--offset", "ipvm cat --help"),
        (["run"], 2, "needs a module", "ipvm run add.wasm:add 2 40"),
        (["run", "none.wasm:f"], 5, "no file none.wasm", "Name a .wasm file"),
        (["run", "."], 2, ". is a folder", ""),
        (["run", "numbers.wasm:add", "1", "--fule", "1"], 2, "no option --fule", "--fuel"),
        (["run", "numbers.wasm:add", "1", "-x"], 2, "no option -x", "put -- in front"),
        (["run", "numbers.wasm:add", "1", "--fuel"], 2, "requires an argument", ""),
        (["run", "--fuel", "much", "numbers.wasm:add"], 2, "--fuel: “much”", "500k, 1M"),
        (["run", "--time", "60", "numbers.wasm:add"], 2, "--time: “60”", "500ms"),
        (["run", "--engine", "v8", "numbers.wasm:add"], 2, "--engine: “v8”", "wasmtime"),
        (["run", "numbers.wasm"], 2, "exports add, div, half, spin; name one", "inspect"),
        (["run", "numbers.wasm:sub", "1", "2"], 2, "numbers.wasm: ", "inspect"),
        (["run", "numbers.wasm:add", "1"], 2, "add: func(", "numbers.wasm:add 2 2"),
        (["run", "numbers.wasm:add", "1", "abc"], 2, "argument 2: “abc” is not a number", ""),
        (["run", "typed.wasm:swap", "abc"], 2, "argument 1 (p): “abc” is not a record", "x"),
        (["run", "typed.wasm:greet"], 2, "takes 1 argument, not 0", "typed.wasm:greet hello"),
        (["run", "typed.wasm:greet", "@gone"], 5, "no file and no name “gone”", "@@gone"),
        (["run", "typed.wasm:greet", "x", "--env", "A=1"], 2, "are for commands", ""),
        (["run", "command.wasm", "--env", "A"], 2, "NAME=VALUE", ""),
        (["run", "command.wasm", "--stdin", "gone"], 5, "no file gone", ""),
        (["run", "ipfs://bafynotacid:f"], 2, "'bafynotacid' is not a CID", ""),
        (["run", ""], 2, "needs a module", "ipvm run add.wasm:add 2 40"),
        (["run", "numbers.wasm:add", "1", "2", "--out", "no/x"], 2, "no folder no", ""),
        (["inspect", "numbers.wasm:sub"], 2, "numbers.wasm: ", ""),
        (["cat", "x"], 5, "'x' is neither a name here nor a CID", "petname"),
        (["cat", "ipfs://zzz"], 2, "'zzz' is not a CID", ""),
        (["id", "--home", ""], 2, "--home names no folder", "Leave it out"),
        (["cat", "bafkrei!!"], 2, "not a CID", ""),
        (["cat", "zzzzzzzz"], 5, "nothing here is called", ""),
        (["cat", str(ABSENT)], 5, "is not here", ""),
        (["ls", str(ABSENT)], 5, "is not here", ""),
        (["why", str(ABSENT)], 5, "nothing is known here", ""),
        (["receipt", "show", str(ABSENT)], 5, "neither a receipt", "receipt list"),
        (["receipt", "verify", "gone.car"], 5, "no file gone.car", ""),
        (["receipt", "forget", "abcdefgh"], 5, "nothing here", ""),
        (["import", "gone.car"], 5, "no such file", ""),
        (["add", "gone.txt"], 5, "no such file", ""),
        (["add", "a", "b", "--name", "n"], 2, "--name is for one path", ""),
        (["add", "numbers.wasm", "--profile", "x"], 2, "“x”", "unixfs-v1-2025"),
        (["export", str(ABSENT), "-o", "x.car"], 5, "", ""),
        (["pin", "rm", str(ABSENT)], 5, "is not pinned", "ipvm pin list"),
        (["name", "rm", "nobody"], 5, "no name “nobody”", "ipvm name list"),
        (["config", "get", "limit.fuel"], 2, "no setting “limit.fuel”", "limits.fuel"),
        (["config", "set", "limits.time", "soon"], 2, "“soon” is not a duration", "500ms"),
        (["config", "set", "limits.fuel", "-5"], 2, "“-5” is not an amount of fuel", "500k"),
        (["config", "set", "limits.fuel", "-x"], 2, "no option -x", ""),
        (["key", "import", "numbers.wasm"], 2, "not a private key", "ipvm key export"),
        (["restore", "gone.backup"], 5, "no such file", ""),
        (["completion", "tcsh"], 2, "tcsh", ""),
        (["gc", "--grace", "soon"], 2, "“soon” is not a duration", ""),
    ],
)
def test_a_wrong_command_line_says_what_and_how(
    ipvm: Ipvm, args: list[str], status: int, message: str, hint: str
) -> None:
    ended = ipvm(*args)
    says(ended, status, message, hint)
    assert ended.out == b""
    with_json = ipvm("--json", *args)
    assert with_json.status == status
    assert message in with_json.json["error"]["message"]
    assert with_json.json["error"]["code"]


def test_a_module_that_is_not_here_is_queued(ipvm: Ipvm) -> None:
    ended = ipvm("run", f"{ABSENT}:add", 1, 2)
    assert (ended.status, ended.out) == (3, b"")
    assert "⇢ " in ended.err and f"queued: the module {ABSENT} is not here" in ended.err
    assert ipvm("run", f"{ABSENT}:add", 1, 2, "--json").json["error"]["code"] == "queued"
    quiet = ipvm("run", "-q", str(ABSENT)).err.splitlines()
    assert len(quiet) == 1 and "queued: " in quiet[0]
    assert ipvm("run", "-q", "--json", str(ABSENT)).err == ""


def test_an_input_that_is_not_here_is_queued(ipvm: Ipvm) -> None:
    for flags in ((), ("--dry-run",)):
        ended = ipvm("run", "typed.wasm:echo", str(ABSENT), *flags)
        assert (ended.status, "⇢ echo  queued: " in ended.err) == (3, True), ended.err


def test_the_types_of_what_is_no_module_cannot_be_shown(ipvm: Ipvm, here: Path) -> None:
    (here / "text.wasm").write_text("(module)")
    says(ipvm("inspect", "text.wasm"), 2, "text.wasm is not a module")
    says(ipvm("run", "typed.wasm:greet", "x", "--json", "--out", "-"), 2, "both want stdout")


def test_an_ambiguous_piece_lists_the_candidates(ipvm: Ipvm, here: Path) -> None:
    for i in range(40):
        (here / f"f{i}").write_bytes(b"%d" % i)
    assert ipvm("add", *(f"f{i}" for i in range(40))).status == 0
    ended = ipvm("cat", "bafkrei")
    says(ended, 2, "fits", "more characters")
    assert ended.err.count("bafkrei") > 2


def test_a_home_under_a_file_is_a_store_error(ipvm: Ipvm, here: Path) -> None:
    says(ipvm("--home", here / "numbers.wasm" / "home", "id"), 6, "numbers.wasm")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_home_without_permission_is_a_store_error(ipvm: Ipvm, here: Path) -> None:
    (here / "locked").mkdir(mode=0o500)
    says(ipvm("id", "--home", here / "locked" / "home"), 6, "locked")


def test_a_damaged_database_is_a_store_error_and_doctor_says_so(ipvm: Ipvm, home: Path) -> None:
    assert ipvm("id").status == 0
    for name in ("ipvm.db-wal", "ipvm.db-shm"):
        (home / name).unlink(missing_ok=True)
    (home / "ipvm.db").write_bytes(b"not a database at all" * 1000)
    says(ipvm("status"), 6, "")
    assert ipvm("status", "--json").json["error"]["code"] == "store-corrupt"
    checked = ipvm("doctor")
    assert checked.status == 7  # stored data are damaged, whatever else may be wrong
    assert "✗ store" in checked.text


def test_a_store_of_a_later_version_is_left_untouched(ipvm: Ipvm, home: Path) -> None:
    assert ipvm("id").status == 0
    with closing(sqlite3.connect(home / "ipvm.db")) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {version + 1}")
        database.commit()
    before = (home / "ipvm.db").read_bytes()
    ended = ipvm("status")
    says(ended, 6, "")
    assert ipvm("status", "--json").json["error"]["code"] == "store-too-new"
    assert (home / "ipvm.db").read_bytes() == before


def test_a_changed_block_is_found_by_a_deep_check(ipvm: Ipvm, here: Path, home: Path) -> None:
    (here / "words").write_bytes(b"some words")
    cid = CID.parse(ipvm("add", "words", "--pin").text.strip())
    assert ipvm("doctor", "--deep").status == 0
    with closing(sqlite3.connect(home / "ipvm.db")) as database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(blocks)")]
        data = next(name for name in columns if name in ("data", "body", "bytes"))
        database.execute(f"UPDATE blocks SET {data} = ? WHERE cid = ?", (b"some wordz", cid.raw))
        database.commit()
    ended = ipvm("doctor", "--deep")
    assert ended.status == 7
    assert str(cid) in ended.text


def test_a_broken_setting_names_file_and_line(ipvm: Ipvm, home: Path) -> None:
    assert ipvm("id").status == 0
    (home / "config.toml").write_text("[limits]\nfuel = 'lots'\n")
    says(ipvm("id"), 2, "config.toml, limits.fuel")


@pytest.mark.parametrize("text", ["[limits]\nfuel = 'lots'\n", "x = = 3", "limits = 3\n"])
def test_doctor_goes_on_with_defaults_where_no_settings_can_be_read(
    ipvm: Ipvm, home: Path, text: str
) -> None:
    assert ipvm("id").status == 0
    whole = [check["name"] for check in ipvm("doctor", "--json").json["checks"]]
    (home / "config.toml").write_text(text)
    ended = ipvm("doctor", "--json")
    assert ended.status == 6
    checks = ended.json["checks"]
    assert [check["name"] for check in checks if check["name"] != "settings"] == whole
    failed = [check for check in checks if check["state"] == "failed"]
    assert [check["name"] for check in failed] == ["settings"]
    assert "config.toml" in failed[0]["text"]


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff\xfe", b"z" * 9000, None])
def test_a_home_key_that_cannot_be_used_is_an_error_of_the_home(
    ipvm: Ipvm, here: Path, home: Path, content: bytes | None
) -> None:
    first = ipvm("id").text
    ipvm("key", "export", "-o", "saved")
    if content is None:
        (home / "key").chmod(0o644)
        says(ipvm("id"), 6, "others may use it", "Run: chmod 600")
    else:
        (home / "key").write_bytes(content)
    there = (home / "key").read_bytes()
    for hint in ("ipvm restore BACKUP", "ipvm key import FILE --force"):
        says(ipvm("id"), 6, "key file ", hint)
    doctor_says = next(c for c in ipvm("doctor", "--json").json["checks"] if c["name"] == "key")
    assert doctor_says["state"] == "failed"
    assert "ipvm restore BACKUP" in doctor_says["hint"]
    says(ipvm("key", "import", "saved"), 6, "key file ", "--force")
    (here / "junk").write_bytes(b"junk")
    says(ipvm("key", "import", "junk", "--force"), 2, "not a private key")
    assert (home / "key").read_bytes() == there
    assert ipvm("key", "import", "saved", "--force").text == first == ipvm("id").text
    assert (home / "key-unusable-1.old").read_bytes() == there
    assert (home / "key-unusable-1.old").stat().st_mode & 0o777 == 0o600


def test_an_archive_with_one_changed_bit_is_refused_whole(ipvm: Ipvm, here: Path) -> None:
    (here / "words").write_bytes(b"some words")
    cid = ipvm("add", "words").text.strip()
    assert ipvm("export", cid, "-o", "words.car").status == 0
    data = bytearray((here / "words.car").read_bytes())
    data[-1] ^= 1
    (here / "words.car").write_bytes(data)
    says(ipvm("import", "words.car", "--home", here / "other"), 7, "")
    says(ipvm("cat", cid, "--home", here / "other"), 5, "")


def test_a_receipt_file_with_one_changed_bit_does_not_verify(ipvm: Ipvm, here: Path) -> None:
    receipt = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["receipt"]
    assert ipvm("export", receipt, "-o", "r.car").status == 0
    assert ipvm("receipt", "verify", "r.car").status == 0
    whole = (here / "r.car").read_bytes()
    for at in range(0, len(whole), 23):
        changed = bytearray(whole)
        changed[at] ^= 0x10
        (here / "r.car").write_bytes(changed)
        assert ipvm("receipt", "verify", "r.car").status == 7, at


def test_verifying_a_file_makes_no_home(ipvm: Ipvm, here: Path, home: Path) -> None:
    (here / "junk").write_bytes(b"junk")
    says(ipvm("receipt", "verify", "junk"), 7, "")
    assert not home.exists()


@pytest.mark.parametrize("target", ["no/such/folder/x", "."])
def test_a_file_that_cannot_be_written_is_a_usage_error(ipvm: Ipvm, target: str) -> None:
    says(ipvm("run", "numbers.wasm:add", 1, 2, "--out", target), 2, target)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_store_error(ipvm: Ipvm) -> None:
    says(ipvm("run", "typed.wasm:greet", "x", "--out", "/dev/full"), 6, "full")


def test_a_full_quota_is_a_store_error(
    ipvm: Ipvm, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPVM_STORE_QUOTA", "1K")
    (here / "data").write_bytes(bytes(5000))
    says(ipvm("add", "data"), 6, "")
    assert ipvm("add", "data", "--json").json["error"]["code"] == "quota"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("boom"), 70),
        (BugError("a broken invariant"), 70),
        (OSError(errno.ENOSPC, "No space left on device", "x"), 6),
        (OSError(errno.EIO, "Input/output error"), 6),
        (MemoryError(), 6),
        (KeyboardInterrupt(), 130),
    ],
)
def test_what_nobody_expected_is_said_plainly(
    ipvm: Ipvm, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(doctor, "_python", fail)
    ended = ipvm("doctor")
    says(ended, status, "", "report it" if status == 70 else "")
    monkeypatch.setenv("IPVM_DEBUG", "1")
    assert ("Traceback" in ipvm("doctor").err) == (status == 70)


def spinning(process: Start) -> subprocess.Popen[bytes]:
    """A guest that never ends, once its worker has begun."""
    child = process("run", "numbers.wasm:spin", "--fuel", "1000T")
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    while child.poll() is None and not children.read_text().split():
        pass
    return child


def is_running(pid: str) -> bool:
    """Whether it is there and has not ended; nobody may have collected its status yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_spinning_guest_and_its_worker(
    process: Start, number: signal.Signals, status: int
) -> None:
    child = spinning(process)
    (worker,) = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out) == (status, b"")
    assert b"Traceback" not in err
    assert err.count(b"\n") <= 2
    while is_running(worker):
        pass


def test_a_closed_pipe_ends_quietly(process: Start, here: Path) -> None:
    (here / "big").write_bytes(bytes(5_000_000))
    cid = process("add", "big").communicate(timeout=30)[0].strip().decode()
    child = process("cat", cid)
    assert child.stdout is not None
    child.stdout.read(10)
    child.stdout.close()
    assert child.wait(timeout=30) == 141
    assert child.stderr is not None
    assert child.stderr.read() == b""


def damage(home: Path, table: str, raw: bytes) -> None:
    """Change one bit in the middle of what is stored under a CID."""
    with closing(sqlite3.connect(home / "ipvm.db")) as database:
        query = f"SELECT data FROM {table} WHERE cid = ?"
        data = bytearray(database.execute(query, (raw,)).fetchone()[0])
        data[len(data) // 2] ^= 1
        database.execute(f"UPDATE {table} SET data = ? WHERE cid = ?", (bytes(data), raw))
        database.commit()


def test_a_damaged_module_is_not_run_and_adding_it_again_mends_it(ipvm: Ipvm, home: Path) -> None:
    module = ipvm("add", "numbers.wasm").text.strip()
    assert ipvm("run", f"{module}:add", 1, 1).text == "2\n"
    damage(home, "blocks", CID.parse(module).raw)
    repair = "ipvm doctor --deep --repair"
    says(ipvm("run", f"{module}:add", 2, 40), 7, "changed on the disk", repair)
    says(ipvm("cat", module), 7, module, repair)
    assert len(ipvm("receipt", "list", "--json").json["receipts"]) == 1
    assert ipvm("add", "numbers.wasm").text.strip() == module
    assert ipvm("run", f"{module}:add", 2, 40).text == "42\n"
    assert ipvm("doctor", "--deep").status == 0


def test_damaged_inputs_and_outputs_reach_neither_guest_nor_reader(
    ipvm: Ipvm, here: Path, home: Path
) -> None:
    (here / "data").write_bytes(bytes(200_000))
    cid = ipvm("add", "data").text.strip()
    echo = ("run", "typed.wasm:echo", cid)
    assert ipvm(*echo).out == bytes(200_000)
    damage(home, "blocks", CID.parse(cid).raw)
    says(ipvm(*echo), 7, "changed on the disk", "ipvm doctor --deep --repair")
    says(ipvm("run", "--no-cache", *echo[1:]), 7, "changed on the disk")
    says(ipvm("export", cid, "-o", "out.car"), 7, "changed on the disk")
    assert len(ipvm("receipt", "list", "--json").json["receipts"]) == 1
    assert ipvm("doctor", "--deep", "--repair").status == 0
    assert ipvm(*echo).status == 3
    assert ipvm("add", "data").text.strip() == cid
    assert ipvm(*echo).out == bytes(200_000)


def test_a_damaged_receipt_is_no_answer(ipvm: Ipvm, home: Path) -> None:
    first = ipvm("run", "numbers.wasm:add", 1, 1, "--json").json["receipt"]
    cid = first["cid"]["/"] if isinstance(first, dict) else first
    damage(home, "receipts", CID.parse(cid).raw)
    says(ipvm("receipt", "show", cid), 7, "changed on the disk", "ipvm doctor --deep --repair")
    again = ipvm("run", "numbers.wasm:add", 1, 1)
    assert again.text == "2\n"
    assert "cached" not in again.err


def test_a_home_that_lost_its_key_says_so_until_its_owner_decides(
    ipvm: Ipvm, here: Path, home: Path
) -> None:
    first = ipvm("id").text
    ipvm("key", "export", "-o", "saved")
    ipvm("run", "numbers.wasm:add", 1, 1)
    (home / "key").unlink()
    says(ipvm("id"), 6, "the key of this home is gone", "ipvm key import FILE")
    says(ipvm("run", "numbers.wasm:add", 1, 1), 6, "the key of this home is gone")
    ended = ipvm("doctor")
    assert ended.status == 6
    assert "✗ key       the key of this home is gone" in ended.text
    assert not (home / "key").exists()
    assert ipvm("key", "import", "saved").text == ipvm("id").text == first
    (home / "key").unlink()
    second = ipvm("key", "new").text
    assert second == ipvm("id").text != first


def test_an_old_key_beside_an_empty_store_says_that_the_home_was_used(
    ipvm: Ipvm, home: Path
) -> None:
    assert ipvm("id").status == 0
    ipvm("key", "new", "--force")
    assert list(home.glob("key-*.old"))
    (home / "key").unlink()
    says(ipvm("id"), 6, "the key of this home is gone", "ipvm key import FILE")
    assert ipvm("doctor").status == 6
    assert not (home / "key").exists()


def test_what_was_stored_before_an_error_is_in_the_json(ipvm: Ipvm, here: Path) -> None:
    cids = [ipvm("add", name).text.strip() for name in ("numbers.wasm", "typed.wasm")]
    ended = ipvm("--json", "add", "numbers.wasm", "typed.wasm", "gone", "command.wasm")
    assert ended.status == 5
    assert ended.json["error"]["code"] == "not-found"
    assert ended.json["added"] == [
        {"path": "numbers.wasm", "cid": cids[0], "secret": False},
        {"path": "typed.wasm", "cid": cids[1], "secret": False},
    ]


def test_json_of_errors_is_written_like_that_of_results(ipvm: Ipvm) -> None:
    for ended in (ipvm("--json", "cat", "gone"), ipvm("--json", "status")):
        compact = json.dumps(ended.json, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        assert ended.out == compact.encode() + b"\n"


@pytest.mark.parametrize("args", [("--args", "--json"), ("1", "--", "--json")])
def test_json_among_the_arguments_of_a_guest_is_not_ours(ipvm: Ipvm, args: tuple[str]) -> None:
    ended = ipvm("run", "numbers.wasm:add", *args)
    assert ended.status == 2
    assert ended.out == b""


def test_the_version_is_json_when_asked(ipvm: Ipvm) -> None:
    for args in (("--json", "--version"), ("--version", "--json"), ("add", "--json", "--version")):
        assert ipvm(*args).json == ipvm("version", "--json").json
    assert ipvm("add", "--version").text == ipvm("version").text


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("verb", [("id",), ("status",), ("--json", "status"), ("cat", "n")])
def test_an_output_that_cannot_be_written_is_said_to_be_lost(
    ipvm: Ipvm, process: Start, verb: tuple[str, ...]
) -> None:
    assert ipvm("add", "numbers.wasm", "--name", "n").status == 0
    with Path("/dev/full").open("wb") as full:
        child = process(*verb, stdout=full)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 6
    assert b"ipvm: the output could not be written: No space left on device" in err
    assert b"Traceback" not in err
    assert b"nothing was changed" not in err


def test_a_first_use_that_was_killed_before_the_key_was_made_goes_on(
    ipvm: Ipvm, home: Path
) -> None:
    assert ipvm("id").status == 0
    (home / "key").unlink()
    assert ipvm("doctor").status == 0
    ended = ipvm("id")
    assert ended.status == 0
    assert "a new key" in ended.err
