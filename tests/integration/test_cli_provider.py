"""`ipvm provider` and `ipvm ucan send` without a daemon: what is given, shown and taken back."""

from __future__ import annotations

from pathlib import Path

from lite import Node
from lite.offload.terms import Terms, terms_of
from lite.store.jobs import Usage
from lite.ucan import container
from lite.ucan.delegation import Delegation
from sync.peers import RUN
from tests.guests import ADD
from tests.integration.conftest import Ipvm
from tests.peering_support import key_of

PHONE = key_of("phone").did


def test_enable_gives_a_delegation_with_the_bounds_and_the_right_to_ask(
    ipvm: Ipvm, home: Path
) -> None:
    ipvm("peers", "trust", PHONE, "--name", "phone")
    with Node.open(home) as node:
        module = node.add(ADD, name="add.wasm")
    bounds = ["--fuel", "10M", "--memory", "64M", "--time", "5s", "--per-day", "7"]
    told = ipvm(
        *("provider", "enable", "--for", "phone", "--module", "add.wasm", *bounds),
        *("--fuel-per-day", "1G", "--expires", "7d", "--json"),
    ).json
    terms = Terms((module,), 10**7, 64 << 20, 5_000, jobs=7, day_fuel=10**9)
    assert told["for"] == PHONE and told["terms"]["modules"] == [str(module)]
    with Node.open(home) as node:
        (cid,) = told["delegations"]
        (token,) = [one for one in node.store.tokens.delegations() if str(one.cid) == cid]
        assert terms_of(token) == terms
        assert (token.audience, token.command, token.subject) == (PHONE, "/wasm/run", node.did)
        assert token.expires_at == told["expires_at"]
    assert RUN in ipvm("peers", "list", "--json").json["peers"][0]["rights"]
    shown = ipvm("provider", "show").text
    assert "phone" in shown and "10M fuel, 64M memory, 5s, 7 jobs a day, 1G fuel a day" in shown


def test_enabling_again_takes_the_place_of_what_was_given(ipvm: Ipvm, home: Path) -> None:
    first = ipvm("provider", "enable", "--for", PHONE, "--json").json["delegations"]
    second = ipvm("provider", "enable", "--for", PHONE, "--fuel", "1M", "--json").json
    (offer,) = ipvm("provider", "show", "--json").json["offers"]
    assert [offer["delegation"]] == second["delegations"] != first
    with Node.open(home) as node:
        (cid,) = (one.cid for one in node.store.tokens.delegations() if str(one.cid) == first[0])
        assert node.store.tokens.revokers(cid) == {node.did}


def test_who_may_ask_by_a_delegation_of_another_make_is_shown(ipvm: Ipvm, home: Path) -> None:
    assert "nothing is done for others" in ipvm("provider", "show").err
    ipvm("peers", "trust", PHONE, "--name", "phone", "--run")
    shown = ipvm("provider", "show")
    assert "phone" in shown.text and "it has the right run" in shown.text
    assert "nothing is done" not in shown.err
    assert ipvm("provider", "show", "--json").json["may_run"] == [PHONE]
    ipvm("provider", "enable", "--for", "phone")
    assert ipvm("provider", "show", "--json").json["may_run"] == []


def test_disable_revokes_and_takes_the_right_away(ipvm: Ipvm, home: Path) -> None:
    ipvm("provider", "enable", "--for", PHONE)
    ipvm("provider", "enable", "--for", "anyone", "--fuel", "1M")
    assert [one["for"] for one in ipvm("provider", "show", "--json").json["offers"]] == [
        "anyone",
        PHONE,
    ]
    assert ipvm("provider", "disable", "--for", PHONE, "--op", "http/get").status == 5
    assert ipvm("provider", "disable", "--for", PHONE, "--json").json["ops"] == ["wasm/run"]
    assert ipvm("provider", "disable", "--for", "anyone").status == 0
    assert ipvm("provider", "disable", "--for", "anyone").status == 5
    assert ipvm("provider", "show", "--json").json["offers"] == []
    assert ipvm("peers", "list", "--json").json["peers"][0]["rights"] == []
    assert "nothing is done for others" in ipvm("provider", "show").err


def test_what_is_for_the_owner_alone_is_not_offered_and_wrong_bounds_are_named(
    ipvm: Ipvm,
) -> None:
    refused = ipvm("provider", "enable", "--for", PHONE, "--op", "exec/run")
    assert refused.status == 2 and "ops.allowed_for_others wasm/run,exec/run" in refused.err
    for flag, value in (("--fuel", "much"), ("--time", "x"), ("--per-day", "0")):
        wrong = ipvm("provider", "enable", "--for", PHONE, flag, value)
        assert wrong.status == 2 and flag in wrong.err
    for flag in ("--fuel", "--memory", "--time", "--output", "--fuel-per-day"):
        none = ipvm("provider", "enable", "--for", PHONE, flag, "0s" if flag == "--time" else "0")
        assert none.status == 2 and flag in none.err and "more than zero" in none.err
    assert ipvm("provider", "show", "--json").json["offers"] == []
    assert ipvm("provider", "enable", "--for", "nobody").status == 5
    own = ipvm("id", "-q").text.strip()
    assert ipvm("provider", "enable", "--for", own).status == 2


def test_use_and_refusals_of_today_are_shown(ipvm: Ipvm, home: Path) -> None:
    from lite.store.jobs import NewJob

    ipvm("peers", "trust", PHONE, "--name", "phone")
    with Node.open(home) as node:
        jobs, cid = node.store.jobs, node.add(b"x")
        (job,) = jobs.add([NewJob(cid, PHONE, PHONE, None, cid, 9, 1 << 40, b"tokens")])
        jobs.end(job, "done", b"receipt", used=Usage(1, 1_500, 250))
        jobs.refused(PHONE, "busy")
        jobs.refused("", "no-right")
    shown = ipvm("provider", "show").text
    assert "today: 1 jobs, 1500 fuel, 0.2 s" in shown
    assert "refused today: 1 x busy" in shown and "strangers" in shown
    told = ipvm("provider", "show", "--json").json
    assert told["used_today"] == {PHONE: {"jobs": 1, "fuel": 1_500, "time_ms": 250}}
    listed = ipvm("provider", "list", "--json").json["jobs"]
    assert [(one["state"], one["customer"]) for one in listed] == [("done", PHONE)]
    assert "done" in ipvm("provider", "list").text


def test_status_counts_the_jobs_of_others_by_state(ipvm: Ipvm, home: Path) -> None:
    from lite.store.jobs import NewJob

    assert ipvm("status", "--json").json["jobs"] == dict.fromkeys(
        ("queued", "running", "done", "refused"), 0
    )
    assert "for others" not in ipvm("status").text
    with Node.open(home) as node:
        jobs, cids = node.store.jobs, [node.add(bytes([at])) for at in range(4)]
        new = [NewJob(cid, PHONE, PHONE, None, cid, 9, 1 << 40, b"tokens") for cid in cids]
        first, second, third, _ = jobs.add(new)
        jobs.end(first, "done", b"receipt", used=Usage(1, 1_500, 250))
        jobs.end(second, "refused", b"receipt", code="gpu")
        jobs.change(third.number, "running", begun=True)
        jobs.refused("", "no-right")
    told = ipvm("status", "--json").json["jobs"]
    assert told == {"queued": 1, "running": 1, "done": 1, "refused": 2}
    shown = "jobs      for others: 1 running, 1 waiting, 1 done, 2 refused"
    assert shown in ipvm("status").text


def test_providers_are_known_by_url(ipvm: Ipvm) -> None:
    url = "https://jobs.example.org/"
    assert ipvm("provider", "add", url, PHONE, "--json").json == {"v": 1, "did": PHONE, "url": url}
    assert ipvm("provider", "list", "--json").json["providers"] == {PHONE: url}
    assert url in ipvm("provider", "list").text
    assert ipvm("provider", "add", "ftp://x/", PHONE).status == 2
    assert ipvm("provider", "add", url, "did:key:zWrong").status == 2
    assert ipvm("provider", "remove", PHONE).status == 0
    assert ipvm("provider", "remove", PHONE).status == 5


def test_an_invocation_is_given_to_a_peer_to_be_sent(ipvm: Ipvm, home: Path) -> None:
    phone = key_of("phone")
    ipvm("peers", "trust", PHONE, "--name", "phone")
    with Node.open(home) as node:
        node.add(ADD, name="add.wasm")
        given = Delegation.issue(
            phone, audience=node.did, subject=PHONE, command="/wasm/run", expires_at=None
        )
        node.authority.import_(container.write([given.data]))
    job = ipvm("ucan", "invoke", "--subject", PHONE, "add.wasm:add", "2", "40").text
    sent = ipvm("ucan", "send", job.strip(), "--to", "phone", "--json").json
    assert sent["to"] == PHONE
    with Node.open(home) as node:
        ((peer, raw),) = node.store.database.rows("SELECT peer, raw FROM letters_waiting")
        assert peer == PHONE and raw[:1] == b"@"
    other = key_of("tablet").did
    ipvm("peers", "trust", other)
    refused = ipvm("ucan", "send", job.strip(), "--to", other)
    assert refused.status == 2 and "not of this node to" in refused.err
