"""`ipvm ucan delegate` and `ipvm ucan revoke`: giving a right, and taking it back."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import verb
from lite.cli.present import one_line
from lite.cli.shell import Shell, complain, drop, error_line, need_stdout
from lite.environment import environment
from lite.errors import CodecError, NotFoundError, OutputError, UsageError

if TYPE_CHECKING:
    from segno import QRCode

    from lite.authority import Issued
    from lite.ipld.cid import CID
    from lite.node import Node
    from lite.parcel import Parcel
    from lite.ucan.delegation import Delegation

NEVER = "never"
_EXP_HINT = "Write 10m, 12h, 7d, or never."
QR_BORDERS = (2, 1)  # modules around it, the second where the terminal is too narrow
WHOLE_MAX = 2**53 - 1


@verb(
    "delegate",
    example="""
    ipvm ucan delegate --to did:key:z6Mk… --cmd /wasm/run --exp 7d
    ipvm ucan delegate --to did:key:z6Mk… --cmd /wasm/run --policy '["==", ".input.func", "add"]'
    ipvm ucan delegate --to did:key:z6Mk… --cmd /wasm/run --subject did:key:z6Mk… --qr > phone.ucan
    """,
)
@click.option("--to", metavar="DID", required=True, help="Who gets the right.")
@click.option("--cmd", metavar="COMMAND", required=True, help="What it may do, e.g. /wasm/run.")
@click.option(
    "--policy",
    "policies",
    metavar="JSON|@FILE",
    multiple=True,
    help="What the arguments must be like: a UCAN statement or a list of them; repeatable.",
)
@click.option(
    "--exp",
    metavar="TIME",
    default="7d",
    show_default=True,
    help="How long it holds: 10m, 7d, never.",
)
@click.option("--subject", metavar="DID", help="Whose right it is; default: this node's own.")
@click.option("--qr", is_flag=True, help="Also draw it as a QR code on stderr.")
@click.pass_obj
def delegate(
    shell: Shell,
    to: str,
    cmd: str,
    policies: tuple[str, ...],
    exp: str,
    subject: str | None,
    qr: bool,
) -> None:
    """Let another do something in this node's name, or pass on less of what this node was given.

    The token alone goes to stdout, as a base64 container; of a right that was passed on it holds
    the whole chain. Give it to the other in any way: it is no secret.
    """
    from lite.cli.ucan_source import did
    from lite.cli.ucan_words import ODD_NOTE, odd
    from lite.ucan import container

    need_stdout("Nothing was kept; do it again with somewhere for the token to go.")
    audience = did(to, "--to")
    about = None if subject is None else did(subject, "--subject")
    policy = _policy(policies)
    if found := odd(policy):
        shell.note(f"ipvm: --policy: {found}; {ODD_NOTE}")
    seconds = lasting(exp)
    node = shell.node()
    drawn: list[QRCode] = []

    def show(issued: Issued) -> None:
        text = container.write([link.data for link in issued.chain]).decode()
        if qr:
            drawn.append(_qr_code(text))
        fields = {**_fields(issued.token), "token": text} if shell.json else {}
        hand_out(shell, text, fields, "Nothing was kept of it; do it again when there is room.")

    issued = node.authority.delegate(
        audience, cmd, policy=policy, expires_in_s=seconds, subject=about, before_keeping=show
    )
    note_shorter(shell, issued.token.expires_at, exp, seconds, node.clock.now())
    for code in drawn:
        _draw(code)


def note_shorter(
    shell: Shell, end: int | None, wished: str, seconds: int | None, now: int, to: str = "pass on"
) -> None:
    """Say of a token that it lasts clearly less long than was wished, when its chain does not.
    What is passed on with the same `--exp` some time after it was given is not worth a word.

    Args:
        end: of the token.
        to: what more could be done with a longer chain.
    """
    from lite.cli.ucan_words import ends

    if end is None or (seconds is not None and end >= now + seconds - max(1, seconds // 50)):
        return
    shell.note(
        f"ipvm: it holds until {ends(end, now)}, not {wished}: a delegation above it ends then\n"
        f"  → Ask for one that lasts longer to {to} more"
    )


def _qr_code(text: str) -> QRCode:
    """Raises UsageError when the text is longer than a QR code can be."""
    import segno

    try:
        return segno.make_qr(text, error="l")
    except segno.DataOverflowError:
        raise UsageError(
            f"a QR code cannot hold {len(text)} characters", hint="Send the token as text."
        ) from None


def _draw(code: QRCode) -> None:
    """The code on stderr in half blocks, the right way round on a dark terminal; or why not: the
    token was given already."""
    import io

    columns = _columns()
    for border in QR_BORDERS:
        wide = int(code.symbol_size(border=border)[0])
        if columns is None or wide <= columns:
            break
    else:
        complain(
            f"not drawn: the QR code is {wide} characters wide, the terminal {columns}",
            "Widen the terminal or make its letters smaller, or send the token as text.",
        )
        return
    drawn = io.StringIO()
    code.terminal(out=drawn, border=border, compact=True)
    error_line(drawn.getvalue().rstrip("\n"))


def hand_out(shell: Shell, text: str, fields: Mapping[str, Any], hint: str) -> None:
    """A new token on stdout; with `--json` the fields.

    Args:
        hint: what is true when it cannot be written, and what to do then.

    Raises:
        OutputError: it cannot.
    """
    try:
        if shell.json:
            shell.emit(dict(fields))
        else:
            shell.line(text)
        shell.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop(sys.stdout)
        raise OutputError(f"the token could not be written: {error.strerror}", hint=hint) from None


def _fields(token: Delegation) -> dict[str, Any]:
    from lite.cli.ucan_words import as_json

    return {
        "cid": str(token.cid),
        "iss": token.issuer,
        "aud": token.audience,
        "sub": token.subject,
        "cmd": token.command,
        "pol": as_json(token.policy.value()),
        "exp": token.expires_at,
    }


def lasting(text: str, option: str = "--exp") -> int | None:
    """Seconds from `10m`, `7d`; None for `never`."""
    from lite.quantities import parse_duration_ms

    if text == NEVER:
        return None
    try:
        seconds = parse_duration_ms(text) // 1000
    except UsageError as error:
        too_long = error.hint if "too long" in str(error) else None
        raise UsageError(f"{option}: {error}", hint=too_long or _EXP_HINT) from None
    if not seconds:
        raise UsageError(f"{option}: less than a second", hint=_EXP_HINT)
    return seconds


def _columns() -> int | None:
    """How wide the terminal of stderr is; None when there is none that says so."""
    import os

    told = environment("COLUMNS")
    if told and told.isdecimal():
        return int(told)
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _policy(texts: Sequence[str]) -> list[Any]:
    """The statements of every `--policy`, checked."""
    from lite.ipld import dag_cbor
    from lite.ucan.policy import Policy
    from lite.ucan.refusals import InvalidPolicy

    statements: list[Any] = []
    for text in texts:
        value = _json(text)
        if not isinstance(value, list):
            raise UsageError("--policy: not a list", hint=_POLICY_HINT)
        statements += [value] if value and isinstance(value[0], str) else value
    try:
        policy = Policy.parse(_whole(statements)).value()
        dag_cbor.encode(policy)
        return policy
    except (InvalidPolicy, CodecError) as error:
        raise UsageError(f"--policy: {error}", hint=_POLICY_HINT) from None


def _whole(value: Any) -> Any:
    """The value with `1e6` and `1.0` as integers, which all implementations take."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, float) and value.is_integer() and abs(value) <= WHOLE_MAX:
        return int(value)
    return value


_POLICY_HINT = """For example: --policy '["==", ".input.func", "add"]'"""


def _json(text: str) -> Any:
    from lite.ipld import dag_json

    where = "--policy"
    data = text.encode("utf-8", "surrogateescape")
    if text.startswith("@"):
        from lite.files import open_file
        from lite.limits import TOKEN_BYTES_MAX

        where = f"--policy {text}"
        with open_file(text[1:]) as file:
            data = file.read(TOKEN_BYTES_MAX + 1)
        if len(data) > TOKEN_BYTES_MAX:
            raise UsageError(f"{where}: more than {TOKEN_BYTES_MAX} bytes, too many for a token")
    try:
        return dag_json.decode(data)
    except CodecError as error:
        raise UsageError(f"{where}: {one_line(str(error))}", hint=_POLICY_HINT) from None


@verb(
    "revoke",
    example="""
    ipvm ucan revoke laptop.ucan > revoked.ucan
    ipvm ucan revoke q4wz7ka
    """,
)
@click.argument("token", metavar="CID|FILE|TEXT|-")
@click.pass_obj
def revoke(shell: Shell, token: str) -> None:
    """Take back a delegation that this node gave, or one further down its chain. For good.

    It counts here at once. The revocation goes to stdout, for `ipvm ucan import` at every other
    node that heeds the delegation. Of a file with a chain, its last delegation is revoked.
    """
    from lite.ucan import container

    node = shell.node()
    cid, along = _revoked(node, token)
    revocation = node.authority.revoke(cid, along)
    shell.note(f"ipvm: revoked {cid}")
    told = "It is revoked here. To tell others, do it again with somewhere to write that."
    need_stdout(told)
    text = container.write([revocation.data]).decode()
    fields = {"revoked": str(cid), "cid": str(revocation.cid), "token": text}
    hand_out(shell, text, fields, told)


def _revoked(node: Node, text: str) -> tuple[CID, Parcel | None]:
    """The CID of the delegation that is meant, and what came with it. One that is kept here is
    known by its CID alone: no check has to read it any more."""
    from lite.cli.ucan_items import delegations, read
    from lite.cli.ucan_source import load, named
    from lite.delegations import ends
    from lite.parcel import Parcel
    from lite.ucan.checks import unpack

    cid = named(node, text)
    if cid is not None:
        return cid, None
    tokens = unpack(load(node, text))
    items = [read(token) for token in tokens]
    found = [one.cid for one in ends(delegations(items))]
    if not found:
        found = [one.cid for one in items if node.store.tokens.has_delegation(one.cid)]
    if not found:
        raise NotFoundError(f"there is no delegation in {one_line(text, 60)}")
    if len(found) > 1:
        raise UsageError(
            f"{one_line(text, 60)} ends in {len(found)} delegations: "
            f"{', '.join(map(str, found[:5]))}",
            hint="Name one by its CID.",
        )
    return found[0], Parcel.of(tokens)


@verb("forget", example="ipvm ucan forget q4wz7ka\nipvm ucan forget junk.ucan")
@click.argument("token", metavar="CID|FILE|TEXT|-")
@click.pass_obj
def forget(shell: Shell, token: str) -> None:
    """Drop delegations from this home, e.g. what a stranger gave. Nothing is revoked by that.

    Of a file, every delegation in it that is kept here. Revocations stay, and so does what was
    used up. What was forgotten can be imported again.
    """
    node = shell.node()
    dropped = node.authority.forget(_forgettable(node, token))
    if not dropped:
        raise NotFoundError(
            "no delegation of it is kept here", hint="`ipvm ucan list` shows those that are."
        )
    if shell.json:
        shell.emit({"forgotten": [str(cid) for cid in dropped]})
        return
    for cid in dropped:
        shell.note(f"ipvm: forgot {cid}")


def _forgettable(node: Node, text: str) -> list[CID]:
    """The delegations that FILE|TEXT|CID|- stands for. One that is kept here is known by its CID
    alone, also when no check reads it any more, or the disk changed it."""
    from lite.cli.ucan_items import read
    from lite.cli.ucan_source import load, named
    from lite.ucan.checks import unpack

    tokens = node.store.tokens
    cid = named(node, text)
    if cid is not None and tokens.has_delegation(cid):
        return [cid]
    items = [read(data) for data in unpack(load(node, text))]
    found = [one.cid for one in items if one.kind == "delegation" or tokens.has_delegation(one.cid)]
    if not found:
        what = " and ".join(sorted({one.kind for one in items})) or "nothing at all"
        raise UsageError(
            f"there is no delegation in it, but {what}; only delegations are forgotten"
        )
    return found
