"""`ipvm id` and `ipvm key`: who this node is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from lite.cli.command import group, verb
from lite.cli.outfile import writing
from lite.cli.shell import Shell, need_stdout, read_stdin
from lite.errors import ConfigError, NotFoundError, StoreBusy, StoreError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

KEY_TEXT_BYTES_MAX = 4096


@verb("id", example="ipvm id")
@click.pass_obj
def id_(shell: Shell) -> None:
    """Print this node's DID, the name under which it signs."""
    from lite.identity import NameOnly

    node = shell.node()
    if isinstance(node.key, NameOnly) and not node.did:
        raise node.key.refusal()
    if shell.json:
        shell.emit({"did": node.did, "home": str(node.home)})
    else:
        shell.line(node.did)


key = group(
    "key",
    help="Make, export and import the node's signing key.",
    example="ipvm key export > key.backup",
)


@verb("new", in_group=key, example="ipvm key new --force")
@click.option("--force", is_flag=True, help="Replace the key; the old one is kept beside it.")
@click.pass_obj
def new(shell: Shell, force: bool) -> None:
    """Make a new key. Receipts of the old one stay, but are no longer this node's own."""
    from lite.keys import Key

    _replace(shell, Key.generate().export_text(), force)


@verb("export", in_group=key, example="ipvm key export -o key.backup\nipvm key export --pem")
@click.option("-o", "--out", metavar="FILE", default="-", help="Write there, readable only by you.")
@click.option("--pem", is_flag=True, help="As PKCS#8 PEM instead of multibase.")
@click.pass_obj
def export(shell: Shell, out: str, pem: bool) -> None:
    """Print the secret key. Whoever has it can sign as this node."""
    if out == "-":
        need_stdout("Open it, or name a file with -o.")
    found = shell.node().key
    text = found.export_pem() if pem else found.export_text()
    if shell.json and out == "-":
        shell.emit({"did": found.did, "secret": text})
        return
    with writing(out, private=True) as file:
        file.write(text.strip().encode() + b"\n")
    if shell.json:
        shell.emit({"did": found.did, "file": out})
    shell.note(f"ipvm: the secret key of {found.did}; keep it to yourself")


@verb("import", in_group=key, example="ipvm key import key.backup\nipvm key import - < key.pem")
@click.argument("file")
@click.option("--force", is_flag=True, help="Replace the key; the old one is kept beside it.")
@click.pass_obj
def import_(shell: Shell, file: str, force: bool) -> None:
    """Use a key that was exported, in multibase or PEM; - reads standard input."""
    from lite.files import open_file

    if file == "-":
        data = read_stdin().read(KEY_TEXT_BYTES_MAX + 1)
    else:
        with open_file(file) as opened:
            data = opened.read(KEY_TEXT_BYTES_MAX + 1)
    if len(data) > KEY_TEXT_BYTES_MAX or not data.isascii():
        raise UsageError(f"{file} is not a private key", hint="`ipvm key export` writes one.")
    _replace(shell, data.decode(), force)


def _check_no_daemon(shell: Shell) -> None:
    """Raises StoreBusy while a daemon runs here: to its peers it would go on under the old key."""
    from lite.link import Link

    if Link.of(shell.home_path()) is not None:
        raise StoreBusy(
            f"a daemon runs on {shell.home_path()}, under the key that it has now",
            hint="Stop it, then replace the key.",
        )


def _replace(shell: Shell, text: str, force: bool) -> None:
    """Put a key in place; one that was there is kept as `key-….old` when `force` is given."""
    from lite.identity import KEY_FILE
    from lite.keys import Key

    fresh = Key.from_text(text)
    path = shell.home_path() / KEY_FILE
    _make_home(shell, path)
    try:
        old = Key.load(path)
    except NotFoundError:
        old = None
    except ConfigError as fault:
        _set_aside(shell, path, fault, force)
        old = None
    if old is not None and old.did != fresh.did:
        _check_no_daemon(shell)
        if not force:
            raise UsageError(
                f"this node has a key already: {old.did}",
                hint="--force replaces it; the old one stays beside it in a file of its own.",
            )
        kept = path.with_name(f"key-{old.did[-8:]}.old")
        old.save(kept, overwrite=True)
        shell.note(f"ipvm: the old key is in {kept}")
    fresh.save(path, overwrite=True)
    if shell.json:
        shell.emit({"did": fresh.did})
    else:
        shell.line(fresh.did)


def _make_home(shell: Shell, path: Path) -> None:
    """The home that a key belongs to, where there is none yet."""
    from lite.store import Store
    from lite.store.home import DATABASE

    if path.exists() or path.with_name(DATABASE).exists():
        return
    with Store.open(path.parent, durability=shell.config().durability) as store:
        if store.created and not store.was_used():
            shell.note(f"ipvm: made a new home in {store.home}")


def _set_aside(shell: Shell, path: Path, fault: ConfigError, force: bool) -> None:
    """Give a key file that cannot be used another name: it may hold a key all the same."""
    if not force:
        from lite.identity import unusable_key

        raise unusable_key(fault)
    number = 1
    while (kept := path.with_name(f"key-unusable-{number}.old")).exists():
        number += 1
    try:
        path.rename(kept)
        if kept.is_file():
            kept.chmod(0o600)
    except OSError as error:
        raise StoreError(f"{path} cannot be moved aside: {error.strerror}") from None
    shell.note(f"ipvm: the key file that was there is {kept}")
