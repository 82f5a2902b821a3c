"""Receipts and blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from lite.errors import CidError, UsageError
from lite.http.fields import RECEIPT, WHOLE_RECEIPT
from lite.http.reply import json_reply
from lite.http.route import Call, Param, Reply, Route
from lite.http.schema import CID_TEXT, INTEGER, items, shape
from lite.ipld.block import Block
from lite.ipld.cid import CID
from lite.json_fields import receipt_fields
from lite.limits import BLOCK_BYTES_MAX
from lite.opinions import differing

if TYPE_CHECKING:
    from lite.model.receipt import Receipt
    from lite.node import Node

__all__ = ["BYTES", "ROUTES", "cid_of"]

BYTES: Final = "application/octet-stream"
_LIST_MAX: Final = 1_000


def cid_of(text: str) -> CID:
    """A CID in a path. Raises `UsageError`."""
    try:
        return CID.parse(text)
    except CidError as error:
        raise UsageError(str(error), hint="A whole CID is needed here.") from None


async def _list(call: Call) -> web.StreamResponse:
    text, limit = call.query["instruction"], call.query["limit"]
    cid = None if text is None else cid_of(text)
    return call.reply({"receipts": await call.api.work.short(_rows, call.api.node, cid, limit)})


def _rows(node: Node, instruction: CID | None, limit: int) -> list[dict[str, Any]]:
    receipts = node.store.receipts
    if instruction is None:
        found = receipts.list(limit)
    else:
        found = receipts.by_instruction(instruction, {node.did})[:limit]
    return _with_secrecy(node, found)


def _with_secrecy(node: Node, found: list[Receipt]) -> list[dict[str, Any]]:
    secret = node.store.secrets.any_secret(one.cid for one in found)
    differ = differing(node, found)
    return [
        {**receipt_fields(one), "secret": one.cid in secret, "differs": one.cid in differ}
        for one in found
    ]


async def _show(call: Call) -> web.StreamResponse:
    def show(node: Node, ref: str) -> dict[str, Any]:
        found = node.receipt(ref)
        return {**_with_secrecy(node, [found])[0], "receipt": found.view()}

    return call.reply(await call.api.work.short(show, call.api.node, call.path("cid")))


async def _get_block(call: Call) -> web.StreamResponse:
    cid = cid_of(call.path("cid"))
    data = await call.api.work.short(call.api.node.store.blocks.get, cid)
    headers = {"ETag": f'"{cid}.raw"', "Cache-Control": "public, max-age=29030400, immutable"}
    return web.Response(body=data, content_type=BYTES, headers=headers)


async def _put_block(call: Call) -> web.StreamResponse:
    cid = cid_of(call.path("cid"))
    data = await call.body()

    def put(node: Node) -> bool:
        known = node.store.blocks.has(cid)
        node.store.blocks.put(Block(cid, data))
        return known

    known = await call.api.work.short(put, call.api.node)
    if not known:
        call.api.wrote()
    return json_reply({"cid": str(cid), "bytes": len(data)}, 200 if known else 201)


async def _gateway(call: Call) -> web.StreamResponse:
    return await call.api.gateway.serve(call.request)


_PUT: Final = shape({"cid": CID_TEXT, "bytes": INTEGER})

ROUTES: Final = (
    Route(
        "GET",
        "/v1/receipts",
        "listReceipts",
        "The receipts of this home, the newest first; of one instruction, if it is named.",
        _list,
        {200: Reply("Receipts.", shape({"receipts": items(RECEIPT)}))},
        query=(
            Param("instruction", "text", "The CID of an instruction."),
            Param("limit", "number", "How many at most.", 20, _LIST_MAX),
        ),
    ),
    Route(
        "GET",
        "/v1/receipts/{cid}",
        "showReceipt",
        "One receipt: its CID, a part of it, or the CID of its instruction.",
        _show,
        {200: Reply("The receipt.", WHOLE_RECEIPT)},
    ),
    Route(
        "GET",
        "/v1/blocks/{cid}",
        "getBlock",
        "The bytes of a block.",
        _get_block,
        {200: Reply("The bytes.", media=BYTES)},
    ),
    Route(
        "PUT",
        "/v1/blocks/{cid}",
        "putBlock",
        "Store a block; its bytes have to hash to its CID.",
        _put_block,
        {200: Reply("It was here.", _PUT), 201: Reply("It was stored.", _PUT)},
        takes_media=BYTES,
        bytes_max=BLOCK_BYTES_MAX,
    ),
    Route(
        "GET",
        "/ipfs/{cid}",
        "gateway",
        "A block, or a CAR of many, as the trustless gateways of IPFS give them.",
        _gateway,
        {
            200: Reply("The bytes.", media="application/vnd.ipld.raw"),
            206: Reply("A range of them.", media="application/vnd.ipld.raw"),
        },
        query=(
            Param("format", "text", "raw (the default) or car."),
            Param("dag-scope", "text", "Of a CAR: all, entity or block."),
        ),
        head=True,
        open_query=True,
    ),
)
