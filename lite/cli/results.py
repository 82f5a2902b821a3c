"""How the end of a task is shown: one line on stderr, the value on stdout."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from lite.cli.outfile import writing
from lite.cli.present import age, one_line, short, size, task_name, used, visible
from lite.cli.shell import Shell, error_line
from lite.errors import IpvmError
from lite.ipld.cid import CID
from lite.model.effects import Wanted
from lite.model.trust import OWN_RULE, trusted_rule

if TYPE_CHECKING:
    from lite.answer import Answer
    from lite.model.instruction import Instruction
    from lite.model.receipt import Receipt
    from lite.node import Node

STATUS_FAILED = 1
STATUS_LIMIT = 8

_HOMESTARS: Final = "homestar:host/"


def exit_status(receipt: Receipt) -> int:
    """0, 1 for a task that failed, 8 when a limit ended it."""
    from lite.model.result import LIMIT_ERRORS

    if receipt.out.is_ok:
        return 0
    return STATUS_LIMIT if receipt.error_code in LIMIT_ERRORS else STATUS_FAILED


def summary(shell: Shell, node: Node, answer: Answer, label: str) -> str:
    """`✓ add  done  1.4 ms  fuel 21  receipt bafy…q4wz7ka`."""
    receipt = answer.receipt
    name = task_name(label)
    if receipt.out.is_ok:
        parts = [shell.paint("✓", "green") + " " + name]
        parts += ["cached"] if answer.source == "cached" else ["done", *used(receipt.meta)]
    else:
        parts = [shell.paint("✗", "red") + " " + name, "failed", _reason(answer)]
    parts.append(f"receipt {short(receipt.cid)}")
    if answer.source == "cached":
        who = source(node.did, receipt.issuer, answer.rule, node.store.peer_names)
        parts.append(f"({who}, {age(receipt.issued_at, node.clock.now())})")
    return "  ".join(parts)


def source(own: str, issuer: str, rule: str, peer_names: Callable[[], Mapping[str, str]]) -> str:
    """Whose answer it is, for people: `this node`, `peer NAME`, or the rule that let it in.

    Args:
        peer_names: what the owner calls each peer, by DID.
    """
    if issuer == own and rule == OWN_RULE:
        return "this node"
    if rule == trusted_rule(issuer):
        names = peer_names()
        if issuer in names:
            return f"peer {visible(names[issuer]) or '…' + issuer[-8:]}"
    return rule


def _reason(answer: Answer) -> str:
    error = answer.out.body
    if not isinstance(error, dict):
        return one_line(str(error))
    code, message = str(error.get("code", "error")), str(error.get("message", ""))
    value = error.get("value")
    if code == "guest-error" and value is not None and not isinstance(value, str):
        from lite.ipld import dag_json

        message += f": {dag_json.shown(value).decode()}"
    return one_line(f"{code}: {message}" if message else code)


def advice(receipt: Receipt, asked: Instruction | None = None) -> str | None:
    """What the user may do about a receipt that leaves something to be done, or None.

    Args:
        asked: what it answers, when it stands alone; a workflow runs what results ask for.
    """
    wanted = Wanted() if asked is None else Wanted.of(receipt, asked)
    asked_for = len(wanted.fork) + (wanted.join is not None)
    if asked_for:
        more = "1 more instruction" if asked_for == 1 else f"{asked_for} more instructions"
        return f"It asks for {more}; only `ipvm workflow run` runs what a result asks for"
    error = receipt.out.body
    if receipt.error_code == "denied-import" and isinstance(error, dict):
        imports = error.get("imports")
        names = imports if isinstance(imports, list) else []
        if any(str(name).startswith(_HOMESTARS) for name in names):
            return "It was made for Homestar; --homestar offers it what Homestar does"
    return None


def show_trace(shell: Shell, node: Node, answer: Answer, *, told: bool = False) -> None:
    """What is not shown yet of what the guest wrote, for people.

    Standard output of a command is only shown here where it failed and its error does not have it.

    Args:
        told: its log and standard error were shown.
    """
    meta = answer.receipt.meta
    lost = bool(meta.get("trace_stdout")) and not answer.receipt.out.is_ok and not _written(answer)
    if shell.quiet or meta.get("trace") is None or (told and not lost):
        return
    from lite.cli.traces import trace_of
    from lite.engine.spoken import Stdout, pieces, spans_of

    try:
        data = trace_of(node, answer.receipt)
    except IpvmError as error:  # the value counts without it
        shell.note(f"ipvm: what the guest wrote beside its result cannot be shown: {error}")
        return
    wanted = pieces(data, spans_of(meta.get("trace_stdout")))
    data = b"".join(one for one in wanted if (lost if isinstance(one, Stdout) else not told))
    if not shell.watched:
        from lite.cli.guest_lines import without_frames

        data = without_frames(data)
    text = visible(data.decode("utf-8", "replace"))
    if text.strip():
        error_line(text.removesuffix("\n"))


def show_value(shell: Shell, node: Node, answer: Answer, target: str | None) -> None:
    """The value to stdout or into the file `target`; of a command that failed, what it wrote."""
    if not answer.receipt.out.is_ok:
        written = _written(answer)
        if written and not shell.json:
            shell.write(_safe(written) if sys.stdout.isatty() else written)
        return
    is_file = answer.receipt.linked == "file"
    value = None if is_file else answer.out.body
    if target is not None:
        with writing(target) as out:
            for chunk in answer.chunks() if is_file else [_plain(value)]:
                out.write(chunk)
    elif shell.json:
        return
    elif is_file or isinstance(value, bytes):
        _show_bytes(shell, node, answer)
    elif isinstance(value, str):
        text = visible(value) if sys.stdout.isatty() else value
        shell.write(text.encode() if text.endswith("\n") else text.encode() + b"\n")
    else:
        shell.write(_json(value) + b"\n")


def _written(answer: Answer) -> bytes:
    """The standard output of a command that exited with a status."""
    error = answer.out.body
    written = error.get("stdout") if isinstance(error, dict) else None
    return written if isinstance(written, bytes) else b""


def _show_bytes(shell: Shell, node: Node, answer: Answer) -> None:
    """Raw into a pipe; on a terminal only the text of a command, else the CID and the size."""
    if not sys.stdout.isatty():
        for chunk in answer.chunks():
            shell.write(chunk)
        return
    if answer.receipt.meta.get("path") == "wasi" and _is_text(answer):
        for text in _texts(answer):
            shell.write(visible(text).encode())
        return
    cid = answer.output_link or add_shown(node, answer, b"".join(answer.chunks()))
    shell.line(f"{cid}  {size(node.size(cid))}")


def add_shown(node: Node, answer: Answer, value: bytes) -> CID:
    """Store bytes that stand in a receipt, to be shown by their CID: secret as the receipt is. That
    there are none is no secret."""
    secret = bool(value) and node.store.secrets.is_secret(answer.receipt.cid)
    return node.add(value, secret=secret)


def _texts(answer: Answer) -> Iterator[str]:
    """Bytes as text, a block at a time. Raises UnicodeDecodeError."""
    decode = codecs.getincrementaldecoder("utf-8")().decode
    for chunk in answer.chunks():
        yield decode(chunk)
    yield decode(b"", True)


def _is_text(answer: Answer) -> bool:
    try:
        return all(isinstance(text, str) for text in _texts(answer))
    except UnicodeDecodeError:
        return False


def _safe(data: bytes) -> bytes:
    """Bytes as text that cannot drive a terminal."""
    return visible(data.decode("utf-8", "replace")).encode()


def _plain(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else _json(value)


def _json(value: Any) -> bytes:
    from lite.ipld import dag_json

    return dag_json.shown(value)
