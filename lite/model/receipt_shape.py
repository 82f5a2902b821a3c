"""The form of a receipt's payload, checked field by field.

What a field may not be is refused by name, and so is any field that is not known here: a later
version may give one a meaning that changes the answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lite.errors import CodecError, IntegrityError
from lite.ipld.cid import CID, DAG_CBOR, DAG_PB, RAW
from lite.model.result import Result
from lite.ucan.envelope import INVOCATION_TAGS, Token
from lite.ucan.self_issued import Form, is_time

COMMAND: Final = "/ucan/assert/receipt"
MODE_CHARS_MAX: Final = 32

_PAYLOAD_NEEDED = ("iss", "sub", "cmd", "args", "prf", "nonce", "exp", "iat")
_PAYLOAD_KNOWN = frozenset({*_PAYLOAD_NEEDED, "meta", "cause"})
_ARGS_NEEDED = ("ran", "ins", "out")
_ARGS_KNOWN = frozenset({*_ARGS_NEEDED, "fx", "outl", "mode", "inv"})
_CODECS: Final = {"file": (RAW, DAG_PB), "dag-cbor": (DAG_CBOR,)}
_FX_KNOWN = frozenset({"fork", "join"})
_FORM = Form("receipt")
_need, _bad = _FORM.need, _FORM.bad


def check_token(token: Token) -> None:
    """Check a token that is to be a receipt, by its tag and its payload.

    Raises:
        IntegrityError: it says what is wrong.
    """
    if token.tag not in INVOCATION_TAGS:
        raise IntegrityError(f"not a receipt: a token tagged {token.tag}")
    check(token.payload)


def check(payload: Mapping[str, Any]) -> None:
    """Check the payload of a token that is to be a receipt.

    Raises:
        IntegrityError: it names the field that is wrong.
    """
    if payload.get("cmd") != COMMAND:
        raise IntegrityError(f"not a receipt: its cmd is not {COMMAND}")
    _check_kind(payload.get("args"))
    if "aud" in payload:
        raise _bad("aud", "a receipt is addressed to nobody")
    _check_keys("", payload, _PAYLOAD_NEEDED, _PAYLOAD_KNOWN)
    _check_issuer(payload)
    _need(_is_links(payload["prf"]), "prf", "a list of links is needed")
    _need(type(payload["nonce"]) is bytes, "nonce", "bytes are needed")
    _need(is_time(payload["iat"]), "iat", "whole seconds since 1970 are needed")
    _need(
        payload["exp"] is None or is_time(payload["exp"]),
        "exp",
        "null or whole seconds since 1970 are needed",
    )
    _need(type(payload.get("meta", {})) is dict, "meta", "a map is needed")
    _need("cause" not in payload or _is_link(payload["cause"]), "cause", "a link is needed")
    _need(type(payload["args"]) is dict, "args", "a map is needed")
    _check_args(payload["args"])


def _check_kind(args: Any) -> None:
    """Others write receipts of `{ran, out}` alone. What they answer cannot be looked up here."""
    if type(args) is dict and "ins" not in args and "ran" in args and "out" in args:
        raise IntegrityError(
            "a receipt of another kind: not kept because it names no instruction "
            "(args.ins: missing)"
        )


def _check_issuer(payload: Mapping[str, Any]) -> None:
    issuer, subject = payload["iss"], payload["sub"]
    if issuer != subject:
        raise _bad("iss", f"{issuer} signed for {subject}; delegates are not accepted as signers")
    # A fragment would give one key many names, each of them an issuer of its own.
    _need(type(issuer) is str and "#" not in issuer, "iss", "a DID without a fragment is needed")


def _check_args(args: Mapping[str, Any]) -> None:
    _check_keys("args.", args, _ARGS_NEEDED, _ARGS_KNOWN)
    for name in ("ran", "ins"):
        _need(_is_link(args[name]), f"args.{name}", "a link is needed")
    _need("inv" not in args or _is_link(args["inv"]), "args.inv", "a link is needed")
    try:
        out = Result.from_value(args["out"])
    except CodecError as error:
        raise _bad("args.out", str(error)) from None
    if "outl" in args:
        _need(args["outl"] in tuple(_CODECS), "args.outl", '"file" or "dag-cbor" is needed')
        _need(_is_link(out.body), "args.outl", "out holds no link")
        told = f'it says "{args["outl"]}", and out links to something else'
        _need(leads_there(args["outl"], out), "args.outl", told)
    if "mode" in args:
        mode = args["mode"]
        _need(
            type(mode) is str and 0 < len(mode) <= MODE_CHARS_MAX,
            "args.mode",
            f"text of at most {MODE_CHARS_MAX} characters is needed, or nothing",
        )
    if "fx" in args:
        _check_effects(args["fx"])


def leads_there(linked: str, out: Result) -> bool:
    """Whether the link in a result can lead to what `outl` says: a "file" is raw or dag-pb, and no
    error; anything else is dag-cbor."""
    return out.body.codec in _CODECS[linked] and (out.is_ok or linked != "file")


def _check_effects(fx: Any) -> None:
    _need(type(fx) is dict, "args.fx", "a map is needed")
    _check_keys("args.fx.", fx, ("fork",), _FX_KNOWN)
    fork = fx["fork"]
    _need(_is_links(fork), "args.fx.fork", "a list of links is needed")
    if len(fork) > 1:
        names = [str(cid) for cid in fork]
        _need(names == sorted(set(names)), "args.fx.fork", "not in order, or one twice")
    _need("join" not in fx or _is_link(fx["join"]), "args.fx.join", "a link is needed")


def _check_keys(
    where: str, value: Mapping[str, Any], needed: tuple[str, ...], known: frozenset[str]
) -> None:
    if not known.issuperset(value):
        name = min(value.keys() - known)
        raise _bad(where + name[:64], "not a field of a receipt")
    for name in needed:
        if name not in value:
            raise _bad(where + name, "missing")


def _is_link(value: Any) -> bool:
    return type(value) is CID


def _is_links(value: Any) -> bool:
    return type(value) is list and all(map(_is_link, value))
