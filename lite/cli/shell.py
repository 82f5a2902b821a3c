"""One use of the command line: the global options, the two output streams, and the node.

Results go to stdout as bytes, everything else to stderr. With `--json`, stdout gets exactly one
JSON object with `"v": 1`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from lite.cli.present import encodable, file_name
from lite.environment import environment
from lite.errors import CodecError, OutputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from lite.config import Config
    from lite.node import Node
    from lite.store import Store

JSON_VERSION = 1
CARD = "daemon.json"  # as `lite.link` has it, which costs more to load than a run that is known
STDOUT = "standard output"
ONLY_SAID = "What the command did is done; only what it had to say is lost."
_RESTORE = "`ipvm restore BACKUP` puts a backup in its place"
_COLOURS = {"green": "32", "red": "31", "yellow": "33", "bold": "1", "dim": "2"}


class TaskEnded(Exception):
    """The verb has said everything itself; only the exit status is left."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Shell:
    """What every verb gets: options that may stand before or after it, output, and the node.

    Attributes:
        json, offline, quiet, home: the global options.
        overrides: settings that flags of the verb set, as texts by setting name.
        done: fields of the JSON object that hold also when the verb fails later on.
        keeps: see `command.Verb`.
    """

    def __init__(self) -> None:
        self.json = False
        self.offline = False
        self.quiet = False
        self.home: str | None = None
        self.overrides: dict[str, str] = {}
        self.done: dict[str, Any] = {}
        self.keeps = False
        self._node: Node | None = None

    def __enter__(self) -> Shell:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._node is not None:
            self._node.close()
            from lite.nudge import RECORDS, nudge

            nudge(self._node.home, RECORDS)

    # The home.

    def home_path(self) -> Path:
        """The home that `--home`, `IPVM_HOME` or the platform names; it need not exist."""
        from lite.config import find_home

        return find_home(self.home)

    def has_home(self) -> bool:
        """Whether that is a home already: some verbs do not make one."""
        from lite.store.home import DATABASE

        return (self.home_path() / DATABASE).exists()

    def config(self) -> Config:
        """The settings, with those that flags of this verb override."""
        from lite.config import Config

        return Config.load(self.home_path(), self.overrides)

    def node(self, *, meeting: bool = False) -> Node:
        """The node, opened once and closed at the end; says so when this makes the home.

        Args:
            meeting: what it lacks may come from the peers of a running daemon, unless `--offline`.
        """
        if self._node is None:
            from lite.identity import KEY_FILE
            from lite.node import Node

            config, neighbours = self.config(), None
            if meeting and not self.offline and (config.home / CARD).exists():
                from lite.cli.neighbours import LateDaemon

                others = config["trust.peers"] or bool(config.trust_issuers)
                neighbours = LateDaemon(config.home, ask=others)
            self._node = Node.open(config=config, neighbours=neighbours)
            if self._node.first_use:
                self.note(f"ipvm: made a new home with a new key in {self._node.home}")
            elif KEY_FILE in self._node.store.found:
                self.note(f"ipvm: {_lost(self._node.store)}; made a new one.\n  → {_RESTORE}")
        return self._node

    # Output.

    def write(self, data: bytes) -> None:
        """Bytes of a result to stdout. An `OSError` then names it as its file.

        Raises:
            OutputError: the caller closed it, and the result is nowhere else.
        """
        if not self.keeps:
            need_stdout(ONLY_SAID)
        self._write(data)

    def _write(self, data: bytes) -> None:
        with stdout_named():
            sys.stdout.flush()
            sys.stdout.buffer.write(data)

    def flush(self) -> None:
        """See to it that what was written has left, or raise what `write` would."""
        with stdout_named():
            sys.stdout.flush()

    def line(self, text: str) -> None:
        """One line of a result to stdout."""
        self.write(text.encode("utf-8", "backslashreplace") + b"\n")

    def emit(self, fields: dict[str, Any]) -> None:
        """The one JSON object of `--json`; values are IPLD and come out as DAG-JSON."""
        from lite.ipld import dag_json

        whole = {"v": JSON_VERSION, **fields}
        try:
            data = dag_json.shown(whole)
        except CodecError:  # a file's name, or what it was called, is not UTF-8
            data = dag_json.shown(encodable(whole))
        self.write(_plain(data) + b"\n")

    def emit_error(
        self, code: str, message: str, hint: str | None, more: Mapping[str, object] | None = None
    ) -> None:
        """The object of `--json` for an error; needs nothing that may be what is broken.

        Args:
            more: further fields of the error: IPLD values, which come out as DAG-JSON.
        """
        import json

        error = {"code": code, "message": message, "hint": hint, **_as_ipld(more)}
        fields = encodable({"v": JSON_VERSION, **self.done, "error": error})
        text = json.dumps(
            fields, ensure_ascii=False, separators=(",", ":"), sort_keys=True, default=str
        )
        self._write(_plain(text.encode()) + b"\n")

    def note(self, text: str) -> None:
        """A line for people on stderr, unless `-q`."""
        if not self.quiet:
            error_line(text)

    def failure(self, text: str) -> None:
        """A line about what failed or waits: also with `-q`, unless stdout gets it as JSON."""
        if not (self.quiet and self.json):
            error_line(text)

    def paint(self, text: str, colour: str) -> str:
        """The text for stderr, coloured where the user can see colours."""
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if coloured(sys.stderr) else text

    @property
    def watched(self) -> bool:
        """Whether a person sees progress on stderr."""
        return not self.quiet and not self.json and sys.stderr.isatty()


def _as_ipld(fields: Mapping[str, object] | None) -> dict[str, Any]:
    """The fields as JSON that means the same as DAG-JSON; as `ipvm ucan inspect` shows them."""
    if not fields:
        return {}
    import json

    from lite.cli.ucan_words import as_json
    from lite.ipld import dag_json

    found: dict[str, Any] = json.loads(dag_json.shown(as_json(encodable(dict(fields)))))
    return found


def _plain(data: bytes) -> bytes:
    """JSON with all that a terminal would obey, or would not show, as escapes; it says the same."""
    text = data.decode()
    if text.isprintable():
        return data
    odd = {ord(char): _escaped(char) for char in set(text) if not char.isprintable()}
    return text.translate(odd).encode()


def _escaped(char: str) -> str:
    """A character as JSON escapes it: beyond U+FFFF in two halves."""
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def need_stdout(hint: str) -> None:
    """Raise `OutputError` when the caller closed stdout and what would go there is the point.

    Args:
        hint: what became of the rest, and what to do.
    """
    from lite.cli.entry import closed

    if "stdout" in closed:
        raise OutputError("standard output is closed, and the result would go there", hint=hint)


def read_stdin() -> BinaryIO:
    """Standard input, as bytes. Raises `UsageError` when the caller closed it: that is no empty
    file."""
    from lite.cli.entry import closed

    if "stdin" in closed:
        raise UsageError(
            "standard input is closed", hint="Pass a file, or < /dev/null for nothing."
        )
    return sys.stdin.buffer


@contextmanager
def stdout_named() -> Iterator[None]:
    """Let an `OSError` of writing to stdout say so, where the system names no file."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, STDOUT) from None


def _lost(store: Store) -> str:
    """What there was of a home whose database was just made, although it has a key."""
    if store.was_used():
        return f"the database of {store.home} was gone, and with it what was kept"
    return f"the home {store.home} had a key and no database"


def error_line(text: str) -> None:
    """One line on stderr; what cannot be encoded there is written out."""
    with stdout_named():
        sys.stdout.flush()
    tell(text + "\n")


def tell(text: str) -> None:
    """Text to stderr, at once.

    When it cannot be written (a full disk, a reader that is gone), it goes nowhere with all that
    follows: what is said beside a result decides neither about that nor about the exit status.
    """
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        drop(sys.stderr)


def drop(stream: IO[str]) -> None:
    """Send what is still buffered for a closed pipe or a full disk nowhere, and what follows, so
    that exiting is silent."""
    import os

    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        return  # not a real stream


def coloured(stream: IO[str]) -> bool:
    """The rule of no-color.org: NO_COLOR wins, FORCE_COLOR asks, else only on a terminal."""
    if environment("NO_COLOR"):
        return False
    if environment("FORCE_COLOR"):
        return True
    return stream.isatty() and environment("TERM") != "dumb"


def complain(message: str, hint: str | None) -> None:
    """An error as people see it: what happened and why, then what to do about it."""
    error_line(f"ipvm: {file_name(message)}")
    if hint:
        hint = file_name(hint)
        error_line(f"  → {hint[0].upper()}{hint[1:]}")
