"""The error tree of `sync`: unique codes and a true drawing."""

from __future__ import annotations

import re

from sync import errors

LINE = re.compile(r"^ *[│ ]*(?:[├└]── )?(\w+)\s+([a-z-]+)\s")


def tree() -> dict[str, str]:
    classes: list[type[errors.SyncError]] = [errors.SyncError]
    for cls in classes:
        classes.extend(cls.__subclasses__())
    return {cls.__name__: cls.code for cls in classes if cls.__module__ == errors.__name__}


def test_codes_are_unique_and_each_class_says_its_own() -> None:
    codes = tree()
    assert len(set(codes.values())) == len(codes)
    assert all("code" in vars(getattr(errors, name)) for name in codes)


def test_the_drawing_is_the_tree() -> None:
    lines = (errors.__doc__ or "").splitlines()[1:]
    assert {found[1]: found[2] for line in lines if (found := LINE.match(line))} == tree()
