"""What an http operation sends: URL, headers and body, each checked before anything goes out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from lite.errors import CodecError, IntegrityError, LimitError, SignatureError
from lite.frozen import frozen
from lite.ipld.cid import CID, DAG_CBOR
from lite.limits import NESTING_MAX
from lite.model.instruction import Instruction
from lite.model.receipt_shape import COMMAND
from lite.ops.arguments import Arguments, Bytes, bad
from lite.ops.base import Ready

HOST_CHARS_MAX: Final = 253  # RFC 1035, written out
HEADERS_MAX: Final = 100
HEADER_BYTES_MAX: Final = 8192
LINKS_MAX: Final = 10_000  # expanded inside of one JSON body
_PORTS: Final = {"http": 80, "https": 443}
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_HOST = re.compile(r"[A-Za-z0-9._~:-]+")
_OURS: Final = frozenset(
    {"connection", "content-length", "expect", "host", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "proxy-authorization"}
)
"""Headers that frame the message: they are set here, because a wrong one splits it in two."""

_UNSAFE = re.compile(r"[^\x21-\x7e]")


@frozen
class Url:
    """An http or https URL.

    Attributes:
        host: name or address, without brackets.
        target: path and query as they are sent.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def host_header(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Without path and query, which may hold what is secret: for messages."""
        return f"{self.scheme}://{self.host_header}"


@frozen
class Request:
    """One request, ready to be sent.

    Attributes:
        headers: names in lower case; without those that frame the message.
        decode: the reply may be compressed, and is taken apart here.
    """

    method: str
    url: Url
    headers: Mapping[str, str]
    body: Bytes
    decode: bool


def parse_url(text: str) -> Url:
    """Read a URL; raises `GuestFailure` (`bad-argument`) for what is none, or names a user."""
    from urllib.parse import quote, urlsplit

    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise bad(f"the URL cannot be read: {error}") from None
    if parts.scheme not in _PORTS:
        raise bad(f"an http or https URL is needed, not {parts.scheme}:")
    if "@" in parts.netloc:
        raise bad(
            "the URL names a user: an instruction is data that others may see; "
            "put name and password into the file that ops.http_netrc names"
        )
    host = parts.hostname or ""
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            raise bad("the host in the URL is not a name") from None
    if not _HOST.fullmatch(host) or len(host) > HOST_CHARS_MAX:
        raise bad("the URL has no host, or one that is not a name")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    target = _UNSAFE.sub(lambda found: quote(found[0]), target)
    return Url(parts.scheme, host, _PORTS[parts.scheme] if port is None else port, target)


def make_request(ready: Ready, given: Arguments, method: str) -> Request:
    """The request of an instruction.

    Raises:
        GuestFailure: `bad-argument`.
    """
    url = parse_url(str(ready.instruction.rsc))
    headers = _headers(given)
    body = _body(ready, given, headers)
    nonce = ready.instruction.nnc
    if nonce and method != "GET":
        headers.setdefault("idempotency-key", _key(ready.instruction))
    decode = "accept-encoding" not in headers
    if decode:
        headers["accept-encoding"] = "gzip"
    headers.setdefault("user-agent", "ipvm-lite")
    headers.setdefault("accept", "*/*")
    return Request(method, url, headers, body, decode)


def _headers(given: Arguments) -> dict[str, str]:
    headers: dict[str, str] = {}
    pairs = given.named_texts("headers")
    if len(pairs) > HEADERS_MAX:
        raise bad(f"input.headers has more than {HEADERS_MAX} entries")
    for name, value in pairs.items():
        lower = name.lower()
        if not _NAME.fullmatch(name):
            raise bad(f"input.headers: {name[:64]!r} is not the name of a header")
        if not _VALUE.fullmatch(value) or len(value) > HEADER_BYTES_MAX:
            raise bad(f"input.headers.{name[:64]}: control characters, or too long")
        if lower in _OURS:
            raise bad(f"input.headers.{name}: this header is set by the operation itself")
        if lower in headers:
            raise bad(f"input.headers: {lower} is there twice")
        headers[lower] = value.strip(" \t")
    return headers


def _body(ready: Ready, given: Arguments, headers: dict[str, str]) -> Bytes:
    if "json" not in given:
        return given.bytes("body")
    if "body" in given:
        raise bad("input.body and input.json: only one of them")
    from lite.ipld import dag_json

    try:
        data = dag_json.encode(_Links(ready).filled(given.given["json"], 0))
    except CodecError as error:
        raise bad(f"input.json cannot be JSON: {error}") from None
    headers.setdefault("content-type", "application/json")
    return Bytes.of(data)


class _Links:
    """Links inside of a JSON body stand for what they link to, as everywhere: a value for itself,
    a file for its bytes. A link to a receipt, by which an error names its cause, stays a link: what
    that receipt is about need not be here."""

    def __init__(self, ready: Ready) -> None:
        self._content = ready.content
        self._bytes_left = ready.limits.output_bytes
        self._links_left = LINKS_MAX

    def filled(self, value: Any, depth: int) -> Any:
        if depth > NESTING_MAX:
            raise bad(f"input.json: nested deeper than {NESTING_MAX} levels")
        if isinstance(value, dict):
            return {key: self.filled(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item, depth + 1) for item in value]
        return self._linked(value, depth) if isinstance(value, CID) else value

    def _linked(self, cid: CID, depth: int) -> Any:
        content = self._content.get(cid)
        if content is None:
            raise bad(f"input.json: the content of {cid} is not here")
        self._bytes_left -= content.size
        self._links_left -= 1
        if self._bytes_left < 0 or self._links_left < 0:
            raise bad("input.json: too large with what its links hold")
        data = content.read()
        if content.kind == "file":
            return data
        from lite.ipld import dag_cbor

        if cid.codec == DAG_CBOR and _is_receipt(data):
            return cid
        return self.filled(dag_cbor.decode_trusted(data), depth + 1)


def _is_receipt(data: bytes) -> bool:
    if COMMAND.encode() not in data:
        return False
    from lite.model.receipt import Receipt

    try:
        Receipt.parse(data, verify=False)
    except (CodecError, IntegrityError, LimitError, SignatureError):
        return False
    return True


def _key(instruction: Instruction) -> str:
    """The nonce as a header: text as it is when a header can hold it, else in hex."""
    nonce = instruction.nnc
    if isinstance(nonce, str) and re.fullmatch(r"[\x21-\x7e]+", nonce):
        return nonce
    return (nonce.encode() if isinstance(nonce, str) else nonce).hex()
