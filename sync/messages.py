"""The frames: each is one strict DAG-CBOR map of at most 64 KiB. PROTOCOL.md has them as CDDL.

`parse` is the only way in: what it returns is complete and within its bounds. Keys that this
version does not know are ignored, and so is a whole frame of a kind that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sync import codec
from sync.base import EPOCH_BYTES, ID_BYTES, ITEM_BYTES_MAX, START, Cursor, Position, Summary
from sync.errors import FrameError

VERSION: Final = 1
FRAME_BYTES_MAX: Final = 64 * 1024
COMPARE_BYTES_MAX: Final = 60_000
IDS_MAX: Final = 1_024  # in one offer
WANTS_MAX: Final = 512  # in one want, and outstanding
ANSWERS_MAX: Final = 4
QUESTIONS_MAX: Final = 64
HINTS_MAX: Final = 16
HINT_BYTES_MAX: Final = 256
RETRY_S_MAX: Final = 86_400
NO_LIMIT: Final = 2**53 - 1
FRAME_DEPTH_MAX: Final = 8

EQUAL, BY_CURSOR, BY_COMPARISON = 0, 1, 2

DONE, BUDGET, BUSY, PROTOCOL, UNAUTHORISED, DISK = 0, 1, 2, 3, 4, 5
CODES: Final = ("done", "budget", "busy", "protocol", "unauthorised", "disk")


@dataclass(frozen=True, slots=True)
class Hello:
    """Who I am to you: my set, my cursor on your log, and what I will take.

    Attributes:
        cursor: how far I have your log; None: not at all.
        frame_max: bytes of a frame that I will read.
        budget: bytes of items that I will take; 0: only what I ask for; `NO_LIMIT`: all.
        lanes: a bit for each lane that I take.
        set: 32 bytes that name the sync set.
        hints: addresses of peers that both may know; nothing is trusted about them.
    """

    set: bytes
    summary: Summary
    cursor: Cursor | None
    budget: int
    lanes: int
    frame_max: int = FRAME_BYTES_MAX
    features: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    version: int = VERSION


@dataclass(frozen=True, slots=True)
class Mode:
    """How I would go on: `EQUAL`, `BY_CURSOR` or `BY_COMPARISON`; the greater of both counts."""

    mode: int


@dataclass(frozen=True, slots=True)
class Offer:
    """Ids that you may lack, with their sizes. With them you have my log up to `at`."""

    ids: tuple[bytes, ...]
    sizes: tuple[int, ...]
    at: Position | None = None


@dataclass(frozen=True, slots=True)
class Compare:
    """One negentropy message."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Want:
    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Give:
    """Exact bytes of items and blocks. With `question` they answer it."""

    raws: tuple[bytes, ...]
    at: Position | None = None
    question: bytes | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """All that was offered up to `at` is on my disk."""

    at: Position


@dataclass(frozen=True, slots=True)
class Miss:
    """Not here, or not for you: wanted ids, or questions."""

    ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Which items answer these?"""

    questions: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class State:
    """My set at rest: sent when nothing is under way, so that equality is seen and not assumed."""

    count: int
    fingerprint: bytes
    head: Position


@dataclass(frozen=True, slots=True)
class Bye:
    """The end: a code, and after how many seconds to try again."""

    code: int
    retry_s: int | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """A frame of a later version."""

    kind: str


Message = Hello | Mode | Offer | Compare | Want | Give | Ack | Miss | Ask | State | Bye


def encode(message: Message) -> bytes:
    """The frame of a message."""
    kind, build = _WRITERS[type(message)]
    return codec.encode({"t": kind, **build(message)})


def parse(frame: bytes) -> Message | Unknown:
    """The message of a frame.

    Raises:
        ProtocolError: too long, not strict DAG-CBOR, a field is missing or out of its bounds.
    """
    if len(frame) > FRAME_BYTES_MAX:
        raise FrameError(f"a frame of {len(frame)} bytes: {FRAME_BYTES_MAX} are allowed")
    pairs = codec.decode(frame, FRAME_DEPTH_MAX)
    if type(pairs) is not dict:
        raise FrameError("a frame that is no map")
    fields = _Fields(pairs)
    kind = fields.text("t")
    read = _READERS.get(kind)
    return Unknown(kind) if read is None else read(fields)


class _Fields:
    """The map of a frame; each method takes one field out of it and checks its shape."""

    def __init__(self, pairs: dict[str, Any]) -> None:
        self._pairs = pairs

    def __contains__(self, key: str) -> bool:
        return key in self._pairs

    def _of(self, key: str, kind: type) -> Any:
        value = self._pairs.get(key)
        if type(value) is not kind:
            raise FrameError(f"the field {key} of a frame is no {kind.__name__}")
        return value

    def uint(self, key: str, most: int = NO_LIMIT) -> int:
        number: int = self._of(key, int)
        if not 0 <= number <= most:
            raise FrameError(f"the field {key} of a frame is not within 0 … {most}")
        return number

    def raw(self, key: str, size: int) -> bytes:
        return _sized(self._of(key, bytes), size, key)

    def text(self, key: str) -> str:
        text: str = self._of(key, str)
        return text

    def texts(self, key: str) -> tuple[str, ...]:
        if key not in self:
            return ()
        texts = self._of(key, list)
        if len(texts) > HINTS_MAX or any(
            type(text) is not str or len(text) > HINT_BYTES_MAX for text in texts
        ):
            raise FrameError(f"the field {key} of a frame is no short list of short texts")
        return tuple(texts)

    def ids(self, key: str, most: int) -> tuple[bytes, ...]:
        raw: bytes = self._of(key, bytes)
        if len(raw) % ID_BYTES or len(raw) > ID_BYTES * most:
            raise FrameError(f"the field {key} of a frame is not up to {most} ids")
        return tuple(raw[at : at + ID_BYTES] for at in range(0, len(raw), ID_BYTES))

    def uints(self, key: str, count: int) -> tuple[int, ...]:
        numbers = self._of(key, list)
        if len(numbers) != count or any(
            type(n) is not int or not 0 <= n <= NO_LIMIT for n in numbers
        ):
            raise FrameError(f"the field {key} of a frame is not {count} numbers")
        return tuple(numbers)

    def raws(self, key: str) -> tuple[bytes, ...]:
        raws = self._of(key, list)
        if len(raws) > IDS_MAX or any(type(raw) is not bytes for raw in raws):
            raise FrameError(f"the field {key} of a frame is not up to {IDS_MAX} byte strings")
        return tuple(raws)

    def position(self, key: str) -> Position:
        return _position(self._of(key, list), key)

    def maybe_position(self, key: str) -> Position | None:
        return self.position(key) if key in self else None

    def cursor(self, key: str) -> Cursor | None:
        if key not in self:
            return None
        parts = self._of(key, list)
        if len(parts) != 3:
            raise FrameError(f"the field {key} of a frame is no cursor")
        at = _position(parts[1:], key)
        if at == START:
            raise FrameError(f"the field {key} of a frame is a cursor on no row")
        return Cursor(_sized(parts[0], EPOCH_BYTES, key), at)


def _sized(raw: Any, size: int, key: str) -> bytes:
    if type(raw) is not bytes or len(raw) != size:
        raise FrameError(f"the field {key} of a frame is not {size} bytes")
    return raw


def _position(parts: list[Any], key: str) -> Position:
    if len(parts) != 2 or type(parts[0]) is not int or not 0 <= parts[0] < 2**53:
        raise FrameError(f"the field {key} of a frame is no position")
    seq, id = parts
    return Position(seq, _sized(id, ID_BYTES if seq else 0, key)) if seq or id != b"" else START


def _read_hello(fields: _Fields) -> Hello:
    version = fields.uint("v")
    if version < VERSION:
        raise FrameError(f"version {version} of the protocol was never in use")
    head, epoch = fields.position("hd"), fields.raw("ep", EPOCH_BYTES)
    return Hello(
        fields.raw("set", ID_BYTES),
        Summary(epoch, head, fields.uint("n"), fields.raw("fp", 16)),
        fields.cursor("cu"),
        fields.uint("bud") if "bud" in fields else NO_LIMIT,
        fields.uint("want", 255),
        fields.uint("mx", FRAME_BYTES_MAX) if "mx" in fields else FRAME_BYTES_MAX,
        fields.texts("ft"),
        fields.texts("px"),
        version,
    )


def _write_hello(hello: Hello) -> dict[str, Any]:
    summary, cursor = hello.summary, hello.cursor
    fields: dict[str, Any] = {
        "v": hello.version, "set": hello.set, "ep": summary.epoch, "hd": _pair(summary.head),
        "n": summary.count, "fp": summary.fingerprint, "want": hello.lanes,
    }  # fmt: skip
    if hello.frame_max != FRAME_BYTES_MAX:
        fields["mx"] = hello.frame_max
    if hello.budget != NO_LIMIT:
        fields["bud"] = hello.budget
    if cursor is not None:
        fields["cu"] = [cursor.epoch, *_pair(cursor.at)]
    if hello.features:
        fields["ft"] = list(hello.features)
    if hello.hints:
        fields["px"] = list(hello.hints)
    return fields


def _read_offer(fields: _Fields) -> Offer:
    ids = fields.ids("i", IDS_MAX)
    return Offer(ids, fields.uints("s", len(ids)), fields.maybe_position("z"))


def _read_give(fields: _Fields) -> Give:
    question = fields.raw("q", ID_BYTES) if "q" in fields else None
    raws = fields.raws("r")
    if question is not None and len(raws) > ANSWERS_MAX:
        raise FrameError(f"more than {ANSWERS_MAX} answers to one question")
    return Give(raws, fields.maybe_position("z"), question)


def _write_give(give: Give) -> dict[str, Any]:
    question = {} if give.question is None else {"q": give.question}
    return {"r": list(give.raws), **_maybe(give.at), **question}


def _read_compare(fields: _Fields) -> Compare:
    message: bytes = fields._of("m", bytes)
    if not 1 <= len(message) <= COMPARE_BYTES_MAX:
        raise FrameError(f"a comparison of {len(message)} bytes")
    return Compare(message)


def _read_bye(fields: _Fields) -> Bye:
    retry_s = fields.uint("r", RETRY_S_MAX) if "r" in fields else None
    return Bye(fields.uint("c", 255), retry_s)


def _pair(at: Position) -> list[Any]:
    return [at.seq, at.id]


def _maybe(at: Position | None) -> dict[str, Any]:
    return {} if at is None else {"z": _pair(at)}


_READERS: Final[dict[str, Callable[[_Fields], Message]]] = {
    "h": _read_hello,
    "v": lambda fields: Mode(fields.uint("m", BY_COMPARISON)),
    "o": _read_offer,
    "n": _read_compare,
    "w": lambda fields: Want(fields.ids("i", WANTS_MAX)),
    "g": _read_give,
    "k": lambda fields: Ack(fields.position("z")),
    "x": lambda fields: Miss(fields.ids("i", WANTS_MAX)),
    "q": lambda fields: Ask(fields.ids("i", QUESTIONS_MAX)),
    "e": lambda fields: State(fields.uint("n"), fields.raw("fp", 16), fields.position("hd")),
    "b": _read_bye,
}

_WRITERS: Final[dict[type, tuple[str, Callable[[Any], dict[str, Any]]]]] = {
    Hello: ("h", _write_hello),
    Mode: ("v", lambda m: {"m": m.mode}),
    Offer: ("o", lambda m: {"i": b"".join(m.ids), "s": list(m.sizes), **_maybe(m.at)}),
    Compare: ("n", lambda m: {"m": m.message}),
    Want: ("w", lambda m: {"i": b"".join(m.ids)}),
    Give: ("g", _write_give),
    Ack: ("k", lambda m: {"z": _pair(m.at)}),
    Miss: ("x", lambda m: {"i": b"".join(m.ids)}),
    Ask: ("q", lambda m: {"i": b"".join(m.questions)}),
    State: ("e", lambda m: {"n": m.count, "fp": m.fingerprint, "hd": _pair(m.head)}),
    Bye: ("b", lambda m: {"c": m.code} if m.retry_s is None else {"c": m.code, "r": m.retry_s}),
}

assert COMPARE_BYTES_MAX < FRAME_BYTES_MAX - 64
assert ANSWERS_MAX * ITEM_BYTES_MAX <= FRAME_BYTES_MAX
