"""`ipvm peers` and `ipvm sync` without any daemon: what is written down, found, and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Ipvm
from tests.peering_support import key_of
from tests.store_support import damage

PI, PHONE = key_of("pi").did, key_of("phone").did
NOWHERE = "127.0.0.1:1"  # nobody listens there


def test_trust_gives_read_and_blocks_and_the_rest_by_name(ipvm: Ipvm) -> None:
    assert ipvm("peers", "trust", PI, "--name", "pi", "--json").json["rights"] == ["blocks", "read"]
    assert ipvm("peers", "trust", "pi", "--answers", "--run", "--json").json["rights"] == [
        "answers",
        "blocks",
        "read",
        "run",
    ]
    assert ipvm("peers", "untrust", "pi", "--run", "--json").json["rights"] == [
        "answers",
        "blocks",
        "read",
    ]
    assert ipvm("peers", "untrust", "pi", "--json").json["rights"] == []
    some = ipvm("peers", "trust", "pi", "--answers")
    assert "it has answers; not given: read, blocks" in some.err and "--read --blocks" in some.err
    assert "not given" not in ipvm("peers", "trust", "pi").err
    ipvm("peers", "untrust", "pi")
    shown = ipvm("peers", "list").text
    assert "pi" in shown and "no rights" in shown and PI in shown


def test_a_peer_is_named_by_its_name_or_the_end_of_its_did(ipvm: Ipvm) -> None:
    ipvm("peers", "trust", PI, "--name", "pi")
    ipvm("peers", "trust", PHONE)
    assert ipvm("peers", "name", PHONE[-6:], "phone", "--json").json["did"] == PHONE
    assert ipvm("peers", "remove", "phone", "--json").json["removed"] == PHONE
    assert [one["did"] for one in ipvm("peers", "list", "--json").json["peers"]] == [PI]
    assert ipvm("peers", "untrust", "phone").status == 5
    assert ipvm("peers", "untrust", PHONE).status == 5
    assert ipvm("peers", "trust", "did:key:zWrong").status == 2


def test_two_peers_have_two_names_and_a_node_is_no_peer_of_its_own(ipvm: Ipvm) -> None:
    ipvm("peers", "trust", PI, "--name", "pi")
    refused = ipvm("peers", "trust", PHONE, "--name", "pi")
    assert refused.status == 2 and "another peer is called pi" in refused.err
    own = ipvm("id", "-q").text.strip()
    assert "this node itself" in ipvm("peers", "trust", own).err
    for bad in ("did:x", " a", "x" * 65, "two\nlines", "a\u2028b", "bell\a", "\udcff", "@a"):
        assert ipvm("peers", "name", "pi", bad).status == 2
        assert ipvm("peers", "add", f"{PHONE}@{NOWHERE}", "--name", bad).status == 2
        assert ipvm("peers", "invite", "--wait", "--name", bad).status == 2
    assert ipvm("peers", "name", "pi", "π \N{WOMAN}\u200d\N{EAR OF RICE}").status == 0


def test_an_address_alone_gives_no_right(ipvm: Ipvm) -> None:
    added = ipvm("peers", "add", f"{PI}@{NOWHERE}", "--name", "pi")
    assert added.status == 0 and "no rights yet" in added.err
    (peer,) = ipvm("peers", "list", "--json").json["peers"]
    assert peer["rights"] == [] and peer["addresses"][0]["text"] == NOWHERE
    assert peer["link"] is None and peer["in_sync"] is None
    with_right = ipvm("peers", "add", f"{PI}@pi.local:4747", "--read", "--json").json
    assert with_right["rights"] == ["read"] and len(with_right["addresses"]) == 2
    for bad in (PI, f"{PI}@nowhere", f"{PI}@host:99999"):
        assert ipvm("peers", "add", bad).status == 2


def test_a_mistyped_code_is_told_before_anything_is_dialled(ipvm: Ipvm) -> None:
    refused = ipvm("peers", "add", "2X88Y-C9XYW")
    assert refused.status == 2 and "mistyped" in refused.err


def test_an_invitation_needs_somebody_who_listens(ipvm: Ipvm) -> None:
    refused = ipvm("peers", "invite")
    assert refused.status == 2 and "--wait" in refused.err and not refused.out
    assert ipvm("peers", "invite", "--for", "8d").status == 2


def test_sync_says_that_nobody_was_reached_and_why(ipvm: Ipvm) -> None:
    nobody = ipvm("sync")
    assert nobody.status == 3 and "no peer has any right" in nobody.err
    ipvm("peers", "add", f"{PI}@{NOWHERE}", "--name", "pi", "--read")
    ipvm("peers", "trust", PHONE, "--name", "phone")
    would = ipvm("sync", "--dry-run")
    assert would.status == 0 and NOWHERE in would.text and "not known" in would.text
    ipvm("ucan", "delegate", "--to", PHONE, "--cmd", "/ipvm/records/read", "--exp", "1h")
    shares = {one["name"]: one["sets"] for one in ipvm("sync", "--dry-run", "--json").json["peers"]}
    assert shares == {name: ["letters", "capabilities", "records"] for name in ("pi", "phone")}
    ended = ipvm("sync", "--once", "--json")
    assert ended.status == 3 and ended.json["in_sync"] is False
    phone, pi = sorted(ended.json["peers"], key=lambda one: str(one["name"]))
    assert phone["why"] == "where it is, is not known"
    assert pi["link"] != "connected" and pi["why"] == f"{NOWHERE}: connection refused"
    assert "not reached" in ipvm("sync", "pi", "--once").text
    assert ipvm("--offline", "sync").status == 3
    assert ipvm("sync", "--within", "soon").status == 2


def test_status_calls_nothing_in_sync_that_nobody_looked_at(ipvm: Ipvm) -> None:
    assert "not running" in ipvm("status").text
    ipvm("peers", "trust", PI, "--name", "pi")
    told = ipvm("status", "--json").json
    assert told["daemon"] is None
    (peer,) = told["peers"]
    assert peer["in_sync"] is False and peer["pending"] == ["not connected: no daemon runs"]
    text = ipvm("status").text
    assert "nothing comes or goes" in text and "in sync" not in text


def test_status_makes_no_tables_for_peers(ipvm: Ipvm, home: Path) -> None:
    import sqlite3

    ipvm("status")
    with sqlite3.connect(home / "ipvm.db") as database:
        rows = database.execute("SELECT name FROM sqlite_master WHERE name LIKE 'sync_%'")
        assert rows.fetchall() == []
    database.close()


@pytest.mark.parametrize("text", ["0/did:key:z", "x", "2/", "0", "did:key:z1"])
def test_a_trust_that_names_nobody_is_refused(ipvm: Ipvm, text: str) -> None:
    refused = ipvm("run", "numbers.wasm:add", 1, 2, "--trust", text)
    assert refused.status == 2 and "--trust" in refused.err


def test_a_damaged_list_of_peers_is_no_bug_but_a_damaged_database(ipvm: Ipvm, home: Path) -> None:
    ipvm("peers", "trust", PI, "--name", "pi")
    damage(home, "sync_peer")
    for command in (["list"], ["trust", "pi"], ["untrust", "pi"], ["add", f"{PHONE}@{NOWHERE}"]):
        told = ipvm("peers", *command)
        assert (told.status, "ipvm restore" in told.err) == (6, True), told.err
    told = ipvm("sync", "--within", "1s")
    assert (told.status, "ipvm restore" in told.err) == (6, True), told.err


def test_who_reads_by_a_delegation_is_named_until_that_is_revoked(ipvm: Ipvm) -> None:
    ipvm("peers", "add", f"{PI}@{NOWHERE}", "--name", "pi", "--read")
    ipvm("ucan", "delegate", "--to", PI, "--cmd", "/ipvm", "--exp", "1h")
    token = ipvm("ucan", "list", "--json").json["tokens"][0]["cid"]
    taken = ipvm("peers", "untrust", "pi")
    assert taken.status == 0
    assert "still reads records and has blocks here, by a delegation" in taken.err
    listed = ipvm("peers", "list").text
    assert "no rights, reads by a delegation, has blocks by a delegation" in listed
    told = ipvm("peers", "list", "--json").json
    assert told["peers"][0]["delegated"] and told["readers"] == [PI]
    assert told["peers"][0]["delegated_blocks"] and told["block_readers"] == [PI]
    assert "readers   1 more, by delegations" in ipvm("status").text
    gone = ipvm("peers", "remove", "pi")
    assert "still reads" in gone.err and "still reads" not in gone.text
    assert f"{PI} is no peer, and reads records and has blocks by" in ipvm("peers", "list").err
    ipvm("ucan", "revoke", token)
    assert ipvm("peers", "list", "--json").json["readers"] == []
    assert "reads records" not in ipvm("peers", "list").err
    assert "readers" not in ipvm("status").text


def test_who_has_blocks_alone_by_a_delegation_is_named_for_just_that(ipvm: Ipvm) -> None:
    ipvm("ucan", "delegate", "--to", PI, "--cmd", "/ipvm/blocks/read", "--exp", "1h")
    told = ipvm("peers", "list", "--json").json
    assert (told["readers"], told["block_readers"]) == ([], [PI])
    assert f"{PI} is no peer, and has blocks by a delegation" in ipvm("peers", "list").err
    assert "readers   1 more, by delegations" in ipvm("status").text
