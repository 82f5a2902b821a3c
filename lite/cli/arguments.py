"""Texts of the command line as values, read by the types of the function's parameters.

| parameter          | text                                                                    |
|--------------------|-------------------------------------------------------------------------|
| string             | itself; `@file` the file's text; `-` standard input; `@@x`, `\\@x` for `@x` |
| char, bool, enum   | one character; true or false; the case's name                           |
| integers, floats   | `42`, `-2`, `0x1f`; `1.5`, `1e3`                                        |
| option<T>          | `null`, or as T                                                         |
| list<u8>           | `@file` or `-`: the bytes; else as below                                |
| anything else      | DAG-JSON, or `@file` that holds it; flags also as `a,b`, cases by name    |
| all but string     | `ipfs://CID` or a CID: a link; `@name`: what a petname stands for       |

Only what is no text of the type at all is refused here; whether a value fits is the node's to say,
in a receipt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, Protocol

from lite.cli.number_texts import NotThatType, TooLarge, float_of, number, whole_number
from lite.cli.present import one_line
from lite.engine.wit import BYTES, Enum, Flags, FuncType, Option, Prim, Variant, WitType, render
from lite.errors import CidError, IpvmError, NotFoundError, UsageError
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, is_cid
from lite.limits import BLOCK_BYTES_MAX, INLINE_BYTES_MAX

_CID_LIKE = re.compile(r"Qm[1-9A-HJ-NP-Za-km-z]{44}|b[a-z2-7]{50,}|[zkfF][0-9A-Za-z]{45,}")
_CID_CHARS_MIN = 30
_CORE_INTEGERS = (Prim("i32"), Prim("i64"))


class Sources(Protocol):
    """Where arguments that are not written out come from."""

    def open(self, path: str) -> BinaryIO | None:
        """The file, None when there is none; raises `UsageError` when it cannot be read."""

    def stdin(self) -> BinaryIO:
        """Standard input; raises `UsageError` the second time."""

    def store(self, stream: BinaryIO) -> CID:
        """Add a stream as a file."""

    def named(self, name: str) -> CID | None:
        """What a petname stands for."""

    def link(self, text: str) -> CID:
        """A CID, or `ipfs://CID[/path]`."""


class WrongCount(UsageError):
    """The arguments do not fill the function's parameters."""


def parse_arguments(
    texts: Sequence[str], func: FuncType, sources: Sources, *, homestar: bool = False
) -> list[Any]:
    """One IPLD value for each parameter.

    Args:
        homestar: as a workflow file would give them to Homestar, whose rules judge them then: JSON
            is taken as it is written, text is never a link, and there may be too many.

    Raises:
        WrongCount: too few or too many.
        UsageError: a text that is not one of its type.
        NotFoundError: `@name` is neither a file nor a petname.
    """
    wanted = len(func.params)
    if len(texts) < wanted or (len(texts) > wanted and not homestar):
        raise WrongCount(f"it takes {_count(wanted)}, not {len(texts)}")
    read = [
        _argument(i, text, name, t, sources, homestar)
        for i, (text, (name, t)) in enumerate(zip(texts[:wanted], func.params, strict=True), 1)
    ]
    for i, text in enumerate(texts[wanted:], wanted + 1):  # dropped, and part of the call's name
        _encodable(i, text)
        read.append(by_its_look(text, homestar=homestar))
    return read


def by_its_look(text: str, *, homestar: bool) -> Any:
    """A number, a truth value, a list, a map or a link; anything else is a text. A text in quotes
    is one with them, as it is where a string is wanted."""
    if text.startswith('"'):
        return text
    try:
        return CID.parse(text.removeprefix("ipfs://"))
    except CidError:
        pass
    try:
        return _as_homestar(text) if homestar else _json(text)
    except (NotThatType, TooLarge):
        return text


def _as_homestar(text: str) -> Any:
    """JSON as Homestar reads it in a workflow file."""
    from lite.model.place import FieldError
    from lite.model.workflow_tasks import as_homestar_reads

    try:
        return as_homestar_reads(_json(text), ())
    except FieldError as error:
        raise TooLarge(error.problem) from None


def parse_core_arguments(
    texts: Sequence[str], func: FuncType, sources: Sources, *, takes_bytes: bool
) -> list[Any]:
    """Values for an untyped function: numbers, and bytes that take two i32 (pointer, length).

    Args:
        takes_bytes: the module exports a memory and an allocator, so that bytes can go in.

    Raises:
        WrongCount: they do not fill the function's parameters.
        UsageError: a text where only a number can be.
    """
    given, expected = len(texts), len(func.params)
    words = [i for i, text in enumerate(texts) if _core_number(i, text) is None]
    if not takes_bytes:
        if given != expected:
            raise WrongCount(f"it takes {_count(expected)}, not {given}")
        for i in words:
            raise UsageError(f"argument {i + 1}: “{one_line(texts[i], 60)}” is not a number")
    pairs = expected - given  # how many arguments must be bytes to fill every parameter
    if len(words) < pairs == given:
        words = list(range(given))
    if len(words) != pairs:
        raise WrongCount(
            f"it takes {_count(expected)}, and a text, @file or - fills two; given are "
            f"{_numbers(given - len(words))} and {_texts(len(words))}",
        )
    values: list[Any] = []
    at = 0
    for i, text in enumerate(texts):
        kind = func.params[at][1]
        if i in words:
            values.append(_bytes_or_text(text, sources))
        else:
            values.append(_core_value(i, text, kind))
        at += 2 if i in words else 1
    return values


def parse_words(texts: Sequence[str], sources: Sources) -> list[str]:
    """Arguments of a WASI command: texts, or the text of `@file` or `-`."""
    words = []
    for i, text in enumerate(texts, 1):
        _check_text(i, text)
        value = _string(text, sources, whole=True)
        if isinstance(value, CID):
            raise UsageError(f"{text} is a name; a command's argument is text")
        words.append(value)
    return words


def parse_inputs(texts: Sequence[str], sources: Sources) -> dict[str, Any]:
    """The input of an operation from `KEY=VALUE` each, where no types say what a value is.

    `@file` and `-` are links to their bytes as a file, `@name` and a CID are links, `@@x` is the
    text `@x`; what reads as DAG-JSON is that, anything else is text.

    Raises:
        UsageError: not of this form, a key twice, or what begins like JSON and is none.
        NotFoundError: `@name` is neither a file nor a petname.
    """
    inputs: dict[str, Any] = {}
    for i, text in enumerate(texts, 1):
        key, equals, value = text.partition("=")
        _encodable(i, key)
        _check_text(i, value)
        if not key or not equals:
            raise UsageError(
                f"“{one_line(text, 60)}” is not of the form KEY=VALUE",
                hint="For example: ipvm run --op http/get https://example.org/ only=body",
            )
        if key in inputs:
            raise UsageError(f"{one_line(key, 60)} is given twice")
        inputs[key] = _untyped(key, value, sources)
    return inputs


def _untyped(key: str, text: str, sources: Sources) -> Any:
    if _is_link(text):
        return sources.link(text)
    if text.startswith(("@@", "\\@")):
        return text[1:]
    stream = _stream(text, sources)
    if stream is not None:
        return stream if isinstance(stream, CID) else sources.store(stream)
    try:
        return _json(text)
    except NotThatType as reason:
        if not text.startswith(("{", "[", '"')):
            return text
        # A slip in JSON would else go out as a text, perhaps in a mutation.
        raise UsageError(
            f"{one_line(key, 60)} begins like JSON and is none: {reason}",
            hint=f"If it is meant as text, put it into a file and write {key}=@FILE.",
        ) from None


def bytes_or_link(stream: BinaryIO, sources: Sources) -> bytes | CID:
    """A stream's bytes when they are few, else a link to them as a file (`INLINE_BYTES_MAX`)."""
    head = _read(stream, INLINE_BYTES_MAX + 1)
    if len(head) <= INLINE_BYTES_MAX and len(dag_cbor.encode(head)) <= INLINE_BYTES_MAX:
        return head
    return sources.store(_Rejoined(head, stream))  # type: ignore[arg-type]


def _argument(i: int, text: str, name: str, t: WitType, sources: Sources, homestar: bool) -> Any:
    _check_text(i, text)
    label = f" ({name})" if name else ""
    try:
        return _value(text, t, sources, homestar)
    except TooLarge as reason:
        raise UsageError(f"argument {i}{label}: {reason}") from None
    except NotThatType as reason:
        from lite.cli.examples import example_text

        because = f": {reason}" if str(reason) else ""
        raise UsageError(
            f"argument {i}{label}: “{one_line(text, 60)}” is not a {render(t)}{because}",
            hint=f"For example: {example_text(t)}",
        ) from None


def _is_link(text: str) -> bool:
    """Whether it stands for a link: what begins like a CID is one, or a slip in it."""
    if text.startswith("ipfs://") or _CID_LIKE.fullmatch(text):
        return True
    return len(text) >= _CID_CHARS_MIN and is_cid(text)


def _check_text(i: int, text: str) -> None:
    """That it has a UTF-8 form, unless it names a file, which may be called anything."""
    if not text.startswith("@") or text.startswith("@@"):
        _encodable(i, text)


def _encodable(i: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"argument {i} is not valid UTF-8", hint="Pass bytes as @file.") from None


def _value(text: str, t: WitType, sources: Sources, homestar: bool) -> Any:
    if isinstance(t, Option):
        return _option(text, t.payload, sources, homestar)
    if t == Prim("string"):
        # Homestar's rules would hand the guest the text of a link.
        return _string(text, sources, whole=homestar)
    if _is_link(text):
        return sources.link(text)
    if t == BYTES and (stream := _stream(text, sources)) is not None:
        return bytes_or_link(stream, sources) if not isinstance(stream, CID) else stream
    if isinstance(t, Prim):
        text = text if t.name == "char" else _inline(text, sources)
    elif text.startswith("@") or text == "-":
        stream = _stream(text, sources)
        if isinstance(stream, CID):
            return stream
        text = _text_of(stream, text) if stream is not None else text
    if homestar and not _is_name(text, t):
        try:
            return _as_homestar(text)
        except NotThatType:
            pass  # another way to write a value of the type, or what is none
    return _scalar(text, t.name) if isinstance(t, Prim) else _structured(text, t)


def _option(text: str, payload: WitType, sources: Sources, homestar: bool) -> Any:
    """`null` is none; anything else is as for the payload. Text is never taken for JSON.

    An option of an option is JSON, because `{"some": …}` has to tell its levels apart.
    """
    if text == "null":
        return None
    if text == '"null"' and payload == Prim("string"):
        return "null"  # the one text that cannot be written as it is
    if isinstance(payload, Option):
        return _as_homestar(text) if homestar else _json(text)
    return _value(text, payload, sources, homestar)


def _inline(text: str, sources: Sources) -> str:
    """The text itself, or what `@file` or `-` holds, without the line's end."""
    if text != "-" and not text.startswith("@"):
        return text
    stream = _stream(text, sources)
    if isinstance(stream, CID):
        raise NotThatType("a name stands for a file, and this is a single value")
    return text if stream is None else _text_of(stream, text).strip()


def _scalar(text: str, name: str) -> Any:
    match name:
        case "bool":
            if text not in ("true", "false"):
                raise NotThatType("write true or false")
            return text == "true"
        case "char":
            if len(text) != 1:
                raise NotThatType("it is not one character")
            return text
        case "f32" | "f64":
            return float_of(text, name)
        case _:
            value = whole_number(text)
            if value is None:
                raise NotThatType
            return value


def _core_number(i: int, text: str) -> int | float | None:
    """The number that the argument at `i` (from 0) is, if it is one."""
    _check_text(i + 1, text)
    try:
        return number(text)
    except TooLarge as reason:
        raise UsageError(f"argument {i + 1}: {reason}") from None


def _core_value(i: int, text: str, kind: WitType) -> int | float | None:
    try:
        return whole_number(text) if kind in _CORE_INTEGERS else number(text)
    except NotThatType as reason:
        raise UsageError(f"argument {i + 1}: “{one_line(text, 60)}”: {reason}") from None


def _structured(text: str, t: WitType) -> Any:
    match t:
        case Enum(names):
            name = _json(text) if text.startswith('"') else text
            if name not in names:
                raise NotThatType(f"the cases are {', '.join(names)}")
            return name
        case Flags() if _is_name(text, t):
            return text.split(",")
        case Variant() if _is_name(text, t):
            return text
        case _:
            return _json(text)


def _is_name(text: str, t: WitType) -> bool:
    """Whether the text by itself is a value of the type, whatever it would be as JSON."""
    match t:
        case Prim("char"):
            return len(text) == 1
        case Enum(names):
            return text in names
        case Flags(names):
            return text != "" and all(part in names for part in text.split(","))
        case Variant(cases):
            return any(name == text and payload is None for name, payload in cases)
        case _:
            return False


def _json(text: str) -> Any:
    from lite.ipld import dag_json

    try:
        return dag_json.decode(text)
    except IpvmError as error:
        raise NotThatType(str(error)) from None


def _string(text: str, sources: Sources, *, whole: bool = False) -> str | CID:
    """A string argument; `whole`: never as a link, however long."""
    if text.startswith(("@@", "\\@")):
        return text[1:]
    stream = _stream(text, sources)
    if stream is None:
        return text
    if isinstance(stream, CID):
        return stream
    if whole:
        return _text_of(stream, text)
    value = bytes_or_link(stream, sources)
    if isinstance(value, CID):
        return value
    return _decoded(value, text)


def _bytes_or_text(text: str, sources: Sources) -> Any:
    if _is_link(text):
        return sources.link(text)
    if text.startswith(("@@", "\\@")):
        return text[1:]
    stream = _stream(text, sources)
    if stream is None:
        return text
    return stream if isinstance(stream, CID) else bytes_or_link(stream, sources)


def _stream(text: str, sources: Sources) -> BinaryIO | CID | None:
    """What `@file`, `@name` or `-` stands for; None when the text is neither."""
    if text == "-":
        return sources.stdin()
    if not text.startswith("@") or text.startswith("@@"):
        return None
    found = sources.open(text[1:]) or sources.named(text[1:])
    if found is None:
        raise NotFoundError(
            f"{text}: there is no file and no name “{text[1:]}”",
            hint=f"For the text itself write @{text}",
        )
    return found


def _text_of(stream: BinaryIO, said: str) -> str:
    """All of a stream as text; `said` is the argument that stands for it."""
    data = _read(stream, BLOCK_BYTES_MAX + 1)
    if len(data) > BLOCK_BYTES_MAX:
        much = f"more than {BLOCK_BYTES_MAX} bytes, too many for this"
        raise UsageError(f"{_source(said)} has {much}")
    return _decoded(data, said)


def _decoded(data: bytes, said: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{_source(said)} is not UTF-8 text (byte {error.start})") from None


def _source(said: str) -> str:
    return "standard input" if said == "-" else f"the file {said[1:]}"


def _read(stream: BinaryIO, length: int) -> bytes:
    """Up to `length` bytes; fewer only at the end, also from a pipe."""
    parts: list[bytes] = []
    while length and (part := stream.read(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


class _Rejoined:
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = head
        self._read: Callable[[int], bytes] = rest.read
        self.fileno: Callable[[], int] = rest.fileno

    def read(self, length: int = -1) -> bytes:
        if not self._head:
            return self._read(length)
        if length < 0:
            part, self._head = self._head + self._read(-1), b""
        else:
            part, self._head = self._head[:length], self._head[length:]
        return part


def _count(n: int) -> str:
    return "no arguments" if n == 0 else "1 argument" if n == 1 else f"{n} arguments"


def _numbers(n: int) -> str:
    return "no numbers" if n == 0 else "1 number" if n == 1 else f"{n} numbers"


def _texts(n: int) -> str:
    return "no texts" if n == 0 else "1 text" if n == 1 else f"{n} texts"
