"""`@value` does what `@dataclass(frozen=True, slots=True)` does."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from dataclasses import field as standard_field
from typing import Any, ClassVar

import pytest

from lite.frozen import FrozenError, field, fields, frozen, replace


@frozen
class Point:
    """A value with everything."""

    limit: ClassVar[int] = 10
    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list, compare=False)
    secret: str = field(default="s", repr=False)
    size: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if self.x > self.limit:
            raise ValueError("too far")
        object.__setattr__(self, "size", self.x + self.y)

    @property
    def double(self) -> int:
        return self.x * 2


@dataclass(frozen=True, slots=True)
class Standard:
    """The same by the standard decorator."""

    limit: ClassVar[int] = 10
    x: int
    y: int = 0
    tags: list[str] = standard_field(default_factory=list, compare=False)
    secret: str = standard_field(default="s", repr=False)
    size: int = standard_field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", self.x + self.y)


@frozen
class Empty:
    """No fields."""


@frozen
class Named:
    """Its own equality."""

    name: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and self.name.lower() == other.name.lower()

    def __repr__(self) -> str:
        return f"<{self.name}>"


def test_fields_come_in_order_with_their_defaults() -> None:
    point = Point(1, tags=["a"])
    assert (point.x, point.y, point.tags, point.secret, point.size) == (1, 0, ["a"], "s", 1)
    assert Point(1).tags is not Point(1).tags
    assert point.double == 2
    assert Point.limit == 10


def test_it_is_shown_and_matched_as_the_standard_one_is() -> None:
    assert repr(Point(1, 2)) == repr(Standard(1, 2)).replace("Standard", "Point")
    assert Point.__match_args__ == Standard.__match_args__
    match Point(3, 4):
        case Point(3, y):
            assert y == 4
        case _:
            pytest.fail("it did not match")


@pytest.mark.parametrize(
    "arguments",
    [(1,), (1, 2), (1, 2, ["other tags"])],
)
def test_equal_values_are_equal_and_hash_alike(arguments: tuple[Any, ...]) -> None:
    assert Point(*arguments) == Point(*arguments[:2])
    assert hash(Point(*arguments)) == hash(Point(*arguments[:2]))
    assert Point(*arguments) != Point(9)
    other_class: Any = Standard(*arguments)
    assert Point(*arguments) != other_class
    assert Empty() == Empty() and hash(Empty()) == hash(Empty())


def test_nothing_can_be_assigned_or_deleted() -> None:
    point: Any = Point(1)
    for name in ("x", "other"):
        with pytest.raises(FrozenError, match=name):
            setattr(point, name, 5)
        with pytest.raises(FrozenError, match=name):
            delattr(point, name)
    assert not hasattr(point, "__dict__")


def test_wrong_arguments_name_the_class() -> None:
    make: Any = Point
    with pytest.raises(TypeError, match=r"Point\.__init__\(\) missing 1 required"):
        make()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        make(1, z=1)
    with pytest.raises(ValueError, match="too far"):
        make(11)


def test_it_is_copied_pickled_and_replaced() -> None:
    point = Point(1, 2, ["a"])
    for other in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point))):
        assert (other, other.tags, other.size) == (point, ["a"], 3)
    assert copy.copy(point).tags is point.tags
    moved = replace(point, y=5)
    assert (moved.x, moved.y, moved.tags, moved.size) == (1, 5, ["a"], 6)
    with pytest.raises(ValueError, match="too far"):
        replace(point, x=11)
    assert fields(point) == fields(Point) == ("x", "y", "tags", "secret")


def test_methods_of_its_own_are_kept() -> None:
    assert Named("A") == Named("a")
    assert repr(Named("A")) == "<A>"
    assert len({Named("A"), Named("A")}) == 1


def test_values_do_not_inherit() -> None:
    with pytest.raises(AssertionError, match="do not inherit"):

        @frozen
        class Child(Named):
            pass
