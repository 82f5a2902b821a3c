"""The terms on which a provider does things for others, and the delegations that carry them.

What can be judged by looking at one invocation is in the delegation's policy, which every node
checks alike; what has to be counted over a day, and how much the owner lets such a job use at most,
is in its `meta`:

    meta: {provider: {fuel?, memory?, time?, output?, jobs?, day_fuel?, subcontract?, anyone?}}

Only what this node signed itself at the top of a chain counts.
"""

from __future__ import annotations

from typing import Any, Final

from lite.errors import CidError, UsageError
from lite.frozen import frozen
from lite.ipld import dag_cbor
from lite.ipld.cid import CID, DAG_CBOR
from lite.keys import Key
from lite.limits import INTEGER_MAX, Limits
from lite.model import fields
from lite.model.place import FieldError
from lite.ucan.delegation import Delegation

__all__ = ["NO_TERMS", "Terms", "counted_as", "issue", "limits_within", "terms_of"]

KEY: Final = "provider"
MODULES_MAX: Final = 64
_NUMBERS: Final = ("fuel", "memory", "time", "output", "jobs", "day_fuel")
_MARKS: Final = ("subcontract", "anyone")
_LIMITS: Final = {
    "fuel": "fuel",
    "memory": "memory_bytes",
    "time": "time_ms",
    "output": "output_bytes",
}


@frozen
class Terms:
    """What is done for somebody, at most.

    Attributes:
        modules: code that may be run; empty: any.
        fuel, memory, time, output: of one job; bytes and milliseconds. 0: what guests get.
        jobs, day_fuel: on one day (UTC), of all under one delegation; 0: no bound.
        subcontract: this node may pass a job on to others.
        anyone: it was made for whoever asked: it holds as long as that offer stands, and all such
            delegations share the bounds of the day.
    """

    modules: tuple[CID, ...] = ()
    fuel: int = 0
    memory: int = 0
    time: int = 0
    output: int = 0
    jobs: int = 0
    day_fuel: int = 0
    subcontract: bool = False
    anyone: bool = False

    def policy(self) -> list[Any]:
        """The statements that an invocation's arguments have to meet."""
        statements: list[Any] = []
        if self.modules:
            either = [way for cid in self.modules for way in _code(cid)]
            statements.append(["or", either])
        for key in _LIMITS:
            most = getattr(self, key)
            if most:
                statements.append(["<=", f".limits.{key}", most])
        return statements

    def value(self) -> dict[str, Any]:
        """The IPLD map for `meta`, without what is not bounded and without the modules."""
        value: dict[str, Any] = {key: getattr(self, key) for key in _NUMBERS if getattr(self, key)}
        return value | {key: True for key in _MARKS if getattr(self, key)}

    def encode(self) -> bytes:
        """All of it in DAG-CBOR."""
        return dag_cbor.encode({**self.value(), "modules": list(self.modules)})

    @staticmethod
    def decode(data: bytes) -> Terms:
        """Read what `encode` wrote. Raises UsageError, CodecError."""
        value = dag_cbor.decode(data)
        modules = value.pop("modules")
        return Terms.from_value(value, tuple(modules))

    @staticmethod
    def from_value(value: Any, modules: tuple[CID, ...] = ()) -> Terms:
        """Read the map in `meta`. Raises FieldError."""
        told = fields.mapping(value, (KEY,), (*_NUMBERS, *_MARKS))
        found: dict[str, Any] = {
            key: fields.whole(told[key], (KEY, key), 1, INTEGER_MAX)
            for key in _NUMBERS
            if key in told
        }
        marks = {key: told[key] for key in _MARKS if key in told}
        for key, mark in marks.items():
            if type(mark) is not bool:
                raise FieldError((KEY, key), "true or false is needed")
        return Terms(modules, **found, **marks)

    def limits(self, guest: Limits, own: Limits) -> Limits:
        """What one job may use at most.

        Args:
            guest: where nothing is said. own: what the node allows anybody.
        """
        said = {name: getattr(self, key) for key, name in _LIMITS.items() if getattr(self, key)}
        asked = {name: said.get(name, getattr(guest, name)) for name in _LIMITS.values()}
        return Limits(**asked).clamp(own)


NO_TERMS: Final = Terms()


def issue(key: Key, terms: Terms, *, to: str, command: str, expires_at: int | None) -> Delegation:
    """Sign a delegation with the terms in it.

    Args:
        to: the DID of the customer. expires_at: seconds since 1970; None: never.

    Raises:
        UsageError, LimitError: as `Delegation.issue`.
    """
    return Delegation.issue(
        key,
        audience=to,
        subject=key.did,
        command=command,
        policy=terms.policy(),
        expires_at=expires_at,
        meta={KEY: terms.value()},
    )


def terms_of(delegation: Delegation) -> Terms | None:
    """The terms in a delegation of a provider's own; None where it says nothing of them."""
    value = delegation.meta.get(KEY)
    if value is None:
        return None
    try:
        return Terms.from_value(value, _modules(delegation.policy.value()))
    except UsageError:
        return None


def counted_as(delegation: Delegation) -> CID:
    """Under what the uses of a delegation of a provider's own are counted: itself, or all those of
    its command that whoever asked was given."""
    terms = terms_of(delegation)
    if terms is None or not terms.anyone:
        return delegation.cid
    return CID.of(dag_cbor.encode({"anyone": delegation.command}), DAG_CBOR)


def limits_within(delegation: Delegation, limits: Limits) -> dict[str, int]:
    """`args.limits` for an invocation under a delegation: what somebody wants to use, but no more
    than its policy lets pass, as far as that says so by `<=`."""
    most: dict[str, int] = {key: getattr(limits, name) for key, name in _LIMITS.items()}
    for statement in delegation.policy.value():
        if type(statement) is list and len(statement) == 3 and statement[0] == "<=":
            key, bound = str(statement[1]).removeprefix(".limits."), statement[2]
            if key in most and type(bound) is int:
                most[key] = min(most[key], bound)
    return {key: number for key, number in most.items() if number < INTEGER_MAX}


def _code(module: CID) -> list[Any]:
    """The ways in which an invocation may name a module, and what is below it."""
    return [["==", ".rsc", f"ipfs://{module}"], ["like", ".rsc", f"ipfs://{module}/*"]]


def _modules(policy: list[Any]) -> tuple[CID, ...]:
    """Back from `Terms.policy`; for people, who want to see them. Nothing of a policy that says it
    in another form: that holds all the same."""
    either: list[Any] = next((some for name, *some in policy if name == "or"), [[]])[0]
    texts = [str(one[2]) for one in either if one[:2] == ["==", ".rsc"]]
    try:
        modules = tuple(CID.parse(text.removeprefix("ipfs://")) for text in texts)
    except CidError:
        return ()
    return modules if [way for cid in modules for way in _code(cid)] == either else ()
