"""Looking at what a provider says came of a job, before anything of it is believed or kept.

code             the receipt
bad-receipt      is none
bad-signature    is not signed by whom it names
wrong-issuer     is another node's
other-invocation answers another job
other-step       is about another instruction
no-source        was made from what its issuer did not answer as it has to
expired-receipt  does not hold any more
bad-statement    is a refusal of another form, or another's
wrong-block      has a result whose bytes are not what it says
no-block         has a result that its issuer does not give
"""

from __future__ import annotations

from typing import Final

from lite.errors import IntegrityError, IpvmError, SignatureError
from lite.frozen import frozen
from lite.ipld.cid import CID
from lite.model.receipt import Receipt
from lite.offload import refused
from lite.store.outbox_rows import Job

__all__ = ["CODES", "Unfit", "look", "statement"]

CODES: Final = (
    *("bad-receipt", "bad-signature", "wrong-issuer", "other-invocation", "other-step"),
    *("no-source", "expired-receipt", "bad-statement", "wrong-block", "no-block"),
)


@frozen
class Unfit:
    """Why an answer is not taken."""

    code: str
    message: str


def look(data: bytes, job: Job, wanted: CID, now: int) -> Receipt | Unfit:
    """A receipt for a job, or why it is none.

    Args:
        wanted: the instruction that it has to be about.
        now: seconds since 1970.
    """
    try:
        receipt = Receipt.parse(data)
    except SignatureError as error:
        return Unfit("bad-signature", str(error))
    except (IntegrityError, IpvmError) as error:
        return Unfit("bad-receipt", str(error))
    if receipt.issuer != job.provider:
        return Unfit("wrong-issuer", f"it was signed by {receipt.issuer}")
    if receipt.invocation != job.invocation:
        return Unfit("other-invocation", f"it answers {receipt.invocation}")
    if receipt.instruction != wanted or receipt.mode:
        return Unfit("other-step", f"it is about {receipt.instruction}, not {wanted}")
    if receipt.expires_at is not None and now > receipt.expires_at:
        return Unfit("expired-receipt", f"it held until {receipt.expires_at}")
    return receipt


def statement(data: bytes, job: Job) -> refused.Refused | Unfit:
    """What a provider says of a job that it did not do, or why that says nothing."""
    try:
        told = refused.read(data)
    except IpvmError as error:
        return Unfit("bad-statement", str(error))
    if told.provider != job.provider or told.invocation != job.invocation:
        return Unfit("bad-statement", f"it is of {told.provider}, about {told.invocation}")
    return told
