"""Who stands between two principals, whatever strangers add."""

from __future__ import annotations

from collections import Counter

from lite.ucan import between as module
from lite.ucan.between import between


class Edges:
    """Pairs of who gave something to whom; counts the questions."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self.pairs = pairs
        self.asked: Counter[str] = Counter()

    def takers(self, issuer: str, subject: str) -> list[str]:
        self.asked["takers"] += 1
        return [to for giver, to in self.pairs if giver == issuer]

    def givers(self, audience: str, subject: str) -> list[str]:
        self.asked["givers"] += 1
        return [giver for giver, to in self.pairs if to == audience]


def test_only_those_on_a_way_are_found_with_their_distances() -> None:
    web = Edges(
        ("s", "a"), ("a", "b"), ("b", "z"), ("s", "b"), ("a", "dead end"), ("stranger", "z")
    )
    assert between(web, "s", "z", about="s") == {"s": 0, "a": 1, "b": 1, "z": 2}
    assert between(web, "stranger", "b", about="s") == {}
    assert between(web, "s", "s", about="s") == {"s": 0}


def test_circles_end() -> None:
    web = Edges(("a", "b"), ("b", "a"), ("s", "a"))
    assert between(web, "s", "b", about="s") == {"s": 0, "a": 1, "b": 2}
    assert between(web, "a", "s", about="s") == {}


def test_a_crowd_above_the_audience_is_not_gone_into() -> None:
    crowd = [(f"stranger {n}", "z") for n in range(3000)]
    above = [(f"backer {n}", f"stranger {n}") for n in range(3000)]
    web = Edges(("s", "a"), ("a", "z"), *crowd, *above)
    assert between(web, "s", "z", about="s") == {"s": 0, "a": 1, "z": 2}
    assert web.asked["givers"] <= 4
    wide = Edges(*((b, a) for a, b in web.pairs))
    assert between(wide, "z", "s", about="z") == {"z": 0, "a": 1, "s": 2}


def test_when_both_sides_are_too_many_nothing_is_known() -> None:
    many = module.PRINCIPALS_MAX + 1
    down, up = ((("s", f"d{n}") for n in range(many)), ((f"u{n}", "z") for n in range(many)))
    onwards = [(f"d{n}", f"e{n}") for n in range(3)], [(f"v{n}", f"u{n}") for n in range(3)]
    assert between(Edges(*down, *up, *onwards[0], *onwards[1]), "s", "z", about="s") is None
