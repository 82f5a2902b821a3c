"""What the owner says by commands stays, however soon daemons dial on it."""

from __future__ import annotations

import json
from pathlib import Path

from lite.peering.book import ANSWERS, BLOCKS, READ
from tests.daemon_support import ipvm as spawned
from tests.integration.conftest import NUMBERS, Ipvm
from tests.meeting_support import homes, start
from tests.peering_support import key_of
from tests.wat_guests import wat

ROUNDS = 4


def test_rights_are_what_was_said_last_however_often_two_nodes_pair_and_part(
    ipvm: Ipvm, tmp_path: Path
) -> None:
    with homes(tmp_path, wat(NUMBERS), "a", "k") as made:
        start(made)
        a, k = made
        at_a, at_k = (("--home", home.path, "peers") for home in made)
        for number in range(ROUNDS):
            code = ipvm(*at_a, "invite", "--read", "--blocks", "--answers").text.strip()
            said = json.loads(spawned(k.path, "peers", "add", code, "--name", "A", "--json"))
            assert said["rights"] == [ANSWERS, BLOCKS, READ], number
            assert a.sync()["in_sync"] and k.sync()["in_sync"], number
            for at in (at_a, at_k):
                (peer,) = ipvm(*at, "list", "--json").json["peers"]
                assert (peer["rights"], peer["in_sync"]) == ([ANSWERS, BLOCKS, READ], True), number
            assert ipvm(*at_a, "untrust", k.did).status == 0
            assert ipvm(*at_k, "remove", "A").status == 0
            assert not k.sync()["peers"]  # what it dialled for, it is told no more
            (peer,) = ipvm(*at_a, "list", "--json").json["peers"]
            assert peer["rights"] == [], number
            left = ipvm(*at_k, "list", "--json").json["peers"]
            assert [one["rights"] for one in left] in ([], [[]]), number


def test_an_address_that_is_none_gives_no_right(ipvm: Ipvm) -> None:
    pi = key_of("pi").did
    assert ipvm("peers", "add", f"{pi}@nowhere", "--read").status == 2
    assert ipvm("peers", "list", "--json").json["peers"] == []
