"""Containers: several tokens in one piece of bytes or text.

    { "ctn-v1": [token bytes, …] }   as DAG-CBOR, the tokens sorted and each there once

then perhaps gzip, then perhaps base64, then one ASCII letter in front that says which:

    @ raw   B base64, padded   C base64url, not padded       with gzip: M O P, or D E F (ucantone)

Without any letter it is the body of an HTTP request. Only the forms without gzip are written; all
are read, also unsorted ones, as those of others are. A container holds no CIDs: they are computed.
What is read is bounded before it is built: the bytes while they are inflated, the number of tokens
by the head of their list.
Source: UCAN Container 0.1.0.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final, Literal

from lite.errors import CodecError, LimitError
from lite.ipld import dag_cbor
from lite.limits import MIB, TOKEN_BYTES_MAX
from lite.ucan.heads import BYTES, LIST, Walk, head
from lite.ucan.show import printable

CONTAINER_BYTES_MAX: Final = 4 * MIB  # of the CBOR, before base64
INFLATED_BYTES_MAX: Final = MIB  # of the CBOR behind gzip: 4 KB can grow to 4 MiB, in over 10 ms
TOKENS_MAX: Final = 4096

Form = Literal["raw", "base64", "base64url", "bare"]

_KEY = "ctn-v1"
_OPENING = b"\xa1\x66ctn-v1"  # a map of one pair, and its key
_FIRST_BYTES = 32
_LETTERS: Final[dict[str, bytes]] = {"raw": b"@", "base64": b"B", "base64url": b"C", "bare": b""}
# Letter -> whether the rest is text, and whether gzip is below that.
_FORMS: Final = {
    b"@": (False, False),
    b"B": (True, False),
    b"C": (True, False),
    b"M": (False, True),
    b"O": (True, True),
    b"P": (True, True),
    b"D": (False, True),
    b"E": (True, True),
    b"F": (True, True),
}
_BARE = b"\xa1"  # a CBOR map of one pair
_TOKEN = b"\x82"  # a CBOR list of two items
_LIST_IN_BASE64 = b"g"  # that list, and others of up to three items
_TOKEN_IN_BASE64 = (b"gk", b"gl", b"g")  # that list, then the head of a byte string, or the end
_URL_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\n\r\v\f"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"  # which some editors put before a text
_LINE_ENDS = (b"", b"\n", b"\r\n")
_GZIP = b"\x1f\x8b"
_GZIP_MEMBERS_MAX = 16
_STANDARD_TO_URL = bytes.maketrans(b"+/", b"-_")


def write(tokens: Iterable[bytes], form: Form = "base64") -> bytes:
    """A container of the tokens, the same for the same set of them.

    Args:
        form: "bare" for the body of an HTTP request; the text forms are ASCII.

    Raises:
        LimitError: more than `TOKENS_MAX`, or more than `CONTAINER_BYTES_MAX` bytes.
    """
    unique = sorted(set(tokens))
    data = dag_cbor.encode({_KEY: unique})
    if len(unique) > TOKENS_MAX or len(data) > CONTAINER_BYTES_MAX:
        raise LimitError(
            f"{len(unique)} tokens of {len(data)} bytes in all, at most {TOKENS_MAX} and "
            f"{CONTAINER_BYTES_MAX} fit into a container"
        )
    return _LETTERS[form] + _to_base(data, form)


def read(data: bytes) -> tuple[bytes, ...]:
    """The tokens in a container of any form, in its order, each once. They are not looked into.

    In the text forms white space, the alphabet and padding of base64 do not matter. In all of them
    a byte order mark in front does not, nor a line end behind, as editors and shells add them.

    Raises:
        CodecError: not a container, or one beyond the bounds; it says why, and its rule is then
            "container-bytes" or "container-tokens".
    """
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if data[:1] == _BARE:
        return _tokens(data)
    letter = data.lstrip(_SPACE)[:1]
    if letter not in _FORMS:
        if not letter:
            raise CodecError("not a container, nor a token: it is empty")
        raise CodecError(f"not a container, nor a token: none begins with {_beginning(data)}")
    text, zipped = _FORMS[letter]
    body = _from_base64(data.translate(None, _SPACE)[1:]) if text else data.lstrip(_SPACE)[1:]
    return _tokens(_inflated(body) if zipped else body)


def read_any(data: bytes) -> tuple[bytes, ...]:
    """The tokens in a container, or a token by itself: its bytes, or base64 of them. What does not
    matter to `read` does not here.

    Raises:
        CodecError: neither.
    """
    plain = data.removeprefix(_BYTE_ORDER_MARK)
    if plain[:1] == _TOKEN:
        return (_without_line_end(plain),)
    text = plain.translate(None, _SPACE)
    if text[:2] in _TOKEN_IN_BASE64:
        return (_from_base64(text),)
    return read(data)


def _without_line_end(token: bytes) -> bytes:
    """A token as it is, but for a line end behind its one item, which may itself end in such bytes.
    What is no token, or too large for one, stays whole: others say what is wrong with it."""
    if token[-1:] != b"\n" or len(token) > TOKEN_BYTES_MAX + len(_LINE_ENDS[-1]):
        return token
    walk = Walk(token, TOKEN_BYTES_MAX)
    try:
        walk.skip()
    except (CodecError, IndexError):
        return token
    return token[: walk.at] if token[walk.at :] in _LINE_ENDS else token


def _beginning(data: bytes) -> str:
    """The first byte of something, in words; two letters where tokens begin with the first."""
    first = data.lstrip(_SPACE)[:1]
    if first == _LIST_IN_BASE64:
        return printable(data.translate(None, _SPACE)[:2].decode("latin-1"))
    return first.decode() if 0x20 < first[0] < 0x7F else f"byte 0x{first.hex()}"


def _tokens(data: bytes) -> tuple[bytes, ...]:
    if len(data) > CONTAINER_BYTES_MAX:
        raise _too_large(f"a container of {len(data)} bytes, at most {CONTAINER_BYTES_MAX}")
    try:
        count, at = _count(data)
        tokens: dict[bytes, None] = {}
        for _ in range(count):
            major, size, start = head(data, at)
            if major != BYTES:
                raise CodecError("not a container: an item of its list is not bytes")
            at = start + size
            tokens[data[start:at]] = None
    except IndexError:
        at = len(data) + 1
    if at > len(data):
        raise CodecError("the container is truncated: it ends early")
    if data[at:] not in _LINE_ENDS:
        raise CodecError(f"{len(data) - at} trailing bytes after the container")
    return tuple(tokens)


def _count(data: bytes) -> tuple[int, int]:
    """How many tokens there are to be, and where the first begins; raises IndexError when the data
    end before."""
    opening = data[: len(_OPENING)]
    if opening != _OPENING:
        if _OPENING.startswith(opening):
            raise IndexError
        raise CodecError(f'not a container: a map of "{_KEY}" to a list, and nothing else')
    major, count, at = head(data, len(_OPENING))
    if major != LIST:
        raise CodecError(f'not a container: a map of "{_KEY}" to a list, and nothing else')
    if count > TOKENS_MAX:
        text = f"a container of {count} tokens, at most {TOKENS_MAX}"
        raise CodecError(text, rule="container-tokens")
    return count, at


def _to_base(data: bytes, form: Form) -> bytes:
    if form == "base64":
        return b64encode(data)
    if form == "base64url":
        return b64encode(data).rstrip(b"=").translate(_STANDARD_TO_URL)
    return data


def _from_base64(text: bytes) -> bytes:
    if len(text) > 2 * CONTAINER_BYTES_MAX:
        raise _too_large(f"base64 text of {len(text)} characters, too much for a container")
    digits = text.rstrip(b"=").translate(_URL_TO_STANDARD)
    padded = digits + b"=" * (-len(digits) % 4)
    try:
        data = b64decode(padded, validate=True)
    except ValueError:
        raise CodecError("the text is not base64") from None
    if b64encode(data) != padded:
        raise CodecError("the base64 text ends in bits that are not zero")
    return data


def _inflated(data: bytes) -> bytes:
    """What gzip gives, of one member or a few in a row, as RFC 1952 has it."""
    plain = b""
    for _ in range(_GZIP_MEMBERS_MAX):
        plain, data = _inflated_member(plain, data)
        if data in _LINE_ENDS:
            return plain
        if not data.startswith(_GZIP):
            break
    raise CodecError(f"{len(data)} bytes after the gzip of the container")


def _inflated_member(plain: bytes, data: bytes) -> tuple[bytes, bytes]:
    """What came before with what the first gzip member gives, and what is behind that."""
    import zlib

    machine = zlib.decompressobj(wbits=31)
    try:
        # First so much that it shows whether it is a container, and of how many tokens.
        plain += machine.decompress(data, _FIRST_BYTES)
        if len(plain) >= _FIRST_BYTES:
            _count(plain)
        # One byte more than may be: enough to see that it is too much, however much it would be.
        left = INFLATED_BYTES_MAX + 1 - len(plain)
        plain += machine.decompress(machine.unconsumed_tail, left) if left > 0 else b""
    except zlib.error:
        raise CodecError("the container is not gzip, as its letter says") from None
    if len(plain) > INFLATED_BYTES_MAX:
        raise _too_large(f"a container of more than {INFLATED_BYTES_MAX} bytes, unpacked")
    if not machine.eof:
        raise CodecError("the gzip of the container ends early")
    return plain, machine.unused_data


def _too_large(text: str) -> CodecError:
    return CodecError(text, rule="container-bytes")
