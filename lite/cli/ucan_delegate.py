"""`ipvm ucan delegate` and `ipvm ucan revoke`: giving a right, and taking it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lite.cli.command import verb
from lite.cli.present import one_line
from lite.cli.shell import Shell, error_line
from lite.errors import CodecError, NotFoundError, UsageError

if TYPE_CHECKING:
    from lite.ipld.cid import CID
    from lite.node import Node

NEVER = "never"


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
    from lite.ucan import container

    audience = did(to, "--to")
    about = None if subject is None else did(subject, "--subject")
    policy = _policy(policies)
    seconds = lasting(exp)
    node = shell.node()
    issued = node.authority.delegate(
        audience, cmd, policy=policy, expires_in_s=seconds, subject=about
    )
    text = container.write([link.data for link in (*issued.chain, issued.token)]).decode()
    token = issued.token
    if shell.json:
        fields = {"cid": str(token.cid), "iss": token.issuer, "aud": token.audience}
        shell.emit(
            {
                **fields,
                "sub": token.subject,
                "cmd": token.command,
                "pol": token.policy.value(),
                "exp": token.expires_at,
                "token": text,
            }
        )
    else:
        shell.line(text)
    if qr:
        draw(text)


def lasting(text: str) -> int | None:
    """Seconds from `10m`, `7d`; None for `never`."""
    from lite.quantities import parse_duration_ms

    if text == NEVER:
        return None
    try:
        seconds = parse_duration_ms(text) // 1000
    except UsageError as error:
        raise UsageError(f"--exp: {error}", hint="Write 10m, 12h, 7d, or never.") from None
    if not seconds:
        raise UsageError("--exp: less than a second", hint="Write 10m, 12h, 7d, or never.")
    return seconds


def draw(text: str) -> None:
    """The text as a QR code in half blocks on stderr, the right way round on a dark terminal.

    Raises:
        UsageError: it is longer than a QR code can be.
    """
    import io

    import segno

    try:
        code = segno.make_qr(text, error="l")
    except segno.DataOverflowError:
        raise UsageError(
            f"a QR code cannot hold {len(text)} characters", hint="Send the token as text."
        ) from None
    drawn = io.StringIO()
    code.terminal(out=drawn, border=2, compact=True)
    error_line(drawn.getvalue().rstrip("\n"))


def _policy(texts: Sequence[str]) -> list[Any]:
    """The statements of every `--policy`, checked."""
    from lite.ucan.policy import Policy
    from lite.ucan.refusals import InvalidPolicy

    statements: list[Any] = []
    for text in texts:
        value = _json(text)
        if not isinstance(value, list):
            raise UsageError("--policy: not a list", hint=_POLICY_HINT)
        statements += [value] if value and isinstance(value[0], str) else value
    try:
        return Policy.parse(statements).value()
    except InvalidPolicy as error:
        raise UsageError(f"--policy: {error}", hint=_POLICY_HINT) from None


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
    cid = _revoked(node, token)
    revocation = node.authority.revoke(cid)
    text = container.write([revocation.data]).decode()
    if shell.json:
        shell.emit({"revoked": str(cid), "cid": str(revocation.cid), "token": text})
    else:
        shell.line(text)
    shell.note(f"ipvm: revoked {cid}")


def _revoked(node: Node, text: str) -> CID:
    """The CID of the delegation that is meant; what came in a file is stored first."""
    from lite.cli.ucan_items import forest, leaves, read
    from lite.cli.ucan_source import load
    from lite.ucan.checks import unpack

    data = load(node, text)
    items = [read(token) for token in unpack(data)]
    found = [branch.item.cid for branch in leaves(forest(items))]
    if not found:
        raise NotFoundError(f"there is no delegation in {one_line(text, 60)}")
    if len(found) > 1:
        raise UsageError(
            f"{one_line(text, 60)} ends in {len(found)} delegations: "
            f"{', '.join(map(str, found[:5]))}",
            hint="Name one by its CID.",
        )
    if any(item.token and node.authority.get(item.cid) is None for item in items):
        bad = [one for one in node.authority.import_(data).refused if one.cid == found[0]]
        if bad:
            raise bad[0].error
    return found[0]
