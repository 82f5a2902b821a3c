"""What a customer and a provider say to each other, as values: `lite/ARCHITECTURE.md`, Providing.

Over the authenticated channel of two nodes, so that each knows who the other is. Bodies are strict
DAG-CBOR, but for the container of tokens that submits jobs and the event streams, which are
`text/event-stream` with DAG-JSON in their data.

    POST /ipvm/1/bids              [{ins, needs, confirm?, along?: [needs, …]}, …]
                                   -> [Bid | {ins, code, message}, …]
    POST /ipvm/1/jobs              ctn-v1 of invocations, proofs -> [job, …] in its order
    GET  /ipvm/1/jobs/INV          -> job
    POST /ipvm/1/jobs/INV/cancel   -> job
    GET  /ipvm/1/jobs/INV/events   -> events `state` (a job) and `output` ({at, data})
    GET  /ipvm/1/changes?after=SEQ&epoch=EPOCH
                                   -> events `epoch` ({epoch}: what its numbers are called; given
                                      another one, it begins at 0), then `state` of all jobs of
                                      whoever asks that changed since, then `live` ({seq}), then
                                      `state` as they change
    POST /ipvm/1/blocks            CAR v1 of inputs that jobs wait for, or nothing -> [link, …]:
                                      what is missing then
    GET  /ipvm/1/offers            -> ctn-v1 of delegations for whoever asks
    GET  /ipvm/1/account           -> account

    job     = {inv, state, seq, at, begun, ins?, code?, message?, receipt?}
    account = {day, jobs, fuel, time, refused: {code: count}, waiting, running}
    error   = {code, message, hint?, retry?}     with a status of 4xx or 5xx
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeVar

from lite.errors import CodecError, UsageError
from lite.frozen import field, frozen, replace
from lite.ipld import dag_cbor
from lite.ipld.cid import CID
from lite.limits import BLOCK_BYTES_MAX, INTEGER_MAX, TIME_MAX_S, TOKEN_BYTES_MAX
from lite.model import fields
from lite.model.place import FieldError, Path
from lite.needs.bids import Bid
from lite.needs.requirements import Requirements
from lite.ucan.container import CONTAINER_BYTES_MAX

T = TypeVar("T")

PATH_BIDS: Final = "/ipvm/1/bids"
PATH_JOBS: Final = "/ipvm/1/jobs"
PATH_CHANGES: Final = "/ipvm/1/changes"
PATH_BLOCKS: Final = "/ipvm/1/blocks"
PATH_OFFERS: Final = "/ipvm/1/offers"
PATH_ACCOUNT: Final = "/ipvm/1/account"

CBOR_TYPE: Final = "application/vnd.ipld.dag-cbor"
EVENTS_TYPE: Final = "text/event-stream"
STATE: Final = "state"  # events
OUTPUT: Final = "output"
LIVE: Final = "live"
EPOCH: Final = "epoch"
NEEDS: Final = "needs"  # in the `meta` of an invocation: what it needs, in canonical form

ASKS_MAX: Final = 256  # bids in one request
ALONG_MAX: Final = 63  # steps that go with one that is asked about
JOBS_MAX: Final = 256  # invocations in one container
CONFIRM_MAX: Final = 16
TEXT_CHARS_MAX: Final = 2_000
CODES_MAX: Final = 256
ASKS_BYTES_MAX: Final = 1024 * 1024
SUBMISSION_BYTES_MAX: Final = CONTAINER_BYTES_MAX + 1
SUPPLY_BYTES_MAX: Final = BLOCK_BYTES_MAX + 1024 * 1024  # a CAR with one block at least
LACKING_MAX: Final = 1_000  # CIDs in one answer
REPLY_BYTES_MAX: Final = JOBS_MAX * (TOKEN_BYTES_MAX + 8 * TEXT_CHARS_MAX)

State = Literal["queued", "running", "done", "refused", "cancelled", "expired"]
STATES: Final = ("queued", "running", "done", "refused", "cancelled", "expired")
ENDS: Final = ("done", "refused", "cancelled", "expired")

_HEAD_BYTES: Final = 9  # of a list, in DAG-CBOR
_JOB: Final = ("inv", "state", "seq", "at", "begun", "ins", "code", "message", "receipt")
_JOB_NEEDED: Final = _JOB[:5]
_ACCOUNT: Final = ("day", "jobs", "fuel", "time", "refused", "waiting", "running")


@frozen
class Ask:
    """A call for a bid on one step.

    Attributes:
        confirm: of how many providers one answer is wanted, this one among them.
        along: what the steps need that would go with it.
    """

    instruction: CID
    needs: Requirements
    confirm: int = 1
    along: tuple[Requirements, ...] = ()

    def value(self) -> dict[str, Any]:
        """The IPLD map of the canonical form."""
        value: dict[str, Any] = {"ins": self.instruction, "needs": self.needs.value()}
        if self.confirm != 1:
            value["confirm"] = self.confirm
        return value | {"along": [one.value() for one in self.along]} if self.along else value

    @staticmethod
    def from_value(value: Any, path: Path = ()) -> Ask:
        """Read the canonical form, and nothing else. Raises FieldError."""
        told = _told(value, path, ("ins", "needs", "confirm", "along"), ("ins", "needs"))
        confirm, along = 1, list[Requirements]()
        if "confirm" in told:
            confirm = fields.whole(told["confirm"], (*path, "confirm"), 2, CONFIRM_MAX)
        needs = Requirements.from_value(told["needs"], (*path, "needs"))
        if "along" in told:
            where = (*path, "along")
            along = _list(told["along"], Requirements.from_value, ALONG_MAX, where)
        return Ask(_link(told["ins"], (*path, "ins")), needs, confirm, tuple(along))


@frozen
class NoBid:
    """Why a provider does not bid: a code of `lite.needs.fit` or of `lite.offload.refused`."""

    instruction: CID
    code: str
    message: str

    def value(self) -> dict[str, Any]:
        """The IPLD map of the canonical form."""
        return {"ins": self.instruction, "code": self.code, "message": self.message}

    @staticmethod
    def from_value(value: Any, path: Path = ()) -> NoBid:
        """Read the canonical form, and nothing else. Raises FieldError."""
        told = _told(value, path, names := ("ins", "code", "message"), names)
        return NoBid(
            _link(told["ins"], (*path, "ins")),
            fields.word(told["code"], (*path, "code")),
            _text(told["message"], (*path, "message")),
        )


@frozen
class Job:
    """How a job stands at its provider.

    Attributes:
        seq: number of the change that led to this; later changes at a provider have greater ones.
        at: when that was, in seconds since 1970 by the provider's clock.
        begun: it may have had an effect. While it is False nothing was done for it, and nothing
            ever will be once the state is an end.
        instruction: what it asks for; None when no instruction could be read from it.
        code, message: why it waits, or why it ended without an answer.
        receipt: a token, with every end: of `done` a receipt that answers the instruction; else a
            statement that answers the invocation alone (`lite.offload.refused`).
    """

    invocation: CID
    state: State
    seq: int
    at: int
    begun: bool = False
    instruction: CID | None = None
    code: str = ""
    message: str = ""
    receipt: bytes | None = field(default=None, repr=False)

    @property
    def is_over(self) -> bool:
        """Whether this is how it stays."""
        return self.state in ENDS

    def value(self) -> dict[str, Any]:
        """The IPLD map of the canonical form; what is empty is not in it."""
        value: dict[str, Any] = {
            "inv": self.invocation,
            "state": self.state,
            "seq": self.seq,
            "at": self.at,
            "begun": self.begun,
        }
        optional = (self.instruction, self.code, self.message, self.receipt)
        return value | {key: item for key, item in zip(_JOB[5:], optional, strict=True) if item}

    @staticmethod
    def from_value(value: Any, path: Path = ()) -> Job:
        """Read the canonical form, and nothing else. Raises FieldError."""
        told = _told(value, path, _JOB, _JOB_NEEDED)

        def at(key: str, read: Callable[[Any, Path], T], absent: T) -> T:
            return read(told[key], (*path, key)) if key in told else absent

        job = Job(
            _link(told["inv"], (*path, "inv")),
            _state(told["state"], (*path, "state")),
            fields.whole(told["seq"], (*path, "seq"), 0, TIME_MAX_S),
            fields.whole(told["at"], (*path, "at"), 0, TIME_MAX_S),
            _bool(told["begun"], (*path, "begun")),
            at("ins", _link, None),
            at("code", fields.word, ""),
            at("message", _text, ""),
            at("receipt", _token, None),
        )
        if job.is_over != (job.receipt is not None):
            raise FieldError((*path, "receipt"), "is there at the end, and only then")
        return job


@frozen
class Output:
    """What a guest wrote while it ran.

    Attributes:
        at: how many bytes it had written before.
    """

    at: int
    data: bytes

    def value(self) -> dict[str, Any]:
        """The IPLD map of the canonical form."""
        return {"at": self.at, "data": self.data}

    @staticmethod
    def from_value(value: Any, path: Path = ()) -> Output:
        """Read the canonical form, and nothing else. Raises FieldError."""
        told = _told(value, path, names := ("at", "data"), names)
        if type(told["data"]) is not bytes:
            raise FieldError((*path, "data"), "bytes are needed")
        return Output(fields.whole(told["at"], (*path, "at"), 0, TIME_MAX_S), told["data"])


@frozen
class Account:
    """What one customer used of a provider on one day, as the provider counts it.

    Attributes:
        day: days since 1970-01-01, UTC.
        jobs: those that ran. fuel, time_ms: that they used.
        refused: how many were refused, by code.
        waiting, running: jobs of this moment.
    """

    day: int
    jobs: int = 0
    fuel: int = 0
    time_ms: int = 0
    refused: tuple[tuple[str, int], ...] = ()
    waiting: int = 0
    running: int = 0

    def value(self) -> dict[str, Any]:
        """The IPLD map of the canonical form."""
        numbers = (self.day, self.jobs, self.fuel, self.time_ms)
        refused = dict(self.refused)
        return dict(zip(_ACCOUNT, (*numbers, refused, self.waiting, self.running), strict=True))

    @staticmethod
    def from_value(value: Any, path: Path = ()) -> Account:
        """Read the canonical form, and nothing else. Raises FieldError."""
        told = _told(value, path, _ACCOUNT, _ACCOUNT)

        def count(key: str) -> int:
            number: int = fields.whole(told[key], (*path, key), 0, INTEGER_MAX)
            return number

        refused = told["refused"]
        if type(refused) is not dict or len(refused) > CODES_MAX:
            raise FieldError((*path, "refused"), f"a map of at most {CODES_MAX} is needed")
        codes = {
            fields.word(code, (*path, "refused")): fields.whole(
                number, (*path, "refused", code), 0, INTEGER_MAX
            )
            for code, number in refused.items()
        }
        return Account(
            count("day"),
            count("jobs"),
            count("fuel"),
            count("time"),
            tuple(sorted(codes.items())),
            count("waiting"),
            count("running"),
        )


@frozen
class Denied:
    """Why a request as a whole led to nothing.

    Attributes:
        retry_s: when it may be worth trying again; None: not before something changed.
    """

    code: str
    message: str
    hint: str = ""
    retry_s: int | None = None

    def value(self) -> dict[str, Any]:
        """The IPLD map of the canonical form; what is empty is not in it."""
        value: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.hint:
            value["hint"] = self.hint
        return value if self.retry_s is None else value | {"retry": self.retry_s}

    @staticmethod
    def from_value(value: Any, path: Path = ()) -> Denied:
        """Read the canonical form, and nothing else. Raises FieldError."""
        told = _told(value, path, ("code", "message", "hint", "retry"), ("code", "message"))
        retry = None
        if "retry" in told:
            retry = fields.whole(told["retry"], (*path, "retry"), 0, TIME_MAX_S)
        return Denied(
            fields.word(told["code"], (*path, "code")),
            _text(told["message"], (*path, "message")),
            _text(told.get("hint", ""), (*path, "hint")),
            retry,
        )


def read_asks(data: bytes) -> list[Ask]:
    """The calls for bids in a request. Raises CodecError."""
    return _read(data, lambda value: _list(value, Ask.from_value, ASKS_MAX), "a call for bids")


def read_bids(data: bytes) -> list[Bid | NoBid]:
    """The answers to `read_asks`, in its order. Raises CodecError."""

    def one(value: Any, path: Path) -> Bid | NoBid:
        refused = type(value) is dict and "code" in value
        return NoBid.from_value(value, path) if refused else Bid.from_value(value, path)

    return _read(data, lambda value: _list(value, one, ASKS_MAX), "an answer to a call for bids")


def read_jobs(data: bytes) -> list[Job]:
    """How the jobs of a request stand. Raises CodecError."""
    return _read(data, lambda value: _list(value, Job.from_value, JOBS_MAX), "a list of jobs")


def read_lacking(data: bytes) -> list[CID]:
    """What is missing of the inputs of jobs. Raises CodecError."""

    def links(value: Any) -> list[CID]:
        if type(value) is not list or len(value) > LACKING_MAX:
            raise FieldError((), f"a list of at most {LACKING_MAX} is needed")
        return [_link(item, (at,)) for at, item in enumerate(value)]

    return _read(data, links, "a list of links")


def read_job(data: bytes) -> Job:
    """How one job stands. Raises CodecError."""
    return _read(data, Job.from_value, "the state of a job")


def read_account(data: bytes) -> Account:
    """An account. Raises CodecError."""
    return _read(data, Account.from_value, "an account")


def read_denied(data: bytes) -> Denied:
    """Why a request led to nothing. Raises CodecError."""
    return _read(data, Denied.from_value, "the reason of a refusal")


def write(values: Sequence[Ask | Bid | NoBid | Job]) -> bytes:
    """A list of any of these."""
    return dag_cbor.encode([value.value() for value in values])


def split_asks(asks: Sequence[Ask]) -> list[bytes]:
    """The bodies of as many requests as calls for bids need. One that is too large with what would
    go along is made without."""
    bodies: list[bytes] = []
    some: list[Ask] = []
    size = 0
    for ask in asks:
        more = len(dag_cbor.encode(ask.value()))
        if ask.along and more > ASKS_BYTES_MAX // 2:
            ask = replace(ask, along=())
            more = len(dag_cbor.encode(ask.value()))
        if some and (len(some) == ASKS_MAX or size + more > ASKS_BYTES_MAX - _HEAD_BYTES):
            bodies.append(write(some))
            some, size = [], 0
        some.append(ask)
        size += more
    return [*bodies, write(some)]


def job_path(invocation: CID, *parts: str) -> str:
    """The path of a job, and of what is below it: `cancel`, `events`."""
    return "/".join((PATH_JOBS, str(invocation), *parts))


def _read(data: bytes, read: Callable[[Any], T], what: str) -> T:
    value = dag_cbor.decode(data)
    try:
        return read(value)
    except UsageError as error:
        raise CodecError(f"not {what}: {error}") from None


def _list(value: Any, read: Callable[[Any, Path], T], count_max: int, path: Path = ()) -> list[T]:
    if type(value) is not list or not 1 <= len(value) <= count_max:
        raise FieldError(path, f"a list of 1 to {count_max} is needed")
    return [read(item, (*path, at)) for at, item in enumerate(value)]


def _told(value: Any, path: Path, known: Sequence[str], needed: Sequence[str]) -> dict[str, Any]:
    told = fields.mapping(value, path, known)
    for key in needed:
        if key not in told:
            raise FieldError((*path, key), "missing")
    return dict(told)


def _link(value: Any, path: Path) -> CID:
    if type(value) is not CID:
        raise FieldError(path, "a link is needed")
    return value


def _state(value: Any, path: Path) -> State:
    for known in STATES:
        if value == known:
            return known
    raise FieldError(path, f"one of {', '.join(STATES)} is needed")


def _bool(value: Any, path: Path) -> bool:
    if type(value) is not bool:
        raise FieldError(path, "true or false is needed")
    return value


def _text(value: Any, path: Path) -> str:
    if type(value) is not str or len(value) > TEXT_CHARS_MAX:
        raise FieldError(path, f"text of at most {TEXT_CHARS_MAX} characters is needed")
    return value


def _token(value: Any, path: Path) -> bytes:
    if type(value) is not bytes or len(value) > TOKEN_BYTES_MAX:
        raise FieldError(path, f"a token of at most {TOKEN_BYTES_MAX} bytes is needed")
    return value
