"""`ipvm receipt`: list, show, verify and forget receipts."""

from __future__ import annotations

from io import BufferedReader
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import group, offers, verb
from lite.cli.numbers import COUNT
from lite.cli.other_receipts import other_fields, other_lines
from lite.cli.present import (
    age,
    count_in,
    counted,
    file_name,
    moment,
    one_line,
    short,
    size,
    used,
)
from lite.cli.shell import Shell, read_stdin
from lite.errors import NotFoundError, UsageError
from lite.files import is_file
from lite.ipld.cid import is_cid
from lite.json_fields import receipt_fields
from lite.model.trust import passed_on
from lite.opinions import differing

if TYPE_CHECKING:
    from lite.archive import Verified
    from lite.ipld.cid import CID
    from lite.model.receipt import Receipt
    from lite.store import Store

LIST_DEFAULT = 50
NAME = 80  # characters of a name that an issuer chose
TOKEN = b"\x82\x58\x40"  # how every UCAN token begins, and no archive
SECRET = "secret       yes: it stays on this node unless `ipvm export --with-secrets` lets it out"

receipt = group(
    "receipt",
    help="Receipts: who computed what, when, and what came out.",
    example="ipvm receipt list\nipvm receipt verify result.car",
)


@verb("list", in_group=receipt, example="ipvm receipt list\nipvm receipt list --limit 5 --json")
@click.option(
    "--limit",
    metavar="N",
    type=COUNT,
    default=LIST_DEFAULT,
    show_default=True,
    help="How many, the newest first.",
)
@click.pass_obj
def list_(shell: Shell, limit: int) -> None:
    """List the receipts of this home, the newest first."""
    node = shell.node()
    found = node.store.receipts.list(limit)
    secret = node.store.secrets.any_secret(r.cid for r in found)
    differ = differing(node, found)
    if shell.json:
        told = [
            {**receipt_fields(r), "secret": r.cid in secret, "differs": r.cid in differ}
            for r in found
        ]
        shell.emit({"receipts": told})
        return
    now = node.clock.now()
    for r in found:
        mark = "✓" if r.out.is_ok else "✗"
        who = "this node" if r.issuer == node.did else short(r.issuer)
        outcome = "" if r.out.is_ok else f"  {one_line(r.error_code, 40)}"
        kept = "  secret" if r.cid in secret else ""
        kept += "  ≠ contradicted, `ipvm why`" if r.cid in differ else ""
        shell.line(
            f"{mark} {r.cid}  {one_line(_func(r), 30):<12}  {who}, {age(r.issued_at, now)}"
            f"{outcome}{kept}"
        )


def _func(r: Receipt) -> str:
    return str(r.meta.get("func") or r.meta.get("op") or "?")


@verb("show", in_group=receipt, example="ipvm receipt show q4wz7ka --json")
@click.argument("ref", shell_complete=offers("names"))
@click.pass_obj
def show(shell: Shell, ref: str) -> None:
    """Show one receipt. REF is its CID, a part of it, or the CID of its instruction."""
    node = shell.node()
    found = node.receipt(ref)
    secret = node.store.secrets.is_secret(found.cid)
    if shell.json:
        others = other_fields(node, found)
        differs = any(one["differs"] for one in others)
        told = {**receipt_fields(found), "secret": secret, "differs": differs, "others": others}
        shell.emit({**told, "receipt": found.view()})
        return
    beside = [f"beside it    {line}" for line in other_lines(node, found)]
    for line in [*describe(found), *([SECRET] if secret else []), *beside]:
        shell.line(line)


def describe(r: Receipt) -> list[str]:
    """A receipt in a few lines for people. Nothing that stands in it makes one more."""
    lines = [
        f"receipt      {r.cid}",
        f"instruction  {r.instruction}",
        f"issuer       {r.issuer}",
        *(f"passed on    to {told}" for did in passed_on(r) if (told := one_line(did, 100))),
        f"at           {moment(r.issued_at)}",
        f"ran          {one_line(_func(r), NAME)} ({one_line(str(r.meta.get('op', '?')), NAME)})",
        f"result       {_result(r)}",
    ]
    if r.expires_at is not None:
        lines.append(f"holds until  {moment(r.expires_at)}")
    if r.mode:
        lines.append(f"mode         {one_line(r.mode, NAME)}")
    if took := ", ".join(_used(r)):
        lines.append(f"used         {took}")
    return lines


def _used(r: Receipt) -> list[str]:
    parts, memory_bytes = used(r.meta), count_in(r.meta, "memory_bytes")
    if memory_bytes is not None:
        parts.append(f"memory {size(memory_bytes)}")
    engine = r.meta.get("engine")
    names = [engine.get("name"), engine.get("version")] if type(engine) is dict else [engine]
    told = one_line(" ".join(name for name in names if type(name) is str), 60)
    return [*parts, told] if told else parts


def _result(r: Receipt) -> str:
    from lite.ipld import dag_json

    if r.linked is not None:
        kind = "file" if r.linked == "file" else "value"
        return f"{r.out.branch}, a {kind} of its own: {r.out.body}"
    return one_line(f"{r.out.branch} {dag_json.shown(r.out.body).decode()}", 400)


@verb(
    "verify",
    in_group=receipt,
    example="ipvm receipt verify result.car\nipvm receipt verify q4wz7ka",
)
@click.argument("ref", metavar="FILE|REF")
@click.pass_obj
def verify(shell: Shell, ref: str) -> None:
    """Check a receipt: signature, instruction, and the hash of every block.

    FILE is an archive of `ipvm export`, - for stdin; checking one needs no home. REF is a receipt
    here.
    """
    secret: bool | None = None  # an archive does not say
    if ref == "-":
        from lite import archive

        checked = archive.verify(read_stdin())
    elif is_file(ref):
        from lite import archive
        from lite.files import open_file

        with open_file(ref) as file:
            if isinstance(file, BufferedReader) and file.peek(3).startswith(TOKEN):
                raise UsageError(
                    f"{file_name(ref)} is a token by itself, not an archive with what it names",
                    hint="`ipvm ucan verify` judges it; `ipvm ucan import` keeps the receipt.",
                )
            checked = archive.verify(file)
    elif ref.endswith(".car") or ("/" in ref and not is_cid(ref)):
        from lite.files import unusable

        raise unusable(ref) or NotFoundError(f"there is no file {file_name(ref)}")
    elif not shell.has_home():
        raise NotFoundError(
            f"there is no file {file_name(ref)}, and no home here that could hold a receipt"
        )
    else:
        node = shell.node()
        checked = node.verify(node.receipt(ref))
        secret = node.store.secrets.is_secret(checked[0].receipt.cid)
    if shell.json:
        mark = {} if secret is None else {"secret": secret}
        shell.emit({"verified": [{**_verified(one), **mark} for one in checked]})
        return
    for one in checked:
        for line in [*describe(one.receipt), *([SECRET] if secret else [])]:
            shell.line(line)
        shell.line(
            f"verified     {counted(one.blocks, 'block')}, {size(one.bytes)}, and the signature"
        )
        if one.note:
            shell.line(f"note         {one.note}")


def _verified(one: Verified) -> dict[str, Any]:
    fields = {"blocks": one.blocks, "bytes": one.bytes, "note": one.note}
    return {**receipt_fields(one.receipt), **fields}


@verb("forget", in_group=receipt, example="ipvm receipt forget q4wz7ka")
@click.argument("ref", shell_complete=offers("names"))
@click.pass_obj
def forget(shell: Shell, ref: str) -> None:
    """Delete a receipt, so that the next run of its instruction runs again. One that is pinned or
    has a name is kept, with its result, until it is let go of."""
    node = shell.node()
    cid = node.receipt(ref).cid
    _check_let_go(node.store, cid)
    node.store.receipts.forget(cid)
    if shell.json:
        shell.emit({"forgotten": str(cid)})
    else:
        shell.note(f"ipvm: forgot {cid}")


def _check_let_go(store: Store, cid: CID) -> None:
    """Raises UsageError for a receipt that the owner wants kept: without it, its result would be
    collected, and the pin or the name would lead nowhere."""
    if any(one.cid == cid for one in store.pins):
        text, letting_go = "is pinned", f"`ipvm pin rm {cid}`"
    else:
        name = next((name for name, named in store.names.list() if named == cid), None)
        if name is None:
            return
        text, letting_go = f"is called {name}", f"`ipvm name rm {name}`"
    raise UsageError(f"{cid} {text}, so that it is kept", hint=f"{letting_go} lets go of it.")
