"""What `meta` may say that this node heeds, checked where a workflow is read.

    secret    of a task, of the workflow, of its `defaults`; also under "ipvm/config"   a boolean
    retry     of a task            {attempts, backoff_ms}
    force     of the workflow      a boolean
    priority  of a task            an integer from -100 to 100, the greatest goes first
    requires, needs   of a task    what `lite.model.requires` reads

Anything else in `meta` is the author's own and stays as it is. But a word that keeps something
secret must not be lost by how it is written: `yes` is text in YAML 1.2, and `Secret` another key.
Null is the same as nothing. Limits are checked in `limits_map`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lite.limits import RETRY_ATTEMPTS_MAX, RETRY_BACKOFF_MS_MAX
from lite.model.place import FieldError, Path, shown

__all__ = ["CONFIG", "PRIORITY_MAX", "check_defaults", "check_meta", "is_private", "priority_of"]

CONFIG: Final = "ipvm/config"

_MEANT: Final = {
    "secret": "secret",
    "secrets": "secret",
    "private": "secret",
    "force": "force",
    "retry": "retry",
    "requires": "requires",
    "require": "requires",
    "requirements": "requires",
    "needs": "needs",
    CONFIG: CONFIG,
    "ipvm/confg": CONFIG,  # as the text of IPVM 0.1 has it once
    "ipvm.config": CONFIG,
    "ipvm-config": CONFIG,
    "ipvm_config": CONFIG,
}
_BOUNDS: Final = {"attempts": (1, RETRY_ATTEMPTS_MAX), "backoff_ms": (0, RETRY_BACKOFF_MS_MAX)}
PRIORITY_MAX: Final = 100
_BOOLEAN: Final = "Write it without quotes; in YAML yes and on are text."


def check_meta(meta: Mapping[str, Any], path: Path = ("meta",)) -> None:
    """Refuse what this node would have to guess at.

    Raises:
        FieldError: it names the field; `path` is that of `meta`.
    """
    _check_words(meta, path)
    _boolean(meta, "force", path)
    if meta.get("retry") is not None:
        _check_retry(meta["retry"], (*path, "retry"))
    if meta.get("priority") is not None and priority_of(meta) is None:
        told = f"an integer from -{PRIORITY_MAX} to {PRIORITY_MAX} is needed"
        raise FieldError((*path, "priority"), told, hint="0 is what a step has without one.")
    if meta.get("requires") is not None or meta.get("needs") is not None:
        from lite.model.requires import check_declared

        check_declared(meta, path)


def priority_of(meta: Mapping[str, Any]) -> int | None:
    """How much sooner than others a step that waits is offered; None: nothing that counts."""
    asked = meta.get("priority")
    is_one = type(asked) is int and -PRIORITY_MAX <= asked <= PRIORITY_MAX
    return asked if is_one else None


def check_defaults(defaults: Mapping[str, Any] | None) -> None:
    """The same for `defaults` of a workflow, beside its limits."""
    if defaults is not None:
        _check_words(defaults, ("defaults",))


def _check_words(fields: Mapping[str, Any], path: Path) -> None:
    for key in fields:
        meant = _MEANT.get(key.strip().lower())
        if meant is not None and key != meant:
            raise FieldError(
                (*path, key), f"is not a field here, {meant} is", hint=f"Write {meant}."
            )
    _boolean(fields, "secret", path)
    config = fields.get(CONFIG)
    if config is None:
        return
    if not isinstance(config, Mapping):
        raise FieldError((*path, CONFIG), "a map is needed", hint="Such as {secret: true}.")
    _check_words(config, (*path, CONFIG))


def _boolean(fields: Mapping[str, Any], key: str, path: Path) -> None:
    value = fields.get(key)
    if value is not None and type(value) is not bool:
        raise FieldError(
            (*path, key), f"true or false is needed, not {shown(value)}", hint=_BOOLEAN
        )


def _check_retry(retry: Any, path: Path) -> None:
    if not isinstance(retry, Mapping):
        raise FieldError(
            path, f"a map with {' and '.join(_BOUNDS)} is needed", hint="Such as {attempts: 3}."
        )
    for key in retry:
        if key not in _BOUNDS:
            raise FieldError(
                (*path, key), "is not a field here", hint=f"It has {' and '.join(_BOUNDS)}."
            )
    for key, (low, high) in _BOUNDS.items():
        value = retry.get(key, low)
        if type(value) is not int or not low <= value <= high:
            raise FieldError(
                (*path, key),
                f"a whole number from {low} to {high} is needed, not {shown(value)}",
                hint="backoff_ms is in milliseconds." if key == "backoff_ms" else None,
            )


def is_private(meta: Mapping[str, Any]) -> bool:
    """Whether a task or a workflow asks to stay on this node (`secret`, IPVM workflow 0.1.0)."""
    config = meta.get(CONFIG)
    nested = config.get("secret") if isinstance(config, Mapping) else None
    return meta.get("secret") is True or nested is True
