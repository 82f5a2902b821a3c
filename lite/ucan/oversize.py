"""What is too large about a token that is too large to be read.

Only the heads of its items are looked at, and of them only so many, so that the answer takes a few
milliseconds whatever the token is. The first of these that is found counts: nesting, proofs,
policy; else it is the token as a whole.
"""

from __future__ import annotations

from typing import Final

from lite.errors import CodecError, Rule
from lite.limits import PROOFS_MAX, TOKEN_BYTES_MAX
from lite.ucan.heads import LIST, MAP, Walk
from lite.ucan.policy_parse import STATEMENTS_MAX

HEADS_MAX: Final = 2_000

_PAYLOAD = b"ucan/"


def complaint(data: bytes) -> CodecError:
    """The error for a token of more than `TOKEN_BYTES_MAX` bytes; its rule is "nesting", "proofs",
    "policy-size" or "token-bytes"."""
    whole = f"a token of {len(data)} bytes, at most {TOKEN_BYTES_MAX}"
    walk = Walk(data, HEADS_MAX)
    try:
        found = _in_token(walk)
    except IndexError:
        found = None
    except CodecError as error:
        if error.rule == "nesting":
            return CodecError(f"{whole}: {error}", rule=error.rule)
        found = None
    if found is None:
        return CodecError(whole, rule="token-bytes")
    rule, text = found
    return CodecError(f"{whole}: {text}", rule=rule)


def _in_token(walk: Walk) -> tuple[Rule, str] | None:
    major, _ = walk.head()
    if major != LIST:
        return None
    walk.skip()  # the signature
    major, pairs = walk.head()
    if major != MAP:
        return None
    for _ in range(pairs):
        if not walk.text().startswith(_PAYLOAD):
            walk.skip()
            continue
        major, fields = walk.head()
        return _in_payload(walk, fields) if major == MAP else None
    return None


def _in_payload(walk: Walk, fields: int) -> tuple[Rule, str] | None:
    for _ in range(fields):
        name = walk.text()
        look = _LOOKS.get(name)
        if look is None:
            walk.skip()
        elif (found := look(walk)) is not None:
            return found
    return None


def _proofs(walk: Walk) -> tuple[Rule, str] | None:
    before = walk.at, walk.left
    major, count = walk.head()
    if major == LIST and count > PROOFS_MAX:
        return "proofs", f"{count} proofs, at most {PROOFS_MAX} are followed"
    walk.at, walk.left = before
    walk.skip()
    return None


def _policy(walk: Walk) -> tuple[Rule, str] | None:
    before = walk.at, walk.left
    major, count = walk.head()
    if major == LIST and count > STATEMENTS_MAX:
        return "policy-size", f"{count} policy statements, at most {STATEMENTS_MAX}"
    walk.at, walk.left = before
    try:
        walk.skip()
    except IndexError:
        if walk.left >= 0:
            raise
        return "policy-size", f"a policy of more than {HEADS_MAX} values"
    size = walk.at - before[0]
    if size > TOKEN_BYTES_MAX:
        return "policy-size", f"a policy of {size} bytes"
    return None


_LOOKS: Final = {b"prf": _proofs, b"pol": _policy}
