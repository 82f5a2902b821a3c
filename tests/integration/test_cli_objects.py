"""Files, archives, receipts, names, pins, keys, settings and backups from the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lite.ipld.cid import CID, DAG_CBOR, RAW, SHA3_256
from lite.store import Store
from tests.integration.conftest import Ipvm

Start = Callable[..., "subprocess.Popen[bytes]"]


def test_a_file_comes_back_as_it_was(ipvm: Ipvm, here: Path) -> None:
    data = bytes(i * 13 & 255 for i in range(2_500_000))
    (here / "data").write_bytes(data)
    cid = ipvm("add", "data").text.strip()
    assert ipvm("cat", cid).out == data
    assert ipvm("cat", cid, "--offset", 1_048_570, "--length", 20).out == data[1_048_570:1_048_590]
    assert ipvm("add", "-", stdin=data).text.strip() == cid
    assert ipvm("cat", cid, "--out", "copy").out == b""
    assert (here / "copy").read_bytes() == data
    assert ipvm("add", "data", "--profile", "legacy-256k").text.strip() != cid
    part = ipvm("cat", cid, "--length", 2, "--json").json
    assert (part["cid"], part["data"]) == (cid, {"/": {"bytes": "AA0"}})
    assert ipvm("cat", cid, "--out", "copy", "--json").json["file"] == "copy"


def test_several_paths_are_listed_with_their_cids(ipvm: Ipvm, here: Path) -> None:
    (here / "a").write_bytes(b"a")
    (here / "b").write_bytes(b"b")
    expected = [(str(CID.of(name.encode(), RAW)), name) for name in "ab"]
    assert ipvm("add", "a", "b").text == "".join(f"{cid}  {name}\n" for cid, name in expected)
    found = ipvm("add", "a", "b", "--json").json["added"]
    assert found == [{"cid": cid, "path": name, "secret": False} for cid, name in expected]


def test_a_folder_is_listed_and_its_files_have_paths(ipvm: Ipvm, here: Path) -> None:
    (here / "docs/deep").mkdir(parents=True)
    (here / "docs/deep/f.txt").write_text("hi")
    (here / "docs/a.txt").write_text("first")
    cid = ipvm("add", "docs", "--name", "docs").text.strip()
    for ref in ("docs/deep/f.txt", f"{cid}/deep/f.txt", f"ipfs://{cid}/deep/f.txt"):
        assert ipvm("cat", ref).text == "hi"
    lines = [line.split() for line in ipvm("ls", "docs").text.splitlines()]
    assert [line[2] for line in lines] == ["a.txt", "deep"]
    entries = ipvm("ls", "docs/deep", "--json").json["entries"]
    cid = str(CID.of(b"hi", RAW))
    assert entries == [{"name": "f.txt", "cid": cid, "bytes": 2, "secret": False}]


def test_a_stored_value_is_shown_as_json(ipvm: Ipvm) -> None:
    found = ipvm("run", "typed.wasm:swap", '{"x":1,"y":2}', "--json").json
    instruction = json.loads(ipvm("cat", found["ins"]).out)
    assert instruction["input"] == {"args": [{"x": 1, "y": 2}], "func": "swap"}
    assert json.loads(ipvm("cat", found["receipt"]).out)[0].keys() == {"/"}


def test_receipts_are_listed_shown_and_forgotten(ipvm: Ipvm) -> None:
    first = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json
    second = ipvm("run", "numbers.wasm:div", 1, 0, "--json").json
    listed = ipvm("receipt", "list", "--json").json["receipts"]
    assert [r["cid"] for r in listed] == [second["receipt"], first["receipt"]]
    assert listed[1] == {
        "cid": first["receipt"],
        "ins": first["ins"],
        "iss": first["iss"],
        "op": "wasm/run",
        "func": "add",
        "ok": True,
        "error": None,
        "at": first["at"],
        "secret": False,
        "differs": False,
    }
    assert (listed[0]["ok"], listed[0]["error"]) == (False, "integer-divide-by-zero")
    assert len(ipvm("receipt", "list", "--limit", 1).text.splitlines()) == 1
    for ref in (first["receipt"], first["receipt"][-8:], first["ins"]):
        shown = ipvm("receipt", "show", ref, "--json").json
        assert shown["cid"] == first["receipt"]
        assert shown["receipt"]["out"] == {"ok": 3}
        assert {"ran", "fx", "meta", "iss", "prf", "sig"} <= shown["receipt"].keys()
    assert f"receipt      {first['receipt']}" in ipvm("receipt", "show", first["ins"]).text
    assert ipvm("receipt", "forget", first["receipt"]).status == 0
    assert ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["cached"] is False


def test_an_archive_carries_a_receipt_to_another_home(ipvm: Ipvm, here: Path) -> None:
    (here / "data").write_bytes(bytes(range(256)) * 100)
    made = ipvm("run", "typed.wasm:echo", "@data", "--json").json
    receipt = made["receipt"]
    assert ipvm("export", receipt[-8:], "-o", "r.car").status == 0
    verified = ipvm("receipt", "verify", "r.car", "--json").json["verified"]
    assert [(r["cid"], r["iss"]) for r in verified] == [(receipt, made["iss"])]
    assert "and the signature" in ipvm("receipt", "verify", receipt).text
    other = ("--home", here / "other")
    report = ipvm(*other, "import", "r.car", "--json").json
    assert (report["roots"], report["receipts"]) == ([receipt], [receipt])
    assert ipvm(*other, "cat", made["output"]).out == bytes(range(256)) * 100
    assert ipvm(*other, "receipt", "verify", receipt).status == 0
    again = ipvm(*other, "run", "typed.wasm:echo", "@data", "--json").json
    assert (again["cached"], again["ins"]) == (False, made["ins"])


def test_a_trusted_issuers_receipt_is_an_answer(ipvm: Ipvm, here: Path) -> None:
    made = ipvm("run", "numbers.wasm:add", 20, 22, "--json").json
    assert ipvm("export", made["receipt"], "-o", "r.car").status == 0
    other = ("--home", here / "other")
    assert ipvm(*other, "import", "r.car").status == 0
    assert ipvm(*other, "config", "set", "trust.issuers", made["iss"]).status == 0
    ended = ipvm(*other, "run", "numbers.wasm:add", 20, 22)
    assert (ended.text, "cached" in ended.err) == ("42\n", True)
    assert made["iss"][-7:] in ended.err


def test_an_archive_goes_through_a_pipe(ipvm: Ipvm, here: Path) -> None:
    (here / "data").write_bytes(b"data")
    cid = ipvm("add", "data").text.strip()
    archive = ipvm("export", cid, "-o", "-").out
    assert ipvm("import", "-", "--home", here / "other", stdin=archive).text.strip() == cid
    assert ipvm("cat", cid, "--home", here / "other").out == b"data"


def test_code_and_inputs_travel_when_asked(ipvm: Ipvm, here: Path) -> None:
    (here / "data").write_bytes(bytes(9000))
    receipt = ipvm("run", "typed.wasm:length", "@data", "--json").json["receipt"]
    thin = ipvm("export", receipt, "-o", "-").out
    thick = ipvm("export", receipt, "-o", "-", "--with-code", "--with-inputs").out
    module = (here / "typed.wasm").read_bytes()
    assert module not in thin and module in thick
    assert len(thick) > len(thin) + 9000


def test_why_shows_code_and_inputs_down_to_names(ipvm: Ipvm, here: Path) -> None:
    (here / "data").write_bytes(bytes(9000))
    data = ipvm("add", "data", "--name", "zeros").text.strip()
    made = ipvm("run", "typed.wasm:echo", "@data", "--json").json
    for ref in (made["receipt"], made["ins"]):
        tree = ipvm("why", ref, "--json").json["why"]
        assert (tree["cid"], tree["func"], tree["iss"]) == (made["receipt"], "echo", made["iss"])
        kinds = {child["role"]: child for child in tree["children"]}
        assert kinds["module"]["cid"] == ipvm("add", "typed.wasm").text.strip()
        assert (kinds["input 0"]["cid"], kinds["input 0"]["name"]) == (data, "zeros")
    text = ipvm("why", made["receipt"]).text
    assert "by this node at " in text and "“zeros”" in text


@pytest.mark.parametrize("path", ["{here}/data", "data.wasm", "./data.wasm", "/nowhere/data"])
def test_a_name_for_a_file_says_how_to_give_one(ipvm: Ipvm, here: Path, path: str) -> None:
    (here / "data").touch()
    (here / "data.wasm").touch()
    ended = ipvm("name", "set", "one", path.format(here=here))
    assert (ended.status, "a name stands for a CID, and " in ended.err) == (2, True), ended.err
    assert "`ipvm add FILE --name NAME`" in ended.err


def test_names_and_pins_are_set_listed_and_removed(ipvm: Ipvm, here: Path) -> None:
    (here / "data").write_bytes(b"data")
    cid = ipvm("add", "data", "--name", "one").text.strip()
    assert ipvm("name", "set", "two", "one").text.strip() == cid
    assert ipvm("name", "list").text == f"{cid}  one\n{cid}  two\n"
    assert ipvm("name", "rm", "one").status == 0
    assert ipvm("name", "list", "--json").json["names"] == [{"name": "two", "cid": cid}]
    assert ipvm("pin", "add", "two", "--label", "keep").text.strip() == cid
    assert ipvm("pin", "list", "--json").json["pins"] == [{"cid": cid, "label": "keep"}]
    assert ipvm("pin", "rm", cid).status == 0
    assert ipvm("pin", "list").out == b""


def test_an_instruction_is_found_by_the_name_that_homestar_gives_it(ipvm: Ipvm, home: Path) -> None:
    known = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json["ins"]
    with Store.open(home) as store:
        found = store.instructions.get(CID.parse(known))
        assert found is not None
    other = str(found.sha3)
    assert ipvm("cat", other).out == ipvm("cat", known).out
    assert ipvm("pin", "add", other).text == f"{known}\n"
    assert ipvm("pin", "rm", other).status == 0
    assert ipvm("name", "set", "sum", other).text == f"{known}\n"
    unknown = ipvm("cat", str(CID.of(b"\xa0", DAG_CBOR, SHA3_256)))
    assert unknown.status == 5
    assert "is not here" in unknown.err


def test_gc_takes_what_nothing_needs(ipvm: Ipvm, here: Path) -> None:
    (here / "kept").write_bytes(b"kept")
    (here / "lost").write_bytes(b"lost")
    kept = ipvm("add", "kept", "--pin").text.strip()
    lost = ipvm("add", "lost").text.strip()
    assert "would remove 1 block," in ipvm("gc", "--dry-run", "--grace", "0s").text
    assert ipvm("cat", lost).status == 0
    assert ipvm("gc", "--json").json["removed"] == 0
    assert ipvm("gc", "--json", "--grace", "0s").json["removed"] == 1
    assert ipvm("cat", kept).text == "kept"
    gone = ipvm("cat", lost)
    assert (gone.status, "collected" in gone.err) == (5, True)


def test_status_counts_what_is_here(ipvm: Ipvm, home: Path) -> None:
    ipvm("run", "numbers.wasm:add", 1, 2)
    found = ipvm("status", "--json").json
    assert (found["receipts"], found["home"]) == (1, str(home))
    assert found["blocks"] >= 2
    assert found["did"] == ipvm("id", "--json").json["did"]
    assert ipvm("status").text.startswith(f"home      {home}\n")


def test_a_key_is_exported_replaced_and_imported(ipvm: Ipvm, here: Path, home: Path) -> None:
    first = ipvm("id").text.strip()
    assert ipvm("key", "export", "-o", "saved").out == b""
    assert (here / "saved").stat().st_mode & 0o777 == 0o600
    pem = ipvm("key", "export", "--pem").text
    assert pem.startswith("-----BEGIN PRIVATE KEY-----")
    refused = ipvm("key", "new")
    assert (refused.status, first in refused.err) == (2, True)
    second = ipvm("key", "new", "--force").text.strip()
    assert ipvm("id").text.strip() == second != first
    assert (home / f"key-{first[-8:]}.old").stat().st_mode & 0o777 == 0o600
    assert ipvm("key", "import", "-", stdin=pem.encode()).status == 2
    assert ipvm("key", "import", "saved", "--force").text.strip() == first
    assert ipvm("key", "import", "-", stdin=pem.encode()).text.strip() == first
    assert ipvm("id").text.strip() == first


def test_a_backup_restores_what_was_there(ipvm: Ipvm, here: Path) -> None:
    made = ipvm("run", "numbers.wasm:add", 1, 2, "--json").json
    assert ipvm("backup", "saved").status == 0
    other = ("--home", here / "other")
    assert ipvm(*other, "restore", here / "saved").status == 0
    listed = ipvm(*other, "receipt", "list", "--json").json["receipts"]
    assert [r["cid"] for r in listed] == [made["receipt"]]
    assert ipvm(*other, "run", "numbers.wasm:add", 1, 2, "--json").json["cached"] is True
    assert ipvm("restore", "numbers.wasm").status == 7


def test_settings_are_set_shown_and_unset(
    ipvm: Ipvm, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ipvm("config", "path").text.strip() == str(home / "config.toml")
    assert ipvm("config", "get", "limits.time").text == "60s\n"
    assert ipvm("config", "set", "limits.time", "5m").err == ""
    shown = ipvm("config", "get", "limits.time", "--json").json
    assert (shown["value"], shown["source"]) == ("300s", str(home / "config.toml"))
    monkeypatch.setenv("IPVM_LIMITS_TIME", "7s")
    noted = ipvm("config", "set", "limits.time", "6m")
    assert "is still 7s, from environment IPVM_LIMITS_TIME" in noted.err
    monkeypatch.delenv("IPVM_LIMITS_TIME")
    assert ipvm("config", "unset", "limits.time").status == 0
    listed = {s["name"]: s for s in ipvm("config", "list", "--json").json["settings"]}
    assert listed["limits.time"]["source"] == "default"
    assert len(ipvm("config", "list").text.splitlines()) == len(listed)


def test_doctor_is_content_with_a_fresh_installation(ipvm: Ipvm, home: Path) -> None:
    before = ipvm("doctor", "--json").json
    assert (before["ok"], home.exists()) == (True, False)
    assert ipvm("id").status == 0
    checks = ipvm("doctor", "--deep", "--json").json["checks"]
    assert {c["state"] for c in checks} == {"ok"}, checks
    assert {"python", "packages", "sqlite", "engine", "home", "key", "clock", "store"} <= {
        c["name"] for c in checks
    }


@pytest.mark.parametrize("deep", [(), ("--deep",), ("--repair",)])
@pytest.mark.parametrize("names", [(), ("foreign",), ("key",)])
def test_doctor_makes_nothing_where_there_is_no_database(
    ipvm: Ipvm, home: Path, deep: tuple[str, ...], names: tuple[str, ...]
) -> None:
    home.mkdir(mode=0o755)
    for name in names:
        (home / name).touch(mode=0o600)
    checks = {c["name"]: c for c in ipvm("doctor", *deep, "--json").json["checks"]}
    assert "there is no database" in checks["store"]["text"]
    assert checks["store"]["state"] == ("warning" if "key" in names else "ok")
    assert "is gone" not in checks["key"]["text"]
    assert {path.name for path in home.iterdir()} == set(names)
    assert home.stat().st_mode & 0o777 == 0o755


def test_doctor_claims_no_lost_key_where_the_database_cannot_tell(ipvm: Ipvm, home: Path) -> None:
    home.mkdir()
    (home / "ipvm.db").write_bytes(b"garbage" * 1000)
    ended = ipvm("doctor", "--json")
    checks = {c["name"]: c for c in ended.json["checks"]}
    assert (ended.status, checks["store"]["state"], checks["key"]["state"]) == (
        7,
        "failed",
        "warning",
    )
    assert "does not tell whether there was one" in checks["key"]["text"]


def test_doctor_names_variables_that_mean_nothing(
    ipvm: Ipvm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IPVM_LIMIT_FUEL", "1")
    ended = ipvm("doctor")
    assert (ended.status, "IPVM_LIMIT_FUEL is set but means nothing" in ended.text) == (0, True)


def test_doctor_sees_a_package_that_was_overwritten(
    ipvm: Ipvm, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "sync").mkdir()
    (here / "sync/__init__.py").write_text("print 'python 2'\n")
    from lite.cli import doctor

    monkeypatch.setattr(doctor, "_location", lambda name: here / "sync")
    ended = ipvm("doctor")
    assert (ended.status, "force-reinstall" in ended.text) == (6, True)


def test_a_cache_that_keeps_nothing_is_said_by_run_and_doctor(ipvm: Ipvm, home: Path) -> None:
    assert ipvm("id").status == 0
    (home / "cache").write_bytes(b"in the way")
    said = "compiled modules are not kept in"
    assert said in ipvm("run", "numbers.wasm:add", 1, 2).err
    assert said not in ipvm("run", "numbers.wasm:add", 1, 2).err
    (found,) = (c for c in ipvm("doctor", "--json").json["checks"] if c["name"] == "cache")
    assert (found["state"], "Not a directory" in found["text"]) == ("warning", True)


def test_completion_scripts_ask_this_command(ipvm: Ipvm, process: Start) -> None:
    for shell in ("zsh", "fish"):
        assert "_IPVM_COMPLETE" in ipvm("completion", shell).text
    child = process(
        env={"_IPVM_COMPLETE": "fish_complete", "COMP_WORDS": "ipvm rec", "COMP_CWORD": "rec"}
    )
    assert b"receipt" in child.communicate(timeout=30)[0]


def test_global_options_stand_before_and_after_any_verb(ipvm: Ipvm, here: Path) -> None:
    other = here / "elsewhere"
    for args in (
        ("--home", other, "--json", "--offline", "-q", "receipt", "list"),
        ("receipt", "--home", other, "--json", "list", "--offline", "-q"),
        ("receipt", "list", "--home", other, "--json", "--offline", "--quiet"),
    ):
        assert ipvm(*args).json["receipts"] == []
    assert other.is_dir()
    for args in (("--version",), ("receipt", "list", "--version"), ("version",)):
        assert ipvm(*args).text == "ipvm 0.1.0\n"
    assert ipvm("version", "--json").json["version"] == "0.1.0"
    for args in (("-h",), ("receipt", "-h"), ("receipt", "list", "--help")):
        assert ipvm(*args).text.startswith("Usage: ipvm")


def test_a_backup_is_written_to_regular_files_only(ipvm: Ipvm, here: Path) -> None:
    os.mkfifo(here / "pipe")
    for target in ("pipe", "-", os.devnull):
        for verb in ("backup", "restore"):
            ended = ipvm(verb, target)
            assert (ended.status, "regular file" in ended.err) == (2, True), (verb, target)
    assert (here / "pipe").is_fifo()


def test_homes_of_nodes_are_left_out_of_folders(ipvm: Ipvm, here: Path) -> None:
    """They hold secret keys, and the database of this one would be read while it grows by that."""
    ipvm("--home", "folder/boat", "id")
    (here / "folder" / "a").write_text("a")
    ended = ipvm("--home", "folder/mine", "add", "folder")
    assert (ended.status, "left out 2 homes of nodes" in ended.err) == (0, True)
    assert ipvm("--home", "folder/mine", "ls", ended.text.strip()).text.split()[-1] == "a"
    for path in ("folder/boat", "folder/boat/key", "folder/boat/ipvm.db", "folder/mine"):
        ended = ipvm("add", path)
        assert (ended.status, "secret key" in ended.err) == (2, True), path
    (here / "folder" / "mine" / "photo").write_text("mine")
    assert ipvm("add", "folder/mine/photo").status == 0


def test_what_a_folder_leaves_out_is_said(ipvm: Ipvm, here: Path) -> None:
    (here / "folder").mkdir()
    (here / "folder" / "a").write_text("a")
    (here / "folder" / "link").symlink_to("a")
    assert "left out 1" in ipvm("add", "folder").err


def test_a_large_folder_is_spread_over_blocks_and_used_like_any_other(
    ipvm: Ipvm, here: Path
) -> None:
    large = here / "top" / "large"
    large.mkdir(parents=True)
    for number in range(1000):
        (large / f"{number:0228d}").write_text(str(number))
    cid = ipvm("add", "top").out.decode().split()[0]
    name = f"{777:0228d}"
    assert ipvm("cat", f"{cid}/large/{name}").out == b"777"
    assert ipvm("ls", f"{cid}/large").out.count(b"\n") == 1000
    assert ipvm("cat", f"{cid}/large/missing").status == 5
    ipvm("pin", "add", cid)
    ipvm("gc")
    assert ipvm("ls", f"{cid}/large").out.count(b"\n") == 1000
    assert ipvm("export", cid, "--out", "folder.car").status == 0
    shutil.rmtree(here / "top")
    assert ipvm("--home", "other", "import", "folder.car").status == 0
    assert ipvm("--home", "other", "cat", f"{cid}/large/{name}").out == b"777"


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no /dev/zero")
def test_a_device_is_no_file(ipvm: Ipvm) -> None:
    did = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
    policy = ("ucan", "delegate", "--to", did, "--cmd", "/wasm/run", "--policy", "@/dev/zero")
    for words in (("add", "/dev/zero"), ("run", "/dev/zero:f"), ("import", "/dev/zero"), policy):
        assert ipvm(*words).status == 2, words
    assert "Name a file or a pipe" in ipvm(*policy).err
