"""Bids of providers that would pass a step on."""

from __future__ import annotations

import pytest

from lite.errors import CodecError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, RAW
from lite.keys import Key
from lite.model.requires import GpuNeed, Term
from lite.needs.bids import Bid
from lite.needs.capabilities import Capabilities
from lite.needs.choice import Wish, choose
from lite.needs.requirements import Requirements

STEP = CID.of(b"step", RAW)
DID, OTHER = (Key.from_seed(bytes([n]) * 32).did for n in (1, 2))
NOW = 1_800_000_000
PLAIN = Bid(STEP, DID, until=NOW)
PASSING = Bid(STEP, DID, until=NOW, passes=True)
HAS = {DID: Capabilities(DID, ops=("wasm/run",))}
GPU = Requirements(gpu=GpuNeed())


def test_it_is_written_only_where_it_is_so() -> None:
    assert "passes" not in PLAIN.value()
    for bid in (PLAIN, PASSING):
        assert Bid.decode(bid.encode()) == bid
    for wrong in (False, 1, None):
        with pytest.raises(CodecError, match="passes: true is needed"):
            Bid.decode(dag_cbor.encode({**PLAIN.value(), "passes": wrong}))


def test_what_it_lacks_itself_does_not_matter_then() -> None:
    assert choose([PLAIN], Wish(STEP, GPU), HAS, {}, NOW).left_out[0].codes == ("gpu",)
    assert choose([PASSING], Wish(STEP, GPU), HAS, {}, NOW).best is not None


def test_what_goes_along_has_to_fit_and_nothing_of_it_is_passed_by_whom_it_is_kept_from() -> None:
    along = Wish(STEP, GPU, (Requirements(cores=99),))
    assert choose([PASSING], along, HAS, {}, NOW).left_out[0].codes == ("cpu",)
    for needs, code in (
        (Requirements(key=OTHER), "key"),
        (Requirements(anti_affinity=(Term("did", (DID,)),)), "anti-affinity"),
    ):
        found = choose([PASSING], Wish(STEP, needs), HAS, {}, NOW)
        assert [one.codes for one in found.left_out] == [(code,)]
