"""`@frozen`: values, as `@dataclass(frozen=True, slots=True)` makes them, but sooner.

The standard decorator takes about 0.5 ms a class, because it compiles six methods from text; with
eighty classes that was half of the start-up time of a command. Here only `__init__` is compiled.
Everything else is the same: fields in order, defaults, `__post_init__`, equality and hash by value,
pattern matching, copying and pickling, and no assignment after `__init__`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[Any], Any]:
        return lambda decorator: decorator


__all__ = ["FrozenError", "field", "fields", "frozen", "replace"]

T = TypeVar("T")
MISSING: Any = type("MISSING", (), {"__repr__": lambda _: "MISSING"})()


class FrozenError(AttributeError):
    """A field of a value was assigned or deleted."""


class _Field:
    __slots__ = ("compare", "default", "default_factory", "init", "repr")

    def __init__(self, default: Any, factory: Any, init: bool, repr: bool, compare: bool) -> None:
        self.default = default
        self.default_factory = factory
        self.init = init
        self.repr = repr
        self.compare = compare


def field(
    *,
    default: Any = MISSING,
    default_factory: Any = MISSING,
    init: bool = True,
    repr: bool = True,
    compare: bool = True,
) -> Any:
    """Say more about a field than its type.

    Args:
        default_factory: makes the default anew each time.
        init: False: `__post_init__` sets it with `object.__setattr__`, or it has a default.
        repr: show it.
        compare: it counts for equality and hash.
    """
    return _Field(default, default_factory, init, repr, compare)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """Make a class of annotated fields a class of immutable values. No base class but `object`."""
    assert cls.__bases__ == (object,), f"{cls.__name__}: values do not inherit"
    body = dict(cls.__dict__)
    specs = dict(_specs(body))
    for name in (*specs, "__dict__", "__weakref__"):
        body.pop(name, None)
    compared = tuple(name for name, spec in specs.items() if spec.compare)
    shown = tuple(name for name, spec in specs.items() if spec.repr)
    key: Callable[[Any], Any] = attrgetter(*compared) if compared else lambda _: ()

    def equal(self: Any, other: Any) -> Any:
        return key(self) == key(other) if other.__class__ is self.__class__ else NotImplemented

    body.setdefault("__eq__", equal)
    body.setdefault("__hash__", lambda self: hash((self.__class__, key(self))))
    body.setdefault("__repr__", lambda self: _text(self, shown))
    if body["__hash__"] is None:  # Python sets it where a class body defines only `__eq__`
        body["__hash__"] = lambda self: hash((self.__class__, key(self)))
    body |= {
        "__slots__": tuple(specs),
        "__match_args__": tuple(name for name, spec in specs.items() if spec.init),
        "__frozen_fields__": specs,
        "__setattr__": _refuse_to_set,
        "__delattr__": _refuse_to_delete,
        "__getstate__": _state,
        "__setstate__": _restore,
    }
    made: Any = type(cls.__name__, (object,), body)
    made.__qualname__ = cls.__qualname__
    made.__init__ = _initializer(made, specs)
    found: type[T] = made
    return found


def _specs(body: dict[str, Any]) -> Iterator[tuple[str, _Field]]:
    for name, annotation in body.get("__annotations__", {}).items():
        if isinstance(annotation, str) and annotation.startswith(("ClassVar", "typing.ClassVar")):
            continue
        default = body.get(name, MISSING)
        is_spec = isinstance(default, _Field)
        yield name, default if is_spec else _Field(default, MISSING, True, True, True)


def _initializer(made: Any, specs: dict[str, _Field]) -> Any:
    """`__init__`, compiled, so that it is as fast as a written one."""
    scope: dict[str, Any] = {"MISSING": MISSING}
    parameters, lines = ["self"], []
    for name, spec in specs.items():
        scope[f"set_{name}"] = getattr(made, name).__set__
        text = name
        if spec.default is not MISSING:
            scope[f"default_{name}"] = spec.default
        elif spec.default_factory is not MISSING:
            scope[f"make_{name}"] = spec.default_factory
            scope[f"default_{name}"] = MISSING
            text = f"make_{name}() if {name} is MISSING else {name}"
        has_default = f"default_{name}" in scope
        if spec.init:
            parameters.append(f"{name}=default_{name}" if has_default else name)
        elif has_default:
            text = f"make_{name}()" if f"make_{name}" in scope else f"default_{name}"
        else:
            continue
        lines.append(f"set_{name}(self, {text})")
    if hasattr(made, "__post_init__"):
        lines.append("self.__post_init__()")
    exec(f"def __init__({', '.join(parameters)}):\n " + "\n ".join(lines or ["pass"]), scope)
    function = scope["__init__"]
    function.__qualname__ = f"{made.__qualname__}.__init__"
    function.__module__ = made.__module__
    function.__annotations__ = {"return": None}
    return function


def _text(self: Any, shown: tuple[str, ...]) -> str:
    inside = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
    return f"{self.__class__.__qualname__}({inside})"


def _refuse_to_set(self: Any, name: str, _value: Any) -> None:
    raise FrozenError(f"{self.__class__.__name__}.{name} cannot be assigned: values do not change")


def _refuse_to_delete(self: Any, name: str) -> None:
    raise FrozenError(f"{self.__class__.__name__}.{name} cannot be deleted: values do not change")


def _state(self: Any) -> list[Any]:
    return [getattr(self, name) for name in self.__slots__]


def _restore(self: Any, state: list[Any]) -> None:
    for name, item in zip(self.__slots__, state, strict=True):
        object.__setattr__(self, name, item)


def fields(made: Any) -> tuple[str, ...]:
    """The names of the fields that `__init__` takes, of a value or its class."""
    names: tuple[str, ...] = made.__match_args__
    return names


def replace(original: T, **changes: Any) -> T:
    """The same value with some fields changed; `__post_init__` checks it again."""
    kept = {name: getattr(original, name) for name in fields(original) if name not in changes}
    return type(original)(**kept, **changes)
