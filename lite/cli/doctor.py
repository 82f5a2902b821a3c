"""`ipvm doctor`: is everything that the node needs here and sound?"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lite.cli.command import verb
from lite.cli.present import counted, moment, size, visible
from lite.cli.shell import Shell, TaskEnded
from lite.errors import (
    ConfigError,
    IntegrityError,
    IpvmError,
    NotFoundError,
    StoreCorrupt,
    StoreError,
)
from lite.frozen import frozen
from lite.limits import DISK_FREE_BYTES_MIN

if TYPE_CHECKING:
    from lite.config import Config
    from lite.store import Store
    from lite.store.check import Problem

State = Literal["ok", "warning", "failed"]

PYTHON_MIN = (3, 10)
SQLITE_MIN = (3, 37, 0)  # STRICT tables
CLOCK_AHEAD_MAX_S = 60
IDLE_MAX_S = 86_400
_NO_CACHE = "Modules are compiled again by each process: make it a folder of yours, or remove it."
OTHER_VARIABLES = frozenset({"IPVM_HOME", "IPVM_DEBUG", "IPVM_VECTORS"})


@frozen
class Finding:
    """The outcome of one check.

    Attributes:
        status: what the command exits with when this has failed.
    """

    name: str
    state: State
    text: str
    hint: str | None = None
    status: int = StoreError.exit_code


@verb("doctor", example="ipvm doctor\nipvm doctor --deep --repair")
@click.option("--deep", is_flag=True, help="Hash every block and check every signature again.")
@click.option("--repair", is_flag=True, help="Drop what is damaged, so that it can come again.")
@click.pass_obj
def doctor(shell: Shell, deep: bool, repair: bool) -> None:
    """Check this installation and this home. Without --repair it changes nothing, except that a
    database of an earlier version is upgraded, as by any command.

    Exits with 7 when stored data are damaged, also when the database cannot be opened for it (other
    commands end with 6 then), and with 6 when something else is wrong.
    """
    findings = []
    for finding in _all(shell, deep, repair):
        findings.append(finding)
        if not shell.json:
            _show(shell, finding)
    failed = [f.status for f in findings if f.state == "failed"]
    if shell.json:
        shell.emit(
            {
                "ok": not failed,
                "checks": [
                    {"name": f.name, "state": f.state, "text": f.text, "hint": f.hint}
                    for f in findings
                ],
            }
        )
    if failed:
        raise TaskEnded(max(failed))


def _show(shell: Shell, f: Finding) -> None:
    mark = {"ok": "✓", "warning": "!", "failed": "✗"}[f.state]
    shell.line(f"{mark} {f.name:<9} {visible(f.text)}")
    if f.hint:
        shell.line(f"  → {visible(f.hint)}")


def _all(shell: Shell, deep: bool, repair: bool) -> Iterator[Finding]:
    yield _python()
    yield from _packages()
    yield _sqlite()
    yield _engines()
    yield from _environment()
    home = shell.home_path()
    try:
        config = shell.config()
    except (ConfigError, StoreError) as error:
        yield Finding("settings", "failed", f"{error}; checking on with defaults", error.hint)
        from lite.config import Config

        config = Config.defaults(home)
    if not home.exists():
        yield Finding("home", "ok", f"{home} is not there yet; the first command makes it")
        yield _clock(None)
        return
    yield _home(home)
    yield _disk(home)
    yield _key(home)
    yield _cache(config)
    yield from _store(config, deep, repair)


def _python() -> Finding:
    text = f"Python {sys.version.split()[0]}, {sys.executable}"
    if sys.version_info < PYTHON_MIN:
        return Finding("python", "failed", text, "Python 3.10 or later is needed.")
    return Finding("python", "ok", text)


def _packages() -> Iterator[Finding]:
    """Both package names are short; other distributions on the index use them too."""
    import lite

    root = Path(lite.__file__ or "").parent.parent
    remedy = "Run `pip uninstall sync lite`, then `pip install --force-reinstall ipvm-lite`."
    for name in ("lite", "sync"):
        where = _location(name)
        if where is None:
            yield Finding("packages", "failed", f"the package {name} is missing", remedy)
        elif where.parent != root or not (where / "py.typed").is_file():
            yield Finding("packages", "failed", f"{name} comes from {where}, not {root}", remedy)
        elif (fault := _fault(where / "__init__.py")) is not None:
            yield Finding("packages", "failed", f"{name} was overwritten: {fault}", remedy)
        else:
            yield Finding("packages", "ok", f"{name} from {where}")


def _location(name: str) -> Path | None:
    from importlib.util import find_spec

    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else None


def _fault(path: Path) -> str | None:
    """Why the file is not one of ours, None when it may be."""
    if not path.exists():
        return None
    try:
        compile(path.read_bytes(), str(path), "exec")
    except (SyntaxError, ValueError, OSError) as error:
        return str(error)
    return None


def _sqlite() -> Finding:
    import sqlite3

    text = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        return Finding("sqlite", "failed", text, "SQLite 3.37 or later is needed.")
    return Finding("sqlite", "ok", text)


def _engines() -> Finding:
    from lite.engine.select import available

    found = available()
    usable = [name for name, fault in found.items() if fault is None]
    text = ", ".join(f"{name}: {fault or 'usable'}" for name, fault in found.items())
    if not usable:
        return Finding("engine", "failed", text, "Run `pip install --upgrade wasmtime`.")
    return Finding("engine", "ok", text)


def _environment() -> Iterator[Finding]:
    from lite.config import SETTINGS
    from lite.environment import all_of

    known = {s.env for s in SETTINGS.values()} | OTHER_VARIABLES
    for name in sorted(set(all_of("IPVM_")) - known):
        hint = "`ipvm config list --json` names those that mean something."
        yield Finding("settings", "warning", f"{name} is set but means nothing", hint)


def _home(home: Path) -> Finding:
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        return Finding("home", "failed", f"{home} cannot be written", "Check who owns it.")
    return Finding("home", "ok", str(home))


def _disk(home: Path) -> Finding:
    from lite.store.reserve import RECEIPTS

    free, reserve = shutil.disk_usage(home).free, home / RECEIPTS
    told = f"{size(free)} free"
    with suppress(OSError):  # there is none, or the home, of which there is a line, hides it
        told += f", {size(reserve.stat().st_size)} more kept back for receipts of peers"
    if free < DISK_FREE_BYTES_MIN:
        return Finding("disk", "warning", told, "`ipvm gc` may free some.")
    return Finding("disk", "ok", told)


def _key(home: Path) -> Finding:
    from lite.identity import lost_key, unusable_key
    from lite.keys import Key

    path = home / "key"
    try:
        return Finding("key", "ok", Key.load(path).did)
    except NotFoundError:
        pass
    except ConfigError as error:
        return Finding("key", "failed", str(error), unusable_key(error).hint)
    used, lost = _was_used(home), lost_key(path)
    if used is False:
        return Finding("key", "ok", "there is none yet; the first command that needs it makes it")
    with suppress(NotFoundError):  # another process made it, then used the home
        return Finding("key", "ok", Key.load(path).did)
    if used is None:
        text = "there is none, and the database does not tell whether there was one"
        return Finding("key", "warning", text, lost.hint)
    return Finding("key", "failed", str(lost), lost.hint)


def _was_used(home: Path) -> bool | None:
    """None: its database cannot be opened, of which there is a line."""
    from lite.store import Store
    from lite.store.home import has_database, has_traces

    if has_traces(home):
        return True
    try:
        if not has_database(home):
            return False
        with Store.open(home) as store:
            return store.was_used()
    except IpvmError:
        return None


def _cache(config: Config) -> Finding:
    try:
        files = [entry.stat().st_size for entry in os.scandir(config.cache_dir) if entry.is_file()]
    except FileNotFoundError:
        files = []
    except OSError as error:
        return Finding("cache", "warning", f"{config.cache_dir}: {error.strerror}", _NO_CACHE)
    if config.cache_dir.exists() and not os.access(config.cache_dir, os.W_OK | os.X_OK):
        return Finding("cache", "warning", f"{config.cache_dir} cannot be written", _NO_CACHE)
    return Finding("cache", "ok", f"{counted(len(files), 'file')}, {size(sum(files))}")


def _store(config: Config, deep: bool, repair: bool) -> Iterator[Finding]:
    from lite.store import Store
    from lite.store.home import has_database

    try:
        if not has_database(config.home):
            yield _clock(None)
            yield _no_database(config.home)
            return
        store = Store.open(config.home, durability=config.durability)
    except IpvmError as error:
        yield _unread("store", error)
        return
    with store:
        yield from _as_far("clock", lambda: [_clock(store)])
        yield from _as_far("rights", lambda: _rights(store))
        yield from _as_far("store", lambda: _contents(store, deep, repair))


def _as_far(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What one check finds; of a database that it cannot read, that: the others go on."""
    try:
        yield from check()
    except StoreError as error:
        yield _unread(name, error)


def _unread(name: str, error: IpvmError) -> Finding:
    damaged = isinstance(error, StoreCorrupt)
    status = IntegrityError.exit_code if damaged else error.exit_code
    return Finding(name, "failed", str(error), error.hint, status)


def _contents(store: Store, deep: bool, repair: bool) -> Iterator[Finding]:
    own = _own(store)
    mended = store.check(deep=deep, repair=True, own=own) if repair else []
    problems = store.check(deep=deep, own=own)
    for problem in mended:
        if problem not in problems:
            yield Finding("store", "warning", f"{problem.text}; repaired")
    for problem in problems:
        yield _problem(problem)
    if not problems:
        stats = store.stats()
        how = "every block hashed, every signature checked" if deep else "structure checked"
        yield Finding(
            "store",
            "ok",
            f"{counted(stats.blocks, 'block')}, {counted(stats.receipts, 'receipt')}; {how}",
        )


def _no_database(home: Path) -> Finding:
    """The line for a folder that is not yet a home, or one no more."""
    from lite.identity import KEY_FILE
    from lite.store.home import has_traces

    text = "there is no database; the first command makes one"
    if has_traces(home) or (home / KEY_FILE).exists():
        hint = "If there was one, `ipvm restore BACKUP` puts a backup in its place."
        return Finding("store", "warning", text, hint)
    return Finding("store", "ok", text)


def _problem(problem: Problem) -> Finding:
    if problem.code == "permissions":
        return Finding("store", "failed", problem.text, "--repair closes it.")
    if problem.code == "absent-root":
        hint = "Add or import it, or let go of it with `ipvm pin rm CID` or `ipvm name rm NAME`."
        return Finding("store", "warning", problem.text, hint)
    hint = "--repair drops what is damaged; `ipvm restore` puts a backup in place."
    return Finding("store", "failed", problem.text, hint, IntegrityError.exit_code)


def _own(store: Store) -> str:
    """The DID of this node; empty where its key cannot be read, of which there is a line."""
    from lite.keys import Key

    try:
        return Key.load(store.home / "key").did
    except IpvmError:
        return ""


def _rights(store: Store) -> Iterator[Finding]:
    """A remark where all rights of this node have expired and nothing shows that so much time has
    passed: then the clock may be ahead."""
    from lite.clock import SystemClock
    from lite.ucan.show import span

    did = _own(store)
    if not did:
        return
    now, found = SystemClock().now(), store.tokens.rights_ended_at(did)
    if found is None:
        return
    ended, came = found
    newest = max(came, store.tokens.latest().signed_at)
    if now - newest > IDLE_MAX_S:
        text = f"all that this node was given has expired, the last of it at {moment(ended)}; the "
        text += f"clock is {span(now - newest)} past the newest thing that was signed or came here"
        hint = "Set the clock if it is ahead; else ask for new delegations."
        yield Finding("rights", "warning", text, hint)


def _clock(store: Store | None) -> Finding:
    from lite.clock import ClockState, SystemClock

    now = SystemClock().now()
    latest = store.tokens.latest() if store is not None else None
    signed_at, receipt = (latest.signed_at, latest.receipt) if latest is not None else (0, None)
    state = ClockState.of(now, signed_at, "" if receipt is None else str(receipt))
    if state.suspicious is not None:
        text = f"{state.suspicious}; no token that begins or ends at a time is judged or made"
        return Finding("clock", "failed", text, state.hint)
    newest = store.receipts.list(limit=1) if store is not None else []
    if newest and newest[0].issued_at > now + CLOCK_AHEAD_MAX_S:
        text = f"it says {moment(now)}, but a receipt is from {moment(newest[0].issued_at)}"
        hint = "One of the two clocks is wrong: receipts carry the time, and expiry depends on it."
        return Finding("clock", "warning", text, hint)
    return Finding("clock", "ok", moment(now))
