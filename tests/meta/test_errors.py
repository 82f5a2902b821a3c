"""The error tree that users see: unique codes, a true drawing, documented exit statuses."""

from __future__ import annotations

import re

from lite import errors
from lite.cli.main import EXIT_STATUSES

LINE = re.compile(r"^ *[│ ]*(?:[├└]── )?(\w+)\s+([a-z-]+)\s+(\d+)\b")


def tree() -> dict[str, tuple[str, int]]:
    """Every class that the module defines, with its code and its exit status."""
    classes = [errors.IpvmError, errors.BugError]
    for cls in classes:
        classes.extend(cls.__subclasses__())
    ours = [cls for cls in classes if cls.__module__ == errors.__name__]
    return {cls.__name__: (cls.code, cls.exit_code) for cls in ours}


def drawn() -> dict[str, tuple[str, int]]:
    lines = (errors.__doc__ or "").splitlines()
    matches = [found for line in lines if (found := LINE.match(line))]
    return {match[1]: (match[2], int(match[3])) for match in matches}


def test_codes_are_unique() -> None:
    codes = [code for code, _ in tree().values()]
    assert len(codes) == len(set(codes))


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    classes = tree()
    del classes["IpvmError"]
    assert drawn() == classes


def test_every_class_says_its_own_code() -> None:
    for name in tree():
        assert "code" in vars(getattr(errors, name))


def test_every_exit_status_of_the_tree_is_in_the_help_of_exit_codes() -> None:
    statuses = {status for _, status in tree().values()}
    assert statuses <= set(EXIT_STATUSES)


def test_a_hint_is_kept_beside_the_message() -> None:
    error = errors.NotFoundError("no file a.wasm", hint="give a path that exists")
    assert (str(error), error.hint) == ("no file a.wasm", "give a path that exists")
