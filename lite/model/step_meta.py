"""What a step of the friendly form says beside its instruction: limits, retry, requires, secret.

All of it goes into the task's `meta`: `limits` as in the talk on IPVM (`fuel` in units, `memory`
and `output` in bytes, `time` in milliseconds), `retry` as `{attempts, backoff_ms}`, `requires` and
`needs` as they are written, `secret` as a boolean. None of it is part of the memo key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from lite.errors import ConfigError, UsageError
from lite.limits import INTEGER_MAX, RETRY_ATTEMPTS_MAX, RETRY_BACKOFF_MS_MAX
from lite.model.place import Path, Place, did_you_mean, shown
from lite.model.workflow_values import Values
from lite.quantities import parse_duration_ms, parse_fuel, parse_size

SAID: Final = ("limits", "retry", "requires", "needs", "secret")
LIMIT_KEYS: Final = ("fuel", "memory", "time", "output")
RETRY_KEYS: Final = ("attempts", "backoff")

_READERS: Final[dict[str, tuple[Callable[[str], int], str]]] = {
    "fuel": (parse_fuel, "an amount of fuel"),
    "memory": (parse_size, "a size"),
    "time": (parse_duration_ms, "a duration"),
    "output": (parse_size, "a size"),
}


class MetaReader:
    """Makes the `meta` of tasks.

    Args:
        place: for messages.
        values: reads plain data.
    """

    def __init__(self, place: Place, values: Values) -> None:
        self._place = place
        self._values = values

    def read(self, step: dict[str, Any], path: Path) -> dict[str, Any]:
        """The `meta` of one step.

        Raises:
            UsageError: a field that is not of its kind, or that is said twice.
        """
        written = {} if step.get("meta") is None else step["meta"]
        meta = self._values.plain(written, (*path, "meta"))
        if type(meta) is not dict:
            raise self._place.error((*path, "meta"), "a map is needed", "Write {key: value}.")
        readers: dict[str, Callable[[Any, Path], Any]] = {
            "limits": self.limits,
            "retry": self._retry,
            "requires": self._requires,
            "needs": self._requires,
            "secret": self._secret,
        }
        for key, reader in readers.items():
            if step.get(key) is None:
                continue
            if key in meta:
                raise self._place.error((*path, "meta", key), f"{key} of the step says it already")
            meta[key] = reader(step[key], (*path, key))
        return meta

    def defaults(self, value: Any, path: Path) -> dict[str, Any]:
        """The limits of steps that name none, and `secret` for all steps.

        Raises:
            UsageError: it names the field.
        """
        made: dict[str, Any] = {}
        if type(value) is dict and "secret" in value:
            value = dict(value)
            secret = value.pop("secret")
            if secret is not None:
                made["secret"] = self._secret(secret, (*path, "secret"))
        return {**self.limits(value, path), **made}

    def limits(self, value: Any, path: Path) -> dict[str, int]:
        """`{fuel: 1M, memory: 64M, time: 5s, output: 1M}` in units, bytes and milliseconds.

        Raises:
            UsageError: it names the limit.
        """
        limits: dict[str, int] = {}
        for key, item in self._fields(value, LIMIT_KEYS, path).items():
            if item is not None:
                limits[key] = self._amount(key, item, (*path, key))
        return limits

    def _amount(self, key: str, value: Any, path: Path) -> int:
        reader, kind = _READERS[key]
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is int and key != "time":
            if 0 <= value <= INTEGER_MAX:
                return value
            raise self._place.error(path, "a number from 0 to 2^64-1 is needed")
        if type(value) is not str:
            hint = "Give a unit: 500ms, 5s, 2m." if key == "time" else "Write a number, or 64M."
            raise self._place.error(path, "an amount is needed", hint)
        try:
            return reader(value)
        except ConfigError as error:
            raise self._place.error(path, f"{shown(value)} is not {kind}", error.hint) from None

    def _retry(self, value: Any, path: Path) -> dict[str, int]:
        """`3`, or `{attempts: 3, backoff: 2s}`."""
        if type(value) is not dict:
            return {"attempts": self._attempts(value, path)}
        retry: dict[str, int] = {}
        fields = self._fields(value, RETRY_KEYS, path)
        if fields.get("attempts") is not None:
            retry["attempts"] = self._attempts(fields["attempts"], (*path, "attempts"))
        if fields.get("backoff") is not None:
            at = (*path, "backoff")
            retry["backoff_ms"] = self._amount("time", fields["backoff"], at)
            if retry["backoff_ms"] > RETRY_BACKOFF_MS_MAX:
                raise self._place.error(at, f"at most {RETRY_BACKOFF_MS_MAX // 1000}s")
        return retry

    def _attempts(self, value: Any, path: Path) -> int:
        if type(value) is not int or not 1 <= value <= RETRY_ATTEMPTS_MAX:
            raise self._place.error(
                path, f"a number of attempts from 1 to {RETRY_ATTEMPTS_MAX} is needed"
            )
        return value

    def _requires(self, value: Any, path: Path) -> Any:
        """`requires` or `needs`, as `lite.model.requires` reads them."""
        from lite.model.requires import check_declared

        plain = self._values.plain(value, path)
        try:
            check_declared({str(path[-1]): plain}, path[:-1])
        except UsageError as error:
            raise self._place.of(error) from None
        return plain

    def _secret(self, value: Any, path: Path) -> bool:
        if type(value) is not bool:
            raise self._place.error(path, "true or false is needed", "Write it without quotes.")
        return value

    def _fields(self, value: Any, keys: tuple[str, ...], path: Path) -> dict[str, Any]:
        if type(value) is not dict:
            raise self._place.error(path, f"a map with some of {', '.join(keys)} is needed")
        for key in value:
            if key not in keys:
                raise self._place.error(
                    (*path, key), "is not a field here", did_you_mean(str(key), keys)
                )
        return value
