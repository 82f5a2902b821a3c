"""What a check looks at first, how much it reads, and what a refusal says of its place."""

from __future__ import annotations

from lite.ucan import refusals
from tests.ucan_support import (
    LAPTOP,
    PHONE,
    PI,
    TABLET,
    Gate,
    delegation,
    foreign_delegation,
    foreign_invocation,
    invocation,
    three_links,
)
from tests.unit.test_ucan_proofs import refused

FAT = [["!=", ".zz?", [[]] * 3_000]]


def test_policies_come_last_because_they_cost_the_most() -> None:
    """The first proof does not hold of the arguments, and that is not what is said."""
    never = [["==", ".rsc", "never"]]
    one, two = delegation(PI, LAPTOP, policy=never), delegation(LAPTOP, PHONE, command="/other")
    refused(
        Gate().hold([one, two]),
        invocation(PHONE, [one, two]).data,
        refusals.CommandNotCovered,
        "7h",
    )
    gate = Gate().hold([one])
    gate.revocations.add(one.cid, frozenset({PI.did}))
    refused(gate, invocation(LAPTOP, [one]).data, refusals.Revoked, "7j")
    refused(Gate().hold([one]), invocation(PHONE, [one]).data, refusals.WrongInvoker, "8")
    refused(Gate().hold([one]), invocation(LAPTOP, [one]).data, refusals.PolicyNotMet, "7i")


def test_the_values_of_one_token_and_of_one_check_are_bounded() -> None:
    many = foreign_delegation(PI, LAPTOP, pol=[["!=", ".zz?", [[]] * 5_000]])
    asked = invocation(LAPTOP, [many])
    error = refused(Gate().hold([many]), asked.data, refusals.TooManyItems, "7b")
    assert "over 4096 values" in str(error)
    chain = [delegation(PI, LAPTOP, policy=FAT), delegation(LAPTOP, PHONE, policy=FAT)]
    Gate().hold(chain[:1]).check(invocation(LAPTOP, chain[:1]).data)
    error = refused(Gate().hold(chain), invocation(PHONE, chain).data, refusals.TooManyItems, "7b")
    assert (error.position, error.code) == (1, "ucan-items-too-many")
    asked = foreign_invocation(PI, [], args={"x": [[]] * 5_000})
    refused(Gate(), asked.data, refusals.TooManyItems, "1")


def test_a_refusal_has_its_place_and_details_for_programs() -> None:
    chain = three_links(policy=[["==", ".rsc", "other"]])
    error = refused(Gate().hold(chain), invocation(TABLET, chain).data, refusals.PolicyNotMet, "7i")
    place = error.place()
    assert (place["step"], place["proof"], place["token"]) == ("7i", 3, str(chain[2].cid))
    assert place["details"] == {"statement": 1, "policy": ["==", ".rsc", "other"]}
    text = str(error)
    assert "proof 3 of 3" in text
    assert "policy statement 1" in text
    assert '.rsc is "ipfs://x"' in text
    assert text.endswith("(step 7i)")
