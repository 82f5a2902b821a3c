"""Settings of a home, and where the home is.

One table, `SETTINGS`, is the source of the command line's `config` verb, of the environment
variables, of the file's template and of the documentation. A value comes from the first place that
has it: a flag, the environment (`IPVM_LIMITS_FUEL` for `limits.fuel`), `config.toml` in the home,
the default. The home itself: `--home`, then `IPVM_HOME`, then the platform's data directory.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from lite import toml_files
from lite.environment import all_of, environment
from lite.errors import ConfigError, StoreError
from lite.frozen import frozen
from lite.limits import CACHE_BYTES, MIB, STREAM_BYTES_MAX, EngineCaps, Limits
from lite.quantities import (
    parse_duration_ms,
    parse_fuel,
    parse_size,
    render_duration,
    render_fuel,
    render_size,
)
from lite.setting_texts import (
    absolute,
    expanded,
    parse_address,
    parse_bool,
    parse_count,
    parse_dids,
    parse_fuel_cap,
    parse_gpus,
    parse_listen,
    parse_ops,
    parse_path,
    parse_quota,
    parse_smtp,
    parse_unit,
    parse_who,
    parse_words,
    parse_worth,
    render_bool,
    render_fuel_cap,
    render_gpus,
    render_optional,
    render_quota,
    render_worth,
)

FILE_NAME = "config.toml"

_OWNER = Limits.owner()
_CAPS = EngineCaps()


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ConfigError(
                f"“{text}” is not one of the choices", hint=f"Write {' or '.join(choices)}."
            )
        return text

    return parse


def _positive(parse: Callable[[str], int]) -> Callable[[str], int]:
    def checked(text: str) -> int:
        value = parse(text)
        if value < 1:
            raise ConfigError(f"“{text}” is too small", hint="It must be more than zero.")
        return value

    return checked


@frozen
class Setting:
    """One setting: its name, how its text is read and written, its default and one line of help.

    `kind` is the word that the documentation shows; the default is a parsed value.
    """

    name: str
    kind: str
    default: Any
    help: str
    parse: Callable[[str], Any]
    render: Callable[[Any], str] = str

    @property
    def env(self) -> str:
        """The environment variable that sets it."""
        return "IPVM_" + self.name.upper().replace(".", "_")


def _file(name: str, text: str) -> Setting:
    return _optional(name, "path or none", text, parse_path)


def _optional(name: str, kind: str, text: str, parse: Callable[[str], Any]) -> Setting:
    return Setting(name, kind, None, text, parse, render_optional)


def _ops(name: str, default: tuple[str, ...], text: str) -> Setting:
    return Setting(name, "list of operations", default, text, parse_ops, ",".join)


def _words(name: str, text: str) -> Setting:
    return Setting(name, "list of words", (), text, parse_words, ",".join)


def _size(name: str, default: int, text: str) -> Setting:
    return Setting(name, "size", default, text, _positive(parse_size), render_size)


def _time(name: str, default: int, text: str) -> Setting:
    return Setting(name, "duration", default, text, _positive(parse_duration_ms), render_duration)


def _count(name: str, default: int, text: str) -> Setting:
    return Setting(name, "number", default, text, _positive(parse_count))


def _flag(name: str, default: bool, text: str) -> Setting:
    return Setting(name, "true|false", default, text, parse_bool, render_bool)


def _choice(name: str, choices: Sequence[str], text: str) -> Setting:
    return Setting(name, "|".join(choices), choices[0], text, _one_of(*choices))


SETTINGS: dict[str, Setting] = {
    s.name: s
    for s in (
        Setting(
            "limits.fuel",
            "fuel",
            _OWNER.fuel,
            "fuel of one run, about one unit an instruction",
            _positive(parse_fuel),
            render_fuel,
        ),
        Setting(
            "limits.fuel_cap",
            "fuel or none",
            None,
            "the most that a step may name; one that names more goes to another node",
            parse_fuel_cap,
            render_fuel_cap,
        ),
        _size("limits.memory", _OWNER.memory_bytes, "memory of one run"),
        _time("limits.time", _OWNER.time_ms, "wall time of one run"),
        _size("limits.output", _OWNER.output_bytes, "largest result of one run"),
        _size("limits.stream", STREAM_BYTES_MAX, "largest pipe or other stream that is stored"),
        _size("limits.module", _CAPS.module_bytes, "largest module that is compiled"),
        _time("limits.compile_time", _CAPS.compile_ms, "processor time of one compilation"),
        _size("limits.compile_memory", _CAPS.compile_memory_bytes, "memory of one compilation"),
        _choice("store.durability", ("full", "normal"), "full: each result survives a power cut"),
        Setting(
            "store.quota",
            "size or none",
            None,
            "largest total of stored blocks",
            parse_quota,
            render_quota,
        ),
        _choice("engine.name", ("auto", "wasmtime", "wasmer"), "the WebAssembly engine"),
        _flag(
            "engine.in_process",
            False,
            "run guests inside the node's own process (only for guests that you trust)",
        ),
        _count("engine.workers", min(os.cpu_count() or 1, 8), "guests that run at the same time"),
        _size("cache.size", CACHE_BYTES, "disk space for compiled modules"),
        Setting(
            "trust.issuers",
            "list of DIDs",
            (),
            "others whose receipts count as answers",
            parse_dids,
            ",".join,
        ),
        _count("trust.confirmations", 1, "how many trusted issuers must agree on an answer"),
        _flag(
            "trust.peers",
            True,
            "whether receipts of peers with the right `answers` count as answers",
        ),
        _time("peers.ask_ms", 300, "how long peers are asked for an answer before computing"),
        _size("peers.fetch_bytes", 256 * MIB, "largest download from peers for one run"),
        _size("peers.reserve", 5 * MIB, "disk space kept back for receipts of peers"),
        Setting(
            "peers.battery_min",
            "percent",
            20,
            "charge of the battery below which blocks come only by name; 0: never",
            parse_count,
        ),
        _words("node.tags", "what this node is, for steps that ask for it"),
        Setting(
            "node.gpus",
            "auto, none or list",
            None,
            "its GPUs, when they are not to be looked for: NVIDIA A100:80G, …",
            parse_gpus,
            render_gpus,
        ),
        _time("queue.ttl", 7 * 86_400_000, "how long a step waits for a node that can run it"),
        _time("queue.lease", 300_000, "how long a provider may be late before another is asked"),
        Setting(
            "queue.worth",
            "unit=duration, …",
            (),
            "how long you would rather wait than pay one unit of a price: cent=30s, euro=50m",
            parse_worth,
            render_worth,
        ),
        _optional(
            "queue.referee",
            "DID, petname or none",
            "who says what is right where providers disagree; none: this node, if it can",
            parse_who,
        ),
        Setting(
            "provider.price", "number", 0, "what a job of others costs, in whole units", parse_count
        ),
        Setting("provider.unit", "word", "unit", "the unit of the price", parse_unit),
        _optional(
            "provider.http",
            "IP:PORT or none",
            "where jobs come in by plain HTTP, for clients of UCAN that are no peers",
            parse_listen,
        ),
        _file("provider.http_cert", "certificate chain (PEM) that makes it HTTPS"),
        _file("provider.http_key", "private key (PEM) of that certificate"),
        _flag(
            "provider.subcontract",
            False,
            "whether jobs of others that lack something here may be passed on, where they allow it",
        ),
        _choice(
            "unixfs.profile",
            ("unixfs-v1-2025", "legacy-256k"),
            "how files are cut into blocks; decides their CIDs",
        ),
        _ops("ops.off", (), "operations that are switched off"),
        _words("ops.through", "installed clusters that operations are handed to, such as ray"),
        _ops("ops.allowed_for_others", ("wasm/run",), "operations that others may have done here"),
        _file("ops.crud_root", "folder whose files crud/* may read and change"),
        _file("ops.http_netrc", "netrc file with names and passwords for http/*"),
        _file("ops.exec", "TOML file of the programs that exec/run may start"),
        _optional("ops.smtp", "smtp URL or none", "mail server for msg/send", parse_smtp),
        _file("ops.smtp_password_file", "file with the password for the mail server"),
        _optional(
            "ops.smtp_from", "address or none", "address that msg/send writes from", parse_address
        ),
    )
}


def setting(name: str) -> Setting:
    """The setting of that name.

    Raises:
        ConfigError: there is none; the hint names the nearest.
    """
    if name not in SETTINGS:
        import difflib

        near = [known for known in SETTINGS if known.endswith(f".{name}")]
        near = near or difflib.get_close_matches(name, SETTINGS, 1, 0.76)
        raise ConfigError(
            f"there is no setting “{name}”",
            hint=f"Did you mean {near[0]}?" if near else "`ipvm config list` shows them all.",
        )
    return SETTINGS[name]


def find_home(flag: str | os.PathLike[str] | None = None) -> Path:
    """The home: `flag`, else `IPVM_HOME`, else the platform's data directory for `ipvm`.

    Raises:
        NotFoundError: it is given by a relative path, and the folder that starts at is gone.
        ConfigError: it begins with a ~ that means nothing here.
    """
    if chosen := flag or environment("IPVM_HOME"):
        return absolute(expanded(chosen))
    if sys.platform == "linux":  # the same rule as platformdirs, without its 6 ms of import
        base = (environment("XDG_DATA_HOME") or "").strip()
        return absolute(expanded(base or "~/.local/share")) / "ipvm"
    from platformdirs import user_data_path

    return user_data_path("ipvm", appauthor=False)


@frozen
class Config:
    """Every setting with its value and where the value came from."""

    home: Path
    values: Mapping[str, Any]
    sources: Mapping[str, str]

    @staticmethod
    def load(
        home: str | os.PathLike[str] | None = None,
        overrides: Mapping[str, str] | None = None,
        *,
        env: Mapping[str, str] | None = None,
    ) -> Config:
        """Read all settings.

        Args:
            home: the folder that may hold `config.toml`; default `find_home()`.
            overrides: texts of command-line flags by setting name.
            env: instead of the process's environment.

        Raises:
            ConfigError: a value does not parse, a name is unknown, or the file is not TOML; the
                message says where.
            StoreError: the file is there but cannot be read.
        """
        home = find_home() if home is None else expanded(home).absolute()
        path = home / FILE_NAME
        env = all_of("IPVM_") if env is None else env
        overrides = overrides or {}
        for name in overrides:
            setting(name)
        written = read_file(path)
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for name, s in SETTINGS.items():
            if name in overrides:
                text, source = overrides[name], "flag"
            elif env.get(s.env):
                text, source = env[s.env], f"environment {s.env}"
            elif name in written:
                text, source = written[name], str(path)
            else:
                values[name], sources[name] = s.default, "default"
                continue
            values[name], sources[name] = _parse_from(s, text, source), source
        return Config(home, values, sources)

    @staticmethod
    def defaults(home: Path) -> Config:
        """Every setting at its default, whatever the environment and the file say."""
        values = {name: s.default for name, s in SETTINGS.items()}
        return Config(home, values, dict.fromkeys(SETTINGS, "default"))

    def __getitem__(self, name: str) -> Any:
        """The parsed value; raises `ConfigError` for an unknown name."""
        return self.values[setting(name).name]

    def source(self, name: str) -> str:
        """`flag`, `environment IPVM_…`, the path of the file, or `default`."""
        return self.sources[setting(name).name]

    def text(self, name: str) -> str:
        """The value as a person would write it."""
        return setting(name).render(self.values[name])

    @property
    def limits(self) -> Limits:
        """The bounds of one run."""
        return Limits(
            fuel=self.values["limits.fuel"],
            memory_bytes=self.values["limits.memory"],
            time_ms=self.values["limits.time"],
            output_bytes=self.values["limits.output"],
        )

    @property
    def stream_bytes(self) -> int:
        """Bound on what is stored from one stream that may have no end."""
        return int(self.values["limits.stream"])

    @property
    def engine_caps(self) -> EngineCaps:
        """What any guest may ask of the engine."""
        return EngineCaps(
            module_bytes=self.values["limits.module"],
            compile_ms=self.values["limits.compile_time"],
            compile_memory_bytes=self.values["limits.compile_memory"],
        )

    @property
    def durability(self) -> Literal["full", "normal"]:
        return "normal" if self.values["store.durability"] == "normal" else "full"

    @property
    def quota_bytes(self) -> int | None:
        quota: int | None = self.values["store.quota"]
        return quota

    @property
    def engine(self) -> str:
        return str(self.values["engine.name"])

    @property
    def in_process(self) -> bool:
        return bool(self.values["engine.in_process"])

    @property
    def workers(self) -> int:
        return int(self.values["engine.workers"])

    @property
    def cache_dir(self) -> Path:
        """Where compiled modules are kept: in the home, so that one folder holds everything."""
        return self.home / "cache"

    @property
    def cache_bytes(self) -> int:
        return int(self.values["cache.size"])

    @property
    def trust_issuers(self) -> tuple[str, ...]:
        """DIDs whose receipts count as answers, besides this node's own."""
        issuers: tuple[str, ...] = self.values["trust.issuers"]
        return issuers

    @property
    def trust_confirmations(self) -> int:
        return int(self.values["trust.confirmations"])

    @property
    def unixfs_profile(self) -> str:
        return str(self.values["unixfs.profile"])


def _parse_from(s: Setting, text: str, source: str) -> Any:
    try:
        return s.parse(text)
    except ConfigError as error:
        where = f"the flag for {s.name}" if source == "flag" else f"{source}, {s.name}"
        raise ConfigError(f"{where}: {error}", hint=error.hint) from None


def read_text(path: Path) -> str:
    """The file's text, empty when it does not exist. Raises StoreError, ConfigError."""
    try:
        return toml_files.read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def _parse_toml(path: Path, text: str) -> dict[str, Any]:
    try:
        return toml_files.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}", hint=f"Correct it, or move {path} away."
        ) from None


def read_file(path: Path) -> dict[str, str]:
    """The settings written in the file, as texts by dotted name."""
    text = read_text(path)
    return flatten(path, _parse_toml(path, text)) if text else {}


def flatten(path: Path, tree: Mapping[str, Any]) -> dict[str, str]:
    """TOML tables as texts by dotted name; `path` is only for messages."""
    written: dict[str, str] = {}
    for section, entries in tree.items():
        for key, entry in entries.items() if isinstance(entries, dict) else [("", entries)]:
            name = f"{section}.{key}" if key else section
            try:
                setting(name)
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}", hint=error.hint) from None
            written[name] = _as_text(path, name, entry)
    return written


def _as_text(path: Path, name: str, value: Any) -> str:
    """A TOML value as the text that the setting's parser reads."""
    if isinstance(value, bool):
        return render_bool(value)
    if isinstance(value, (str, int)):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise ConfigError(f"{path}, {name}: a {type(value).__name__} is not a value for this setting")
