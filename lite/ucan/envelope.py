"""The UCAN 1.0 envelope: a signed map under a tag, in canonical DAG-CBOR.

    token     = [ signature: bytes, { "h": varsig header: bytes, tag: payload map } ]
    signature = over the encoded second item
    CID       = dag-cbor, sha2-256, of the whole token

One form serves delegations, invocations and receipts; the payloads are judged elsewhere.
Source: UCAN 1.0 spec, Envelope.
"""

from __future__ import annotations

from typing import Any, Final

from lite import keys
from lite.errors import CodecError, LimitError, SignatureError
from lite.frozen import field, frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.limits import TOKEN_BYTES_MAX
from lite.ucan import varsig
from lite.ucan.heads import Walk
from lite.ucan.show import value as shown

TAG_INVOCATION: Final = "ucan/inv@1.0.0-rc.1"
TAG_DELEGATION: Final = "ucan/dlg@1.0.0-rc.1"
INVOCATION_TAGS: Final = frozenset({TAG_INVOCATION, "ucan/inv@1.0.0"})
DELEGATION_TAGS: Final = frozenset({TAG_DELEGATION, "ucan/dlg@1.0.0"})

DELEGATION_LEAD: Final = b"ucan/dlg@"

_HEADER_KEY = "h"
_HEADS_TO_TAG = 6  # of the list, the signature, the map, two keys and the header
_HEADS_TO_COMMAND = 16  # in canonical order at most one field of the payload comes before it
_KNOWN_TAGS = INVOCATION_TAGS | DELEGATION_TAGS
# The heads of a two-item list and of a 64-byte string, which every signature known here is.
_LEAD = bytes((0x82, 0x58, keys.SIGNATURE_BYTES))
_SIGNED_FROM = len(_LEAD) + keys.SIGNATURE_BYTES


@frozen
class Token:
    """A signed payload. Equal to another when the bytes are.

    Attributes:
        data: the whole token.
        cid: of `data`.
        tag: what kind of payload, e.g. `TAG_INVOCATION`.
        payload: the decoded map, not to be changed.
        header: the varsig header.
        signature: raw bytes; of 64 in all schemes that are known here.
    """

    data: bytes
    cid: CID = field(compare=False)
    tag: str = field(compare=False)
    payload: dict[str, Any] = field(compare=False, repr=False)
    header: bytes = field(compare=False, repr=False)
    signature: bytes = field(compare=False, repr=False)

    @property
    def issuer(self) -> str:
        """The DID that claims to have signed."""
        issuer: str = self.payload["iss"]
        return issuer

    @property
    def signed(self) -> bytes:
        """The bytes that the signature covers."""
        size = len(self.signature)
        return (
            self.data[_SIGNED_FROM:] if size == keys.SIGNATURE_BYTES else self.data[_from(size) :]
        )


def sign(tag: str, payload: dict[str, Any], key: Key) -> Token:
    """Sign a payload whose `iss` is the key's DID.

    Raises:
        CodecError: the payload is outside the IPLD data model.
        LimitError: the token would be larger than `TOKEN_BYTES_MAX`.
    """
    assert payload["iss"] == key.did, "a key signs in its own name only"
    header = varsig.ED25519.header
    signed = dag_cbor.encode({_HEADER_KEY: header, tag: payload}, depth=1)
    size = _SIGNED_FROM + len(signed)
    if size > TOKEN_BYTES_MAX:
        raise LimitError(f"a token of {size} bytes, at most {TOKEN_BYTES_MAX}")
    signature = key.sign(signed)
    data = b"".join((_LEAD, signature, signed))
    return Token(data, CID.of(data, DAG_CBOR), tag, payload, header, signature)


def parse(data: bytes, cid: CID | None = None) -> Token:
    """Read a token from outside. Its signature is not checked: see `verify`.

    Args:
        cid: of `data`, when known; it is not checked.

    Raises:
        CodecError: not the canonical bytes of an envelope, an unknown tag, or too large; then its
            rule says in what.
    """
    if len(data) > TOKEN_BYTES_MAX:
        from lite.ucan import oversize

        raise oversize.complaint(data)
    return _token(data, cid or CID.of(data, DAG_CBOR), dag_cbor.decode(data))


def parse_trusted(data: bytes, cid: CID | None = None) -> Token:
    """Read a token that this node parsed and verified before it stored it.

    Args:
        cid: of `data`, when known; it is not checked.

    Raises:
        CodecError: the stored bytes are damaged.
    """
    return _token(data, cid or CID.of(data, DAG_CBOR), dag_cbor.decode_trusted(data))


def verify(token: Token) -> None:
    """Check the signature of the token against the key of its issuer, whose DID fragment counts for
    nothing.

    Raises:
        SignatureError: it does not verify, or the header does not fit the key type.
    """
    scheme = varsig.read(token.header)
    did = token.issuer.partition("#")[0]
    try:
        key_code, _ = keys.parse_did(did)
    except CodecError as error:
        raise SignatureError(f"cannot check the signature: {error}") from None
    if key_code != scheme.key_code:
        raise SignatureError(f"the header says {scheme.name}, but {did} is another key type")
    keys.verify(did, token.signed, token.signature)


def is_delegation(data: bytes) -> bool:
    """Whether the tag of a token is that of a delegation, of whatever version. Nothing else of it
    is looked at."""
    if DELEGATION_LEAD not in data:
        return False
    try:
        return _tag(Walk(data, _HEADS_TO_TAG)).startswith(DELEGATION_LEAD)
    except (IndexError, CodecError):
        return False


def command_of(data: bytes) -> bytes:
    """The command that a token names, as far as its first heads show one; else nothing. Nothing
    else of it is looked at."""
    walk = Walk(data, _HEADS_TO_COMMAND)
    try:
        _tag(walk)
        _, fields = walk.head()
        for _ in range(fields):
            if walk.text() == b"cmd":
                return walk.text()
            walk.skip()
    except (IndexError, CodecError):
        pass
    return b""


def _tag(walk: Walk) -> bytes:
    """The tag of a token; then the walk is before its payload. Raises IndexError, CodecError."""
    walk.head()
    walk.skip()  # the signature
    walk.head()
    tag = walk.text()
    if tag == _HEADER_KEY.encode():
        walk.skip()
        tag = walk.text()
    return tag


def _from(size: int) -> int:
    """Where the second item begins, behind a signature of so many bytes."""
    return 2 + size + (0 if size < 24 else 1 if size < 2**8 else 2)


def _token(data: bytes, cid: CID, value: Any) -> Token:
    if type(value) is not list or len(value) != 2 or type(value[1]) is not dict:
        raise CodecError("a token is a list of a signature and a map")
    signature, signed = value
    header = signed.get(_HEADER_KEY)
    if type(signature) is not bytes or type(header) is not bytes or len(signed) != 2:
        raise CodecError("a token is a signature, then a map of the header under h and one payload")
    tag, payload = next((key, item) for key, item in signed.items() if key != _HEADER_KEY)
    if tag not in _KNOWN_TAGS:
        raise CodecError(f"unknown token tag {shown(tag)}", rule="token-tag")
    if type(payload) is not dict:
        raise CodecError("the payload of a token is a map")
    if "iss" not in payload:
        raise CodecError("iss is missing", rule="field-missing")
    if type(payload["iss"]) is not str:
        raise CodecError(f"iss is {shown(payload['iss'])}, not a DID", rule="field-invalid")
    return Token(data, cid, tag, payload, header, signature)
